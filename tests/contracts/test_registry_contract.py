"""What every implementation of `monitor.rollback.registry.ModelRegistry` must do, over each of them."""

import itertools
import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest

from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.http_registry import HttpRegistry
from monitor.rollback.mlflow_registry import MlflowConfig, MlflowRegistry
from monitor.rollback.registry import AliasMovedError, ModelRegistry, Pin, RegistryError
from tests.kit.http_registry_server import Kept, RegistryServer
from tests.kit.mlflow_server import MlflowServer

ALIAS = "champion"
DIGEST = "sha256:" + "ab" * 32


class Shelf(Protocol):
    """One model in a registry, as its owners handle it behind the registry's back."""

    model: str
    registry: ModelRegistry

    def add(self, *, digest: str | None = None, inputs: list[str] | None = None) -> str:
        """Register a version, newer than all before, and return its name in events."""

    def point(self, version: str) -> None:
        """Set the serving alias."""

    def revoke(self, version: str) -> None: ...

    def pinned(self) -> object:
        """The pin of the model as its owners read it: incident, version and time; None if there is none."""


class FileShelf:
    def __init__(self, path: Path) -> None:
        self.model = "net-ids"
        self.registry = FileRegistry(FileRegistryConfig(kind="file", path=path))
        self._path = path
        self._days = itertools.count(1)
        self._entry: dict[str, dict[str, object]] = {"aliases": {}, "versions": {}}
        self._save()

    def add(self, *, digest: str | None = None, inputs: list[str] | None = None) -> str:
        self._load()
        day = next(self._days)
        facts = {"created": f"2026-03-{day:02}T08:00:00Z", "digest": digest, "inputs": inputs}
        self._entry["versions"][f"1.{day}.0"] = facts
        self._save()
        return f"1.{day}.0"

    def point(self, version: str) -> None:
        self._load()
        self._entry["aliases"][ALIAS] = version
        self._save()

    def revoke(self, version: str) -> None:
        self._load()
        self._entry["versions"][version]["revoked"] = True  # type: ignore[index]  # what a person would type
        self._save()

    def pinned(self) -> object:
        self._load()
        return as_read(self._entry.get("pinned"))

    def _load(self) -> None:
        self._entry = json.loads(self._path.read_text())["models"][self.model]

    def _save(self) -> None:
        other = {"versions": {"9": {"created": 0}}, "aliases": {ALIAS: "9"}}
        self._path.write_text(json.dumps({"models": {"other": other, self.model: self._entry}}))


class MlflowShelf:
    """With `version_tag`, events call a version by its tag; without, by MLflow's number."""

    def __init__(self, server: MlflowServer, version_tag: str | None) -> None:
        self.model = f"net ids {uuid.uuid4().hex}"
        self.registry = MlflowRegistry(MlflowConfig(kind="mlflow", url=server.url, version_tag=version_tag))
        self._server = server
        self._tag = version_tag
        self._numbers: dict[str, str] = {}
        server.add_model(self.model)

    def add(self, *, digest: str | None = None, inputs: list[str] | None = None) -> str:
        tags = {} if digest is None else {"tocsin.digest": digest}
        tags |= {} if inputs is None else {"tocsin.inputs": json.dumps(inputs)}
        name = f"1.{len(self._numbers)}.0"
        if self._tag is not None:
            tags[self._tag] = name
        number = self._server.add_version(self.model, tags)
        name = number if self._tag is None else name
        self._numbers[name] = number
        return name

    def point(self, version: str) -> None:
        self._server.set_alias(self.model, ALIAS, self._numbers[version])

    def revoke(self, version: str) -> None:
        self._server.set_tag(self.model, self._numbers[version], "tocsin.revoked", "true")

    def pinned(self) -> object:
        text = self._server.model_tags(self.model).get("tocsin.pinned")
        return as_read(None if text is None else json.loads(text))


class HttpShelf:
    """Somebody's own registry behind HTTP, which compares before it moves."""

    def __init__(self, server: RegistryServer) -> None:
        self.model = "net ids/1"
        self._server = server
        self._days = itertools.count(1)
        server.models = {self.model: Kept(), "other": Kept({"9": {"version": "9", "created": 0}}, {ALIAS: "9"})}
        self.registry = HttpRegistry(server.config())

    def add(self, *, digest: str | None = None, inputs: list[str] | None = None) -> str:
        day = next(self._days)
        name = f"1.{day}.0"
        facts = {"version": name, "created": f"2026-03-{day:02}T08:00:00Z", "digest": digest, "inputs": inputs}
        self._server.models[self.model].versions[name] = facts
        return name

    def point(self, version: str) -> None:
        self._server.models[self.model].aliases[ALIAS] = version

    def revoke(self, version: str) -> None:
        self._server.models[self.model].versions[version]["revoked"] = True

    def pinned(self) -> object:
        return as_read(self._server.models[self.model].pinned)


def as_read(pin: dict[str, str] | None) -> object:
    return None if pin is None else (pin["incident"], pin["serving"], datetime.fromisoformat(pin["suspect_since"]))


REAL = (pytest.mark.mlflow, pytest.mark.slow)


@pytest.fixture(
    params=[
        "file",
        "http",
        pytest.param("mlflow", marks=REAL),
        pytest.param("mlflow with version_tag", marks=REAL),
    ]
)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    made: Shelf
    if request.param == "file":
        made = FileShelf(tmp_path / "registry.json")
    elif request.param == "http":
        made = HttpShelf(request.getfixturevalue("registry_server"))
    else:
        server = request.getfixturevalue("mlflow_server")
        made = MlflowShelf(server, "release" if "tag" in request.param else None)
    with closing(made.registry):
        yield made


def names(shelf: Shelf) -> list[str]:
    return [version.version for version in shelf.registry.versions(shelf.model)]


def test_versions_come_newest_first(shelf: Shelf) -> None:
    added = [shelf.add() for _ in range(12)]  # past nine: numbers must not be compared as text
    versions = shelf.registry.versions(shelf.model)
    assert [version.version for version in versions] == added[::-1]
    assert [version.created for version in versions] == sorted((v.created for v in versions), reverse=True)
    assert {version.model for version in versions} == {shelf.model}


def test_a_new_version_is_ready_and_carries_no_marks(shelf: Shelf) -> None:
    shelf.add()
    (version,) = shelf.registry.versions(shelf.model)
    assert (version.ready, version.revoked, version.known_good_at, version.digest) == (True, False, None, None)


def test_a_model_without_versions_has_none(shelf: Shelf) -> None:
    assert shelf.registry.versions(shelf.model) == ()


def test_the_current_version_follows_the_alias(shelf: Shelf) -> None:
    old, new = shelf.add(digest=DIGEST), shelf.add()
    for version in (new, old):
        shelf.point(version)
        assert shelf.registry.current(shelf.model).version == version
    assert shelf.registry.current(shelf.model) == shelf.registry.versions(shelf.model)[1]


def test_digest_and_revocation_are_read(shelf: Shelf) -> None:
    version = shelf.add(digest=DIGEST)
    shelf.revoke(version)
    (found,) = shelf.registry.versions(shelf.model)
    assert (found.digest, found.revoked) == (DIGEST, True)


def test_what_a_version_needs_is_read(shelf: Shelf) -> None:
    shelf.add()
    shelf.add(inputs=["größe", "a, b"])
    assert [version.inputs for version in shelf.registry.versions(shelf.model)] == [("größe", "a, b"), None]


def test_a_move_changes_the_alias_and_nothing_else(shelf: Shelf) -> None:
    old, bad, new = shelf.add(), shelf.add(), shelf.add()
    shelf.registry.mark(shelf.model, old, known_good_at=1_772_000_000.0)
    before = shelf.registry.versions(shelf.model)
    shelf.point(bad)
    shelf.registry.move(shelf.model, expected=bad, to=old)
    assert shelf.registry.current(shelf.model).version == old
    assert shelf.registry.versions(shelf.model) == before
    shelf.registry.move(shelf.model, expected=old, to=new)
    assert shelf.registry.current(shelf.model).version == new


def test_a_move_stands_back_when_somebody_has_moved_the_alias(shelf: Shelf) -> None:
    old, bad, new = shelf.add(), shelf.add(), shelf.add()
    shelf.point(new)
    with pytest.raises(AliasMovedError, match=ALIAS) as caught:
        shelf.registry.move(shelf.model, expected=bad, to=old)
    assert not caught.value.passing
    assert shelf.registry.current(shelf.model).version == new


def test_a_second_equal_move_stands_back(shelf: Shelf) -> None:
    old, bad = shelf.add(), shelf.add()
    shelf.point(bad)
    shelf.registry.move(shelf.model, expected=bad, to=old)
    with pytest.raises(AliasMovedError):
        shelf.registry.move(shelf.model, expected=bad, to=old)
    assert shelf.registry.current(shelf.model).version == old


def test_a_mark_is_kept_until_it_is_withdrawn(shelf: Shelf) -> None:
    marked, other = shelf.add(digest=DIGEST), shelf.add()
    moment = 1_772_000_000.25

    def marks() -> dict[str, float | None]:
        return {version.version: version.known_good_at for version in shelf.registry.versions(shelf.model)}

    shelf.registry.mark(shelf.model, marked, known_good_at=moment - 1)
    shelf.registry.mark(shelf.model, marked, known_good_at=moment)
    assert marks() == {marked: moment, other: None}
    for _ in range(2):  # withdrawing what is not there changes nothing
        shelf.registry.mark(shelf.model, marked, known_good_at=None)
        assert marks() == {marked: None, other: None}
    assert shelf.registry.versions(shelf.model)[1].digest == DIGEST


def test_a_mark_is_kept_with_its_signature(shelf: Shelf) -> None:
    version = shelf.add()
    for signature in ("c2ln", "b3RoZXI=", None):
        shelf.registry.mark(shelf.model, version, known_good_at=1_772_000_000.25, signature=signature)
        (found,) = shelf.registry.versions(shelf.model)
        assert (found.known_good_at, found.signature) == (1_772_000_000.25, signature)
    shelf.registry.mark(shelf.model, version, known_good_at=None)
    (found,) = shelf.registry.versions(shelf.model)
    assert (found.known_good_at, found.signature) == (None, None)


def test_a_pin_is_there_until_it_is_taken_away(shelf: Shelf) -> None:
    shelf.point(shelf.add())
    moments = [datetime(2026, 3, day, 2, 55, tzinfo=UTC) for day in (2, 3)]
    for name, since in zip(("i1", "i2"), moments, strict=True):
        shelf.registry.pin(shelf.model, Pin(name, "1.1.0", since))
        assert shelf.pinned() == (name, "1.1.0", since)
    shelf.registry.pin(shelf.model, None)
    assert shelf.pinned() is None
    shelf.registry.pin(shelf.model, None)
    assert len(names(shelf)) == 1


def test_a_model_without_the_alias_is_an_error(shelf: Shelf) -> None:
    version = shelf.add()
    with pytest.raises(RegistryError, match=ALIAS) as caught:
        shelf.registry.current(shelf.model)
    assert not caught.value.passing
    with pytest.raises(RegistryError, match=ALIAS):
        shelf.registry.move(shelf.model, expected=version, to=version)


def test_an_unknown_model_is_an_error_that_names_it(shelf: Shelf) -> None:
    registry, unknown = shelf.registry, "no-such-model"
    for call in (
        lambda: registry.current(unknown),
        lambda: registry.versions(unknown),
        lambda: registry.move(unknown, expected="1", to="2"),
        lambda: registry.mark(unknown, "1", known_good_at=1.0),
        lambda: registry.mark(unknown, "1", known_good_at=None),
    ):
        with pytest.raises(RegistryError, match=unknown) as caught:
            call()
        assert not caught.value.passing
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("unknown", ["77", "7.7.7", "no-such-version"])
def test_an_unknown_version_is_an_error_and_moves_nothing(shelf: Shelf, unknown: str) -> None:
    version = shelf.add()
    shelf.point(version)
    for call in (
        lambda: shelf.registry.move(shelf.model, expected=version, to=unknown),
        lambda: shelf.registry.mark(shelf.model, unknown, known_good_at=1.0),
        lambda: shelf.registry.mark(shelf.model, unknown, known_good_at=None),
    ):
        with pytest.raises(RegistryError, match=unknown) as caught:
            call()
        assert not caught.value.passing
    assert shelf.registry.current(shelf.model).version == version
    assert names(shelf) == [version]


def test_closing_twice_is_safe(shelf: Shelf) -> None:
    shelf.registry.close()
    shelf.registry.close()
