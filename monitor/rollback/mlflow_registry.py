"""The MLflow Model Registry over its REST API, without importing MLflow.

https://mlflow.org/docs/latest/rest-api.html; tried against MLflow 3.17. The server has no conditional
update: the last writer of an alias wins. `move` therefore reads the alias, writes, and reads it again.

Tags on a model version that Tocsin reads:

    tocsin.known_good_at   ISO 8601 time at which the version was marked known-good; `mark` writes and deletes it
    tocsin.known_good_signature    of Tocsin, or of whoever else marks; see `monitor.rollback.signing`
    tocsin.digest          sha256:<hex> of the artefact, recorded at promotion
    tocsin.revoked         any value but "false": never roll back to this version
    tocsin.trained_until   ISO 8601 time of the newest data that it was trained on
    tocsin.inputs          JSON list of the features that it cannot do without

And one on a model that Tocsin writes after a rollback, for whoever trains: `tocsin.pinned`, a
`monitor.rollback.registry.Pin` as JSON.
"""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import structlog

from monitor.intake.events import epoch
from monitor.rollback.artefacts import of_folder
from monitor.rollback.mlflow_rest import ARTIFACTS, MlflowConfig, MlflowRest
from monitor.rollback.registry import UNREADABLE, AliasMovedError, ModelVersion, Pin, RegistryError

__all__ = ["MlflowConfig", "MlflowRegistry"]

KNOWN_GOOD_TAG = "tocsin.known_good_at"
DIGEST_TAG = "tocsin.digest"
REVOKED_TAG = "tocsin.revoked"
SIGNATURE_TAG = "tocsin.known_good_signature"
TRAINED_TAG = "tocsin.trained_until"
INPUTS_TAG = "tocsin.inputs"
PIN_TAG = "tocsin.pinned"

_PAGE_SIZE = 1000
_PROXIED = "mlflow-artifacts:"
_MAX_FILES = 10_000
_MAX_PAGES = 100  # a server that repeats its page token must not hold the caller for ever

_log = structlog.get_logger(__name__)


class _Tag(msgspec.Struct, frozen=True):
    key: str
    value: str = ""


class _Version(msgspec.Struct, frozen=True):
    name: str
    version: str
    creation_timestamp: int
    """Milliseconds."""
    status: str = ""
    tags: list[_Tag] = []

    @property
    def tag_values(self) -> dict[str, str]:
        return {tag.key: tag.value for tag in self.tags}


class _VersionAnswer(msgspec.Struct, frozen=True):
    model_version: _Version


class _SearchAnswer(msgspec.Struct, frozen=True):
    model_versions: list[_Version] = []
    next_page_token: str = ""


class _UriAnswer(msgspec.Struct, frozen=True):
    artifact_uri: str = ""


class _File(msgspec.Struct, frozen=True):
    path: str
    is_dir: bool = False


class _ListAnswer(msgspec.Struct, frozen=True):
    files: list[_File] = []


class _EmptyAnswer(msgspec.Struct, frozen=True):
    """Any JSON object: only that it succeeded matters."""


class MlflowRegistry:
    """Implements `monitor.rollback.registry.ModelRegistry`. One instance may be shared by threads.

    Args:
        config: The section `registry`.
        client: Used instead of a client of its own; `close` closes it.
    """

    def __init__(self, config: MlflowConfig, client: httpx.Client | None = None) -> None:
        self._config = config
        self._rest = MlflowRest(config, client)

    def current(self, model: str) -> ModelVersion:
        """The version that the serving alias points to."""
        found = self._aliased(model)
        name = self._name(found)
        if name is None:
            raise RegistryError(
                f"version {found.version} of {model} has the alias {self._config.alias}, but no tag"
                f" {self._config.version_tag} that says what events call it",
                passing=False,
            )
        return _model_version(found, name)

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """All versions, newest first. Those without the tag `version_tag`, where one is set, are left out."""
        named = ((found, self._name(found)) for found in self._search(model))
        return tuple(_model_version(found, name) for found, name in named if name is not None)

    def move(self, model: str, *, expected: str, to: str) -> None:
        """Move the serving alias from `expected` to `to`; see `monitor.rollback.registry.ModelRegistry.move`."""
        alias = self._config.alias
        number = self._number(model, to)  # first, so that nothing slow lies between reading and writing the alias
        before = self.current(model).version
        if before != expected:
            raise AliasMovedError(
                f"the alias {alias} of {model} is at {before}, not at {expected}: somebody else moved it"
            )
        body = {"name": model, "alias": alias, "version": number}
        self._rest.call(_EmptyAnswer, "POST", "registered-models/alias", body=body)
        after = self._aliased(model)
        if after.version != number:
            raise RegistryError(
                f"the alias {alias} of {model} was moved to {to}, but reads back as MLflow version {after.version}",
                passing=False,
            )

    def artefact_digest(self, model: str, version: str) -> str | None:
        """The digest of what the server's own artefact store holds; see `monitor.rollback.registry.ModelRegistry`."""
        place = self._place(model, version)
        if place is None:
            return None
        files = self._files(place)
        if not files:
            return self._rest.digest(place)
        return of_folder({name: self._rest.digest(f"{place}/{name}") for name in files})

    def fetch(self, model: str, version: str, into: Path) -> Path | None:
        """A copy of the folder in the server's own artefact store; see `monitor.rollback.registry.ModelRegistry`."""
        place = self._place(model, version)
        files = [] if place is None else self._files(place)
        for name in files:
            self._rest.save(f"{place}/{name}", into / name)
        return into if files else None

    def _place(self, model: str, version: str) -> str | None:
        """Where the server keeps a version's artefact; None if that is a store that only MLflow's clients can reach."""
        query = {"name": model, "version": self._number(model, version)}
        uri = self._rest.call(_UriAnswer, "GET", "model-versions/get-download-uri", query=query).artifact_uri
        return uri.removeprefix(_PROXIED).lstrip("/") if uri.startswith(_PROXIED) else None

    def _files(self, place: str, below: str = "") -> list[str]:
        """The files of a folder, by their path inside it; none if it is a file itself."""
        path = f"{place}/{below}".rstrip("/")
        found: list[str] = []
        for file in self._rest.call(_ListAnswer, "GET", "artifacts", query={"path": path}, api=ARTIFACTS).files:
            name = f"{below}/{file.path.rpartition('/')[2]}".lstrip("/")
            if name.rpartition("/")[2] in {"", ".", ".."}:
                raise RegistryError(f"the artefact {place} has a file without a name of its own", passing=False)
            found += self._files(place, name) if file.is_dir else [name]
            if len(found) > _MAX_FILES:
                raise RegistryError(f"the artefact {place} has more than {_MAX_FILES} files", passing=False)
        return found

    def mark(self, model: str, version: str, *, known_good_at: float | None, signature: str | None = None) -> None:
        """Set or withdraw (None) the known-good mark of one version, with its signature."""
        place = {"name": model, "version": self._number(model, version)}
        moment = None if known_good_at is None else datetime.fromtimestamp(known_good_at, UTC).isoformat()
        # The signature first: at no time is there a new mark without it, nor an old one with it.
        for tag, value in ((SIGNATURE_TAG, signature), (KNOWN_GOOD_TAG, moment)):
            if value is None:
                self._rest.call(_EmptyAnswer, "DELETE", "model-versions/delete-tag", body={**place, "key": tag})
            else:
                body = {**place, "key": tag, "value": value}
                self._rest.call(_EmptyAnswer, "POST", "model-versions/set-tag", body=body)

    def pin(self, model: str, pin: Pin | None) -> None:
        """Set the model's tag `tocsin.pinned`, or take it away (None)."""
        tag = {"name": model, "key": PIN_TAG}
        if pin is None:
            self._rest.call(_EmptyAnswer, "DELETE", "registered-models/delete-tag", body=tag)
        else:
            body = {**tag, "value": msgspec.json.encode(pin).decode()}
            self._rest.call(_EmptyAnswer, "POST", "registered-models/set-tag", body=body)

    def close(self) -> None:
        """Release connections. Safe to call twice."""
        self._rest.close()

    def _aliased(self, model: str) -> _Version:
        query = {"name": model, "alias": self._config.alias}
        return self._rest.call(_VersionAnswer, "GET", "registered-models/alias", query=query).model_version

    def _search(self, model: str) -> list[_Version]:
        query = {
            "filter": f"name={_quoted(model)}",
            "order_by": "version_number DESC",
            "max_results": str(_PAGE_SIZE),
        }
        found: list[_Version] = []
        for _ in range(_MAX_PAGES):
            page = self._rest.call(_SearchAnswer, "GET", "model-versions/search", query=query)
            # Some databases behind MLflow compare names without regard to case.
            found += [version for version in page.model_versions if version.name == model]
            if not page.next_page_token:
                break
            query["page_token"] = page.next_page_token
        else:
            raise RegistryError(f"MLflow still had pages of versions of {model} after {_MAX_PAGES}", passing=False)
        if not found:  # a search cannot tell a model without versions from one that does not exist; this can
            self._rest.call(_EmptyAnswer, "GET", "registered-models/get", query={"name": model})
        return found

    def _name(self, found: _Version) -> str | None:
        """What events call this version; None where the configured tag is missing."""
        tag = self._config.version_tag
        return found.version if tag is None else found.tag_values.get(tag) or None

    def _number(self, model: str, version: str) -> str:
        """MLflow's number of the version that events call `version`."""
        if self._config.version_tag is None:
            return version
        numbers = [found.version for found in self._search(model) if self._name(found) == version]
        if len(numbers) != 1:
            which = f"MLflow versions {', '.join(numbers)} all have" if numbers else "no MLflow version has"
            raise RegistryError(f"{which} the tag {self._config.version_tag}={version} in {model}", passing=False)
        return numbers[0]


def _model_version(found: _Version, name: str) -> ModelVersion:
    tags = found.tag_values
    return ModelVersion(
        model=found.name,
        version=name,
        created=found.creation_timestamp / 1000,
        ready=found.status == "READY",
        digest=tags.get(DIGEST_TAG) or None,
        known_good_at=_moment(found, KNOWN_GOOD_TAG),
        signature=tags.get(SIGNATURE_TAG) or None,
        revoked=tags.get(REVOKED_TAG, "false").strip().lower() != "false",
        # One that cannot be read says nothing about when: the safe side is that it was trained on everything.
        trained_until=(_moment(found, TRAINED_TAG) or float("inf")) if tags.get(TRAINED_TAG) else None,
        inputs=_inputs(tags[INPUTS_TAG]) if tags.get(INPUTS_TAG) else None,
    )


def _inputs(text: str) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError:
        return UNREADABLE


def _moment(found: _Version, tag: str) -> float | None:
    """Epoch seconds of a tag. A mark that cannot be read is no mark: the safe side, and said in the log."""
    text = found.tag_values.get(tag, "")
    if not text:
        return None
    try:
        return epoch(datetime.fromisoformat(text))
    except ValueError:
        _log.warning("tag_unreadable", model=found.name, version=found.version, tag=tag)
        return None


def _quoted(model: str) -> str:
    """A string of MLflow's filter language, which has two kinds of quotes and no escapes."""
    if '"' not in model:
        return f'"{model}"'
    if "'" not in model:
        return f"'{model}'"
    raise RegistryError(f"MLflow cannot search for a model with both kinds of quotes: {model}", passing=False)
