"""A model registry behind any HTTP interface that speaks JSON, described in the configuration.

A request has a path and perhaps a body, in which `{model}`, `{alias}`, `{version}`, `{expected}`, `{to}`,
`{known_good_at}` (ISO 8601), `{signature}`, `{incident}` and `{suspect_since}` are filled in; in a path they are
quoted. An answer is looked into by dotted names: `data.version` is `{"data": {"version": ...}}`.

If the registry compares before it moves an alias, send it `{expected}`, and let it answer 409 or 412 where the alias is
elsewhere. Whether it does or not, `move` reads the alias before and after.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
from pydantic import Field, field_validator

from alerting.section import Section
from monitor.intake.events import epoch
from monitor.rollback.mlflow_rest import MlflowRest, RestConfig
from monitor.rollback.registry import UNREADABLE, AliasMovedError, ModelVersion, Pin, RegistryError

_BLANKS = frozenset(
    {"model", "alias", "version", "expected", "to", "known_good_at", "signature", "incident", "suspect_since"}
)
_MOVED_MEANWHILE = (" was answered 409:", " was answered 412:")


class Request(Section):
    """One kind of request."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: str = Field(min_length=1)
    """After `registry.url`; a query may be a part of it."""
    body: dict[str, str] = Field(default_factory=dict)

    @field_validator("path", "body")
    @classmethod
    def _blanks_are_known(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        for text in (value,) if isinstance(value, str) else value.values():
            _fill(text, dict.fromkeys(_BLANKS, ""))
        return value


class Current(Request):
    """How to ask where the alias is."""

    version: str = "version"
    """Where in the answer the version's name is."""


class Versions(Request):
    """How to ask for all versions, and where in each item of the answer its facts are."""

    items: str = "versions"
    name: str = "version"
    created: str = "created"
    """A time: ISO 8601, or epoch seconds. So are `known_good_at` and `trained_until`."""
    ready: str = "ready"
    """A version without this is ready."""
    revoked: str = "revoked"
    digest: str = "digest"
    known_good_at: str = "known_good_at"
    signature: str = "known_good_signature"
    trained_until: str = "trained_until"
    inputs: str = "inputs"
    """A list of the features that a version cannot do without."""


class HttpRegistryConfig(RestConfig):
    """The section `registry` for any HTTP interface."""

    kind: Literal["http"]
    current: Current
    versions: Versions
    move: Request
    mark: Request | None = None
    """Without it, marks can be neither given nor taken back in the registry."""
    pin: Request | None = None
    """How to tell whoever trains and promotes what to heed after a rollback; blanks are empty to take that back."""
    artefact: Request | None = None
    """Where a version's artefact can be read, as one file. Without it no digest is compared."""


class HttpRegistry:
    """Implements `monitor.rollback.registry.ModelRegistry`. Safe to share between threads.

    Args:
        config: The section `registry`.
        client: Used instead of a client of its own; `close` closes it.
    """

    def __init__(self, config: HttpRegistryConfig, client: httpx.Client | None = None) -> None:
        self._config = config
        self._rest = MlflowRest(config, client, server="the registry")

    def current(self, model: str) -> ModelVersion:
        """The version that the serving alias points to."""
        name = self._aliased(model)
        return self._version(model, name)

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """All versions, newest first."""
        answer = self._ask(self._config.versions, {"model": model})
        items = _find(answer, self._config.versions.items)
        if not isinstance(items, list):
            raise RegistryError(f"the registry has no list of versions of {model} in its answer", passing=False)
        found = [self._read(model, item) for item in items]
        found.sort(key=lambda version: version.created)
        return tuple(reversed(found))  # of two created at the same time, the later one in the answer first

    def move(self, model: str, *, expected: str, to: str) -> None:
        """Move the serving alias from `expected` to `to`; see `monitor.rollback.registry.ModelRegistry.move`."""
        alias = self._config.alias
        self._version(model, to)
        before = self._aliased(model)
        told = f"the alias {alias} of {model} is at {before}, not at {expected}: somebody else moved it"
        if before != expected:
            raise AliasMovedError(told)
        try:
            self._ask(self._config.move, {"model": model, "version": to, "expected": expected, "to": to})
        except RegistryError as error:
            if any(status in str(error) for status in _MOVED_MEANWHILE):
                raise AliasMovedError(f"the alias {alias} of {model} was moved by somebody else meanwhile") from None
            raise
        after = self._aliased(model)
        if after != to:
            raise RegistryError(
                f"the alias {alias} of {model} was moved to {to}, but reads back as {after}", passing=False
            )

    def artefact_digest(self, model: str, version: str) -> str | None:
        """The digest of what `artefact` gives; see `monitor.rollback.registry.ModelRegistry.artefact_digest`."""
        if self._config.artefact is None:
            return None
        return self._rest.digest_of(self._path(self._config.artefact, {"model": model, "version": version}))

    def fetch(self, model: str, version: str, into: Path) -> Path | None:  # noqa: ARG002 - see below
        """None: what `artefact` gives is one file, and a signature lies beside the files that it is about."""
        return None

    def mark(self, model: str, version: str, *, known_good_at: float | None, signature: str | None = None) -> None:
        """Set or withdraw (None) the known-good mark of one version, with its signature."""
        if self._config.mark is None:
            raise RegistryError("the configuration does not say how to mark a version: `registry.mark`", passing=False)
        self._version(model, version)
        moment = "" if known_good_at is None else datetime.fromtimestamp(known_good_at, UTC).isoformat()
        blanks = {"model": model, "version": version, "known_good_at": moment, "signature": signature or ""}
        self._ask(self._config.mark, blanks)

    def pin(self, model: str, pin: Pin | None) -> None:
        """Send `pin`, if the configuration has it."""
        if self._config.pin is None:
            return
        blanks = {"model": model}
        if pin is not None:
            since = pin.suspect_since.isoformat()
            blanks |= {"incident": pin.incident, "version": pin.serving, "suspect_since": since}
        self._ask(self._config.pin, blanks)

    def close(self) -> None:
        """Release connections. Safe to call twice."""
        self._rest.close()

    def _aliased(self, model: str) -> str:
        found = _find(self._ask(self._config.current, {"model": model}), self._config.current.version)
        if found is None:
            raise RegistryError(f"{model} has no alias {self._config.alias} in the registry", passing=False)
        return str(found)

    def _version(self, model: str, name: str) -> ModelVersion:
        for version in self.versions(model):
            if version.version == name:
                return version
        raise RegistryError(f"no version {name} of {model} in the registry", passing=False)

    def _ask(self, request: Request, blanks: Mapping[str, str]) -> dict[str, Any]:
        filled = {key: _fill(text, self._blanks(blanks)) for key, text in request.body.items()}
        body = filled if request.body else None
        return self._rest.call(dict, request.method, self._path(request, blanks), body=body, api="")

    def _path(self, request: Request, blanks: Mapping[str, str]) -> str:
        quoted = {name: quote(text, safe="") for name, text in self._blanks(blanks).items()}
        return _fill(request.path, quoted).lstrip("/")

    def _blanks(self, blanks: Mapping[str, str]) -> dict[str, str]:
        return dict.fromkeys(_BLANKS, "") | {"alias": self._config.alias, **blanks}

    def _read(self, model: str, item: object) -> ModelVersion:
        places = self._config.versions
        name, created = _find(item, places.name), _moment(_find(item, places.created))
        if name is None or created is None:
            raise RegistryError(f"a version of {model} has no name, or no time, in the registry", passing=False)
        ready, digest, signature = (_find(item, place) for place in (places.ready, places.digest, places.signature))
        trained = _find(item, places.trained_until)
        return ModelVersion(
            model=model,
            version=str(name),
            created=created,
            ready=ready is None or ready is True,
            digest=str(digest) if digest else None,
            known_good_at=_moment(_find(item, places.known_good_at)),
            revoked=_find(item, places.revoked) not in {None, False, ""},
            # One that cannot be read says nothing about when: the safe side is that it was trained on everything.
            trained_until=None if not trained else _moment(trained) or float("inf"),
            signature=str(signature) if signature else None,
            inputs=_inputs(_find(item, places.inputs)),
        )


def _fill(text: str, blanks: Mapping[str, str]) -> str:
    """Fill in blanks. Raises ValueError, for the configuration, if there is an unknown one."""
    parts = text.split("{")
    filled = parts[0]
    for part in parts[1:]:
        name, closed, rest = part.partition("}")
        if not closed or name not in blanks:
            raise ValueError(f"knows only {', '.join(f'{{{blank}}}' for blank in sorted(_BLANKS))} in braces")
        filled += blanks[name] + rest
    return filled


def _find(answer: object, place: str) -> Any:  # noqa: ANN401 - a value of somebody else's JSON
    for name in place.split(".") if place else ():
        if not isinstance(answer, dict):
            return None
        answer = answer.get(name)
    return answer


def _inputs(found: object) -> tuple[str, ...] | None:
    if found is None:
        return None
    return tuple(map(str, found)) if isinstance(found, list) else UNREADABLE


def _moment(found: object) -> float | None:
    """Epoch seconds; None where there is no time, or one that cannot be read."""
    if isinstance(found, str):
        try:
            return epoch(datetime.fromisoformat(found))
        except ValueError:
            return None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None
