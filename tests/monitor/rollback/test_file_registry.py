import contextlib
import fcntl
import json
import os
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.rollback import file_registry
from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.registry import AliasMovedError, RegistryError

MODEL = {
    "aliases": {"champion": "1.1.0", "shadow": "1.0.0"},
    "versions": {
        "1.0.0": {"created": "2026-03-01T08:00:00Z", "uri": "/models/1.0.0", "digest": "sha256:00"},
        "1.1.0": {"created": 1772500000.5, "known_good_at": "2026-03-03T12:00:00+02:00", "ready": False},
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps({"models": {"net-ids": MODEL, "other": {"versions": {}}}}))
    return path


def registry_at(path: Path, alias: str = "champion") -> FileRegistry:
    return FileRegistry(FileRegistryConfig(kind="file", path=path, alias=alias))


@pytest.fixture
def registry(path: Path) -> FileRegistry:
    return registry_at(path)


def model_in(path: Path) -> Any:
    return json.loads(path.read_text())["models"]["net-ids"]


def move(registry: FileRegistry) -> None:
    registry.move("net-ids", expected="1.1.0", to="1.0.0")


def test_the_example_in_the_documentation_is_a_registry(path: Path) -> None:
    documentation = file_registry.__doc__ or ""
    start, end = documentation.index('{"models"'), documentation.rindex("}}}}}") + 5
    path.write_text(documentation[start:end])
    registry = registry_at(path)
    assert registry.current("net-ids").version == "1.2.0"
    assert [version.version for version in registry.versions("net-ids")] == ["1.2.0", "1.1.0"]


def test_times_are_iso_8601_or_epoch_seconds_and_utc_without_an_offset(path: Path) -> None:
    content = json.loads(path.read_text())
    content["models"]["net-ids"]["versions"]["0.9.0"] = {"created": "2026-02-01T00:00:00"}
    path.write_text(json.dumps(content))
    newest, middle, oldest = registry_at(path).versions("net-ids")
    assert (newest.created, newest.known_good_at) == (1772500000.5, datetime(2026, 3, 3, 10, tzinfo=UTC).timestamp())
    assert middle.created == datetime(2026, 3, 1, 8, tzinfo=UTC).timestamp()
    assert oldest.created == datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    assert not newest.ready


def test_of_two_versions_of_one_time_the_later_in_the_file_is_newer(path: Path) -> None:
    versions = {name: {"created": 7} for name in ("b", "a", "c")}
    path.write_text(json.dumps({"models": {"net-ids": {"versions": versions}}}))
    assert [version.version for version in registry_at(path).versions("net-ids")] == ["c", "a", "b"]


def test_writing_keeps_everything_that_it_does_not_change(path: Path, registry: FileRegistry) -> None:
    move(registry)
    registry.mark("net-ids", "1.0.0", known_good_at=1772600000.0)
    assert model_in(path) == {
        "aliases": {"champion": "1.0.0", "shadow": "1.0.0"},
        "versions": {
            "1.0.0": {**MODEL["versions"]["1.0.0"], "known_good_at": "2026-03-04T04:53:20Z"},
            "1.1.0": MODEL["versions"]["1.1.0"],
        },
    }
    assert json.loads(path.read_text())["models"]["other"] == {"versions": {}, "aliases": {}}


def test_the_alias_is_the_one_that_was_configured(path: Path) -> None:
    shadow = registry_at(path, alias="shadow")
    assert shadow.current("net-ids").version == "1.0.0"
    shadow.move("net-ids", expected="1.0.0", to="1.1.0")
    assert model_in(path)["aliases"] == {"champion": "1.1.0", "shadow": "1.1.0"}


def test_a_write_keeps_permissions_and_leaves_nothing_behind(path: Path, registry: FileRegistry) -> None:
    path.chmod(0o640)
    move(registry)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(file.name for file in path.parent.iterdir()) == ["registry.json", "registry.json.lock"]


def test_a_symbolic_link_stays_one(path: Path) -> None:
    link = path.with_name("link.json")
    link.symlink_to(path)
    move(registry_at(link))
    assert link.is_symlink()
    assert model_in(path)["aliases"]["champion"] == "1.0.0"


@pytest.mark.parametrize("call", [os.fsync, os.fchmod, Path.replace])
def test_a_write_that_fails_leaves_the_old_content(
    path: Path, registry: FileRegistry, monkeypatch: pytest.MonkeyPatch, call: Callable[..., None]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(Path if call is Path.replace else os, call.__name__, full)
    with pytest.raises(RegistryError, match=r"registry\.json cannot be written: No space left on device") as caught:
        move(registry)
    assert caught.value.passing
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert not [file.name for file in path.parent.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "truncated"),
        (b'{"models": {"net-ids"', "truncated"),
        (b"\xff\xfe{}", "malformed|utf-8"),
        (b'{"models": {"net-ids": {"versions": {"1": {}}}}}', r"`created`"),
        (b'{"models": {"net-ids": {"versions": {"1": {"created": 1, "revokd": true}}}}}', "revokd"),
        (b'{"models": {"net-ids": {"versions": {"1": {"created": "yesterday"}}}}}', r"created"),
        (b'{"models": {"net-ids": {"versions": {"1": {"created": 1, "known_good_at": true}}}}}', r"known_good_at"),
        (b'{"models": ' + b"[" * 100_000, "array"),
        (b'{"models": {"net-ids": {"versions": {"\xff": {}}}}}', "utf-8"),
    ],
)
def test_a_file_that_is_not_a_registry_is_an_error_with_its_place(path: Path, content: bytes, place: str) -> None:
    path.write_bytes(content)
    with pytest.raises(RegistryError, match=place) as caught:
        registry_at(path).current("net-ids")
    assert str(path) in str(caught.value)
    assert caught.value.passing  # somebody may be editing it


@given(
    content=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["models", "versions", "net-ids", "created"]), inner)
        ),
    ).map(lambda tree: json.dumps(tree).encode())
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_content_raises_anything_but_a_registry_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.suppress(RegistryError):
        assert all(version.model == "net-ids" for version in registry_at(path).versions("net-ids"))


def test_a_missing_file_is_an_error_that_waiting_does_not_cure(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"nowhere\.json cannot be read: No such file") as caught:
        registry_at(tmp_path / "nowhere.json").current("net-ids")
    assert not caught.value.passing


def test_a_lock_that_is_held_is_a_passing_error(
    path: Path, registry: FileRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_registry, "_LOCK_WAIT", 0.05)
    with path.with_name("registry.json.lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(RegistryError, match="another process has held the lock") as caught:
            move(registry)
    assert caught.value.passing
    move(registry)


def test_a_folder_that_cannot_hold_the_lock_is_an_error(path: Path, registry: FileRegistry) -> None:
    path.with_name("registry.json.lock").mkdir()
    with pytest.raises(RegistryError, match=r"the lock .* cannot be opened"):
        move(registry)


def test_a_writer_that_ignores_the_lock_is_noticed(
    path: Path, registry: FileRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    replace = Path.replace

    def overwritten(scratch: Path, target: Path) -> Path:
        replaced = replace(scratch, target)
        path.write_bytes(before)
        return replaced

    monkeypatch.setattr(Path, "replace", overwritten)
    with pytest.raises(RegistryError, match=r"moved to 1\.0\.0, but reads back as 1\.1\.0"):
        move(registry)


def test_of_many_movers_one_succeeds(path: Path) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def mover() -> None:
        own = registry_at(path)  # a lock of its own, as another process has
        start.wait()
        try:
            move(own)
        except AliasMovedError:
            outcomes.append("stood back")
        else:
            outcomes.append("moved")

    threads = [threading.Thread(target=mover) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["moved"] + 7 * ["stood back"]


def test_a_reader_never_sees_half_a_file(path: Path, registry: FileRegistry) -> None:
    done = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        reader = registry_at(path)
        while not done.is_set():
            seen.add(reader.current("net-ids").version)

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(20):
        move(registry)
        registry.move("net-ids", expected="1.0.0", to="1.1.0")
    done.set()
    thread.join()
    assert seen <= {"1.0.0", "1.1.0"}
    assert seen
