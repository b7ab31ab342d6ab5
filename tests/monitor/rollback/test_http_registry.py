"""What is special about a registry that is described in the configuration; the rest is in the contract suite."""

from typing import Any

import pytest
from pydantic import ValidationError

from monitor.rollback.artefacts import of_chunks
from monitor.rollback.http_registry import HttpRegistry, HttpRegistryConfig
from monitor.rollback.registry import UNREADABLE, AliasMovedError, RegistryError
from tests.kit.http_registry_server import SECTION, TOKEN, Kept, RegistryServer


@pytest.fixture
def server(registry_server: RegistryServer) -> RegistryServer:
    versions = {name: {"version": name, "created": number} for number, name in enumerate("abc")}
    registry_server.models = {"mail": Kept(versions, {"champion": "c"})}
    return registry_server


def test_what_the_server_compares_itself_counts(server: RegistryServer) -> None:
    registry = HttpRegistry(server.config(move=SECTION["move"] | {"body": {"version": "{to}", "expected": "b"}}))
    with pytest.raises(AliasMovedError, match="moved by somebody else meanwhile"):
        registry.move("mail", expected="c", to="a")
    assert server.models["mail"].aliases == {"champion": "c"}


def test_a_move_that_was_not_made_is_seen(server: RegistryServer) -> None:
    registry = HttpRegistry(server.config(move={"path": SECTION["versions"]["path"]}))
    with pytest.raises(RegistryError, match="was moved to a, but reads back as c"):
        registry.move("mail", expected="c", to="a")


@pytest.mark.parametrize(("status", "passing"), [(401, False), (403, False), (404, False), (429, True), (500, True)])
def test_errors_say_whether_to_try_again_and_no_secret(server: RegistryServer, status: int, passing: bool) -> None:
    server.forced = status
    with pytest.raises(RegistryError, match=f"the registry at .* was answered {status}") as caught:
        HttpRegistry(server.config()).current("mail")
    assert caught.value.passing is passing
    assert TOKEN not in str(caught.value)


def test_a_server_that_is_away_is_waited_for(server: RegistryServer) -> None:
    registry = HttpRegistry(server.config(url="http://127.0.0.1:9"))
    with pytest.raises(RegistryError) as caught:
        registry.versions("mail")
    assert caught.value.passing


def test_facts_are_found_where_the_configuration_says(server: RegistryServer) -> None:
    facts = {"name": "d", "meta": {"born": "2026-03-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}, "ok": False}
    server.models["mail"].versions = {"d": facts | {"tags": {"bad": "CVE-1", "sum": "sha256:0"}}}
    places = {"name": "name", "created": "meta.born", "trained_until": "meta.until", "ready": "ok"}
    places |= {"revoked": "tags.bad", "digest": "tags.sum"}
    (found,) = HttpRegistry(server.config(versions=SECTION["versions"] | places)).versions("mail")
    assert (found.version, found.created, found.trained_until) == ("d", 1_772_323_200.0, 1_769_904_000.0)
    assert (found.ready, found.revoked, found.digest) == (False, True, "sha256:0")


@pytest.mark.parametrize("facts", [{"version": "x"}, {"created": 1}, {"version": "x", "created": "soon"}, 7])
def test_a_version_without_name_or_time_is_an_error(server: RegistryServer, facts: Any) -> None:
    server.models["mail"].versions["x"] = facts
    with pytest.raises(RegistryError, match="has no name, or no time"):
        HttpRegistry(server.config()).versions("mail")


def test_training_data_whose_end_cannot_be_read_is_as_new_as_can_be(server: RegistryServer) -> None:
    server.models["mail"].versions["a"]["trained_until"] = "yesterday"
    server.models["mail"].versions["a"]["inputs"] = "age"
    found = HttpRegistry(server.config()).versions("mail")[-1]
    assert (found.trained_until, found.inputs) == (float("inf"), UNREADABLE)


def test_the_artefact_is_read_and_hashed(server: RegistryServer) -> None:
    server.artefacts["a"] = b"weights"
    assert HttpRegistry(server.config()).artefact_digest("mail", "a") == of_chunks([b"weights"])
    assert HttpRegistry(server.config(artefact=None)).artefact_digest("mail", "a") is None


def test_a_registry_that_cannot_mark_says_so(server: RegistryServer) -> None:
    with pytest.raises(RegistryError, match=r"registry\.mark"):
        HttpRegistry(server.config(mark=None)).mark("mail", "a", known_good_at=1.0)


@pytest.mark.parametrize("path", ["/{modle}", "/{model", "/{}", "/{model.__class__}"])
def test_a_blank_that_nobody_fills_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="knows only"):
        HttpRegistryConfig.model_validate(SECTION | {"url": "http://here", "current": {"path": path}})
