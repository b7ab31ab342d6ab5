"""What `MlflowRegistry` makes of MLflow's answers; the contract of registries is in tests/contracts."""

import uuid
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from structlog.testing import capture_logs

from monitor.rollback.mlflow_registry import MlflowRegistry
from monitor.rollback.registry import UNREADABLE, AliasMovedError, RegistryError
from tests.kit.fake_mlflow import Fake, as_json, config, fake_mlflow, version
from tests.kit.mlflow_server import MlflowServer


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fake_mlflow() as made:
        yield made


def test_pages_are_read_to_the_end_and_other_models_left_out(fake: Fake) -> None:
    pages = {
        None: {"model_versions": [version(4), version(3, model="NET-IDS")], "next_page_token": "a"},
        "a": {"model_versions": [version(2)], "next_page_token": "b"},
        "b": {"model_versions": [version(1)]},
    }
    fake.answer = lambda asked: as_json(pages[asked.query.get("page_token")])
    with closing(MlflowRegistry(config(fake.url))) as registry:
        assert [found.version for found in registry.versions("net-ids")] == ["4", "2", "1"]
    assert len(fake.asked) == 3


def test_a_server_whose_pages_never_end_is_an_error(fake: Fake) -> None:
    fake.answer = lambda _: as_json({"model_versions": [version(1)], "next_page_token": "again"})
    with closing(MlflowRegistry(config(fake.url))) as registry, pytest.raises(RegistryError, match="pages") as caught:
        registry.versions("net-ids")
    assert not caught.value.passing


def test_numbers_may_come_as_text(fake: Fake) -> None:
    fake.answer = lambda _: as_json({"model_version": version(1) | {"creation_timestamp": "1772000000500"}})
    with closing(MlflowRegistry(config(fake.url))) as registry:
        assert registry.current("net-ids").created == 1_772_000_000.5


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION", ""])
def test_only_ready_is_ready(fake: Fake, status: str) -> None:
    fake.answer = lambda _: as_json({"model_version": version(1) | {"status": status}})
    with closing(MlflowRegistry(config(fake.url))) as registry:
        assert not registry.current("net-ids").ready


@pytest.mark.parametrize(
    ("value", "revoked"), [("true", True), ("", True), ("CVE-1", True), ("false", False), (" False", False)]
)
def test_any_revocation_but_false_counts(fake: Fake, value: str, revoked: bool) -> None:
    fake.answer = lambda _: as_json({"model_version": version(1, tocsin__revoked=value)})
    with closing(MlflowRegistry(config(fake.url))) as registry:
        assert registry.current("net-ids").revoked is revoked


@pytest.mark.parametrize("mark", ["yesterday", "1772000000", "2026-13-01T00:00:00Z"])
def test_a_mark_that_cannot_be_read_is_no_mark_and_is_said(fake: Fake, mark: str) -> None:
    fake.answer = lambda _: as_json({"model_version": version(7, tocsin__known_good_at=mark)})
    with closing(MlflowRegistry(config(fake.url))) as registry, capture_logs() as logs:
        assert registry.current("net-ids").known_good_at is None
    (line,) = logs
    assert (line["log_level"], line["model"], line["version"]) == ("warning", "net-ids", "7")


@pytest.mark.parametrize(
    ("recorded", "inputs"),
    [('["age", "size"]', ("age", "size")), ("[]", ()), ("", None), ("age, size", UNREADABLE), ("[1]", UNREADABLE)],
)
def test_inputs_that_cannot_be_read_are_inputs_that_nobody_has(
    fake: Fake, recorded: str, inputs: tuple[str, ...] | None
) -> None:
    fake.answer = lambda _: as_json({"model_version": version(7, tocsin__inputs=recorded)})
    with closing(MlflowRegistry(config(fake.url))) as registry:
        assert registry.current("net-ids").inputs == inputs


def test_a_move_that_does_not_read_back_is_an_error(fake: Fake) -> None:
    fake.answer = lambda asked: as_json({"model_version": version(2)} if asked.method == "GET" else {})
    with closing(MlflowRegistry(config(fake.url))) as registry, pytest.raises(RegistryError) as caught:
        registry.move("net-ids", expected="2", to="1")
    assert "moved to 1, but reads back as MLflow version 2" in str(caught.value)
    assert [asked.method for asked in fake.asked] == ["GET", "POST", "GET"]


def test_a_move_that_stands_back_writes_nothing(fake: Fake) -> None:
    fake.answer = lambda _: as_json({"model_version": version(3)})
    with closing(MlflowRegistry(config(fake.url))) as registry, pytest.raises(AliasMovedError):
        registry.move("net-ids", expected="2", to="1")
    assert {asked.method for asked in fake.asked} == {"GET"}


def test_a_tag_that_two_versions_share_names_neither(fake: Fake) -> None:
    fake.answer = lambda _: as_json({"model_versions": [version(2, release="1.0"), version(1, release="1.0")]})
    with (
        closing(MlflowRegistry(config(fake.url, version_tag="release"))) as registry,
        pytest.raises(RegistryError, match=r"versions 2, 1 all have the tag release=1\.0 in net-ids"),
    ):
        registry.move("net-ids", expected="2.0", to="1.0")


def test_versions_without_the_tag_have_no_name_in_events(fake: Fake) -> None:
    unnamed = [version(3), version(2, release="")]
    fake.answer = lambda asked: as_json(
        {"model_versions": [*unnamed, version(1, release="1.0")]}
        if "search" in asked.endpoint
        else {"model_version": unnamed[0]}
    )
    with closing(MlflowRegistry(config(fake.url, version_tag="release"))) as registry:
        assert [found.version for found in registry.versions("net-ids")] == ["1.0"]
        with pytest.raises(RegistryError, match="version 3 of net-ids has the alias champion, but no tag release"):
            registry.current("net-ids")


def test_a_name_with_both_kinds_of_quotes_is_refused_before_anything_is_asked(fake: Fake) -> None:
    with closing(MlflowRegistry(config(fake.url))) as registry, pytest.raises(RegistryError, match="quotes"):
        registry.versions("""a'b"c""")
    assert fake.asked == []


# A real server


@pytest.mark.mlflow
@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["it's {}", 'say "{}"', "{}' AND name='net-ids", "50%_{}", "größe\\{}"])
def test_real_names_cannot_break_out_of_the_search(mlflow_server: MlflowServer, pattern: str) -> None:
    model, decoy = pattern.format(uuid.uuid4().hex), uuid.uuid4().hex
    for name in (model, decoy):
        mlflow_server.add_model(name)
        mlflow_server.add_version(name)
    with closing(MlflowRegistry(config(mlflow_server.url))) as registry:
        assert [(found.model, found.version) for found in registry.versions(model)] == [(model, "1")]


@pytest.mark.mlflow
@pytest.mark.slow
def test_real_pages_fit_together(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.rollback.mlflow_registry._PAGE_SIZE", 3)
    model = uuid.uuid4().hex
    mlflow_server.add_model(model)
    numbers = [mlflow_server.add_version(model) for _ in range(11)]
    with closing(MlflowRegistry(config(mlflow_server.url))) as registry:
        assert [found.version for found in registry.versions(model)] == numbers[::-1]


@pytest.mark.mlflow
@pytest.mark.slow
def test_the_real_mark_is_iso_8601_in_utc(mlflow_server: MlflowServer) -> None:
    model = uuid.uuid4().hex
    mlflow_server.add_model(model)
    number = mlflow_server.add_version(model)
    with closing(MlflowRegistry(config(mlflow_server.url))) as registry:
        registry.mark(model, number, known_good_at=1_772_000_000.0)
        assert mlflow_server.version(model, number) == {"tocsin.known_good_at": "2026-02-25T06:13:20+00:00"}
        registry.mark(model, number, known_good_at=None)
        assert mlflow_server.version(model, number) == {}


@pytest.mark.mlflow
@pytest.mark.slow
def test_a_real_refusal_of_the_host_header_says_what_to_do(mlflow_server: MlflowServer) -> None:
    client = httpx.Client(headers={"Host": "mlflow.ml.svc.cluster.local:5000"})
    with (
        closing(MlflowRegistry(config(mlflow_server.url), client)) as registry,
        pytest.raises(RegistryError, match="--allowed-hosts"),
    ):
        registry.current("net-ids")
