"""A model registry in one JSON file, for people who have none.

    {"models": {
      "net-ids": {
        "aliases": {"champion": "1.2.0"},
        "versions": {
          "1.1.0": {"created": "2026-03-01T08:00:00Z",
                    "known_good_at": "2026-03-02T00:00:00Z",
                    "digest": "sha256:9f86d081...",
                    "uri": "/models/net-ids/1.1.0.skops"},
          "1.2.0": {"created": "2026-03-05T08:00:00Z", "ready": true, "revoked": false}}}}}

`created` is required; times are ISO 8601 or epoch seconds. `trained_until` is the time of the newest data that a
version was trained on, `inputs` lists the features that it cannot do without. `uri` is for the serving process, which
may watch the file and load what the alias names; where it is a file or a folder here, Tocsin compares it with
`digest`. A key that is not listed here is an error: a misspelt `revoked` must not make a version eligible.

Tocsin replaces the file in one step (written beside it, synced, renamed), so a reader sees the old or the
new content, never half of it, and a watcher should watch the folder or compare the content. Writers of
other programs take an exclusive `flock` on `<file>.lock` around reading and replacing.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from pydantic import Field

from alerting.section import Section
from monitor.intake.events import Timestamp, epoch
from monitor.rollback.artefacts import of_path
from monitor.rollback.registry import AliasMovedError, ModelVersion, Pin, RegistryError

_LOCK_WAIT = 5.0
_LOCK_POLL = 0.02


class FileRegistryConfig(Section):
    """The section `registry` for a file."""

    kind: Literal["file"]
    path: Path
    """The JSON file. Its folder must be writable, for the lock and for replacing the file."""
    alias: str = Field(default="champion", min_length=1)
    """The alias that the serving side follows."""


class _Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    created: Timestamp
    known_good_at: Timestamp | None = None
    digest: str | None = None
    uri: str | None = None
    ready: bool = True
    revoked: bool = False
    trained_until: Timestamp | None = None
    inputs: tuple[str, ...] | None = None
    known_good_signature: str | None = None


class _Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    versions: dict[str, _Version]
    aliases: dict[str, str] = {}
    pinned: Pin | msgspec.UnsetType | None = msgspec.UNSET


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[str, _Model]


class FileRegistry:
    """Implements `monitor.rollback.registry.ModelRegistry`. Safe to share between threads and processes."""

    def __init__(self, config: FileRegistryConfig) -> None:
        self._alias = config.alias
        # Through symbolic links: replacing a link would leave the file that others read unchanged.
        self._path = config.path.resolve()

    def current(self, model: str) -> ModelVersion:
        """The version that the serving alias points to."""
        found = self._model(self._read(), model)
        version = self._aliased(found, model)
        return _model_version(model, version, self._version(found, model, version))

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """All versions, newest first; of two created at the same time, the later one in the file first."""
        found = self._model(self._read(), model)
        listed = [_model_version(model, name, version) for name, version in found.versions.items()]
        listed.sort(key=lambda version: version.created)
        return tuple(reversed(listed))

    def move(self, model: str, *, expected: str, to: str) -> None:
        """Move the serving alias from `expected` to `to`; see `monitor.rollback.registry.ModelRegistry.move`."""
        with self._locked():
            document = self._read()
            found = self._model(document, model)
            self._version(found, model, to)
            before = self._aliased(found, model)
            if before != expected:
                raise AliasMovedError(
                    f"the alias {self._alias} of {model} is at {before}, not at {expected}: somebody else moved it"
                )
            aliases = {**found.aliases, self._alias: to}
            self._replace(document, model, msgspec.structs.replace(found, aliases=aliases))
            after = self._aliased(self._model(self._read(), model), model)
        if after != to:
            raise RegistryError(
                f"the alias {self._alias} of {model} was moved to {to}, but reads back as {after}: a writer that"
                f" does not take the lock is at work in {self._path}",
                passing=False,
            )

    def artefact_digest(self, model: str, version: str) -> str | None:
        """The digest of the file or folder that `uri` names; see `ModelRegistry.artefact_digest`."""
        path = self._artefact(model, version)
        try:
            return None if path is None else of_path(path)
        except OSError as error:
            raise RegistryError(f"the artefact {path} cannot be read: {error.strerror}", passing=True) from None

    def fetch(self, model: str, version: str, into: Path) -> Path | None:  # noqa: ARG002 - it is here already
        """The folder that `uri` names; see `ModelRegistry.fetch`."""
        path = self._artefact(model, version)
        return path if path is not None and path.is_dir() else None

    def mark(self, model: str, version: str, *, known_good_at: float | None, signature: str | None = None) -> None:
        """Set or withdraw (None) the known-good mark of one version, with its signature."""
        moment = None if known_good_at is None else datetime.fromtimestamp(known_good_at, UTC)
        with self._locked():
            document = self._read()
            found = self._model(document, model)
            marked = msgspec.structs.replace(
                self._version(found, model, version), known_good_at=moment, known_good_signature=signature
            )
            versions = {**found.versions, version: marked}
            self._replace(document, model, msgspec.structs.replace(found, versions=versions))

    def pin(self, model: str, pin: Pin | None) -> None:
        """Set the key `pinned` of a model, or take it away (None)."""
        with self._locked():
            document = self._read()
            pinned = msgspec.structs.replace(self._model(document, model), pinned=pin or msgspec.UNSET)
            self._replace(document, model, pinned)

    def close(self) -> None:
        """Nothing is held between calls. Safe to call twice."""

    def _read(self) -> _Document:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Document)
        except OSError as error:
            passing = not isinstance(error, FileNotFoundError | PermissionError)
            raise RegistryError(
                f"the registry file {self._path} cannot be read: {error.strerror}", passing=passing
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # Passing, because it may be in somebody's editor right now: the next save can repair it.
            raise RegistryError(f"the registry file {self._path} is not valid: {error}", passing=True) from None

    def _model(self, document: _Document, model: str) -> _Model:
        try:
            return document.models[model]
        except KeyError:
            raise RegistryError(f"no model {model} in {self._path}", passing=False) from None

    def _version(self, found: _Model, model: str, version: str) -> _Version:
        try:
            return found.versions[version]
        except KeyError:
            raise RegistryError(f"no version {version} of {model} in {self._path}", passing=False) from None

    def _aliased(self, found: _Model, model: str) -> str:
        try:
            return found.aliases[self._alias]
        except KeyError:
            raise RegistryError(f"{model} has no alias {self._alias} in {self._path}", passing=False) from None

    def _replace(self, document: _Document, model: str, changed: _Model) -> None:
        content = msgspec.json.encode(_Document(models={**document.models, model: changed}))
        try:
            _write_atomically(self._path, msgspec.json.format(content, indent=2) + b"\n")
        except OSError as error:
            raise RegistryError(
                f"the registry file {self._path} cannot be written: {error.strerror}", passing=True
            ) from None

    def _artefact(self, model: str, version: str) -> Path | None:
        """Where a version's artefact is; None where nobody says, or somewhere else than on this machine."""
        uri = self._version(self._model(self._read(), model), model, version).uri
        if uri is None or ("://" in uri and not uri.startswith("file:///")):
            return None
        return self._path.parent / uri.removeprefix("file://")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock that keeps other writers out. The lock is on a file of its own: this one is replaced."""
        lock_path = self._path.with_name(self._path.name + ".lock")
        try:
            descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RegistryError(f"the lock {lock_path} cannot be opened: {error.strerror}", passing=True) from None
        try:
            _wait_for_lock(descriptor, lock_path)
            yield
        finally:
            os.close(descriptor)  # which releases the lock


def _wait_for_lock(descriptor: int, lock_path: Path) -> None:
    deadline = time.monotonic() + _LOCK_WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RegistryError(
                    f"another process has held the lock {lock_path} for {_LOCK_WAIT:g} seconds", passing=True
                ) from None
            time.sleep(_LOCK_POLL)
        else:
            return


def _write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a crash at any point leaves the old or the new content, with the old permissions."""
    mode = path.stat().st_mode
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode & 0o777)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _model_version(model: str, name: str, version: _Version) -> ModelVersion:
    return ModelVersion(
        model=model,
        version=name,
        created=epoch(version.created),
        ready=version.ready,
        digest=version.digest,
        known_good_at=None if version.known_good_at is None else epoch(version.known_good_at),
        revoked=version.revoked,
        signature=version.known_good_signature,
        trained_until=None if version.trained_until is None else epoch(version.trained_until),
        inputs=version.inputs,
    )
