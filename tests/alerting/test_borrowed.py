"""Silences taken over from an Alertmanager: what is understood, what is left, and what happens when it is away."""

import json
import logging
from typing import Any

import msgspec
import pytest

from alerting.alertmanager import AlertmanagerConfig
from alerting.borrowed import ask, borrowed, changes
from alerting.incident import Attribution
from alerting.message import Words
from alerting.mutes import Silence, reaches
from alerting.network import Network
from alerting.receiver import Supplies
from tests.kit.http_server import Server, garbage, reply
from tests.kit.incidents import incident

NOW = 1_772_452_800.0  # 2026-03-02 12:00 UTC


def set_there(*matchers: dict[str, Any], state: str = "active", **more: Any) -> dict[str, Any]:
    plain = {
        "id": "5f8ed1ea",
        "matchers": [{"isRegex": False, "isEqual": True} | each for each in matchers],
        "startsAt": "2026-03-02T11:00:00.000Z",
        "endsAt": "2026-03-02T14:00:00.000Z",
        "updatedAt": "2026-03-02T11:00:00.000Z",
        "createdBy": "ada\n",
        "comment": "moving house",
        "status": {"state": state},
    }
    return plain | more


def read(*silences: dict[str, Any], environment: str | None = "production") -> tuple[list[Silence], int]:
    return borrowed(json.dumps(silences).encode(), origin="am", environment=environment)


MODEL = {"name": "model", "value": "net-ids"}


def test_a_silence_there_is_one_here() -> None:
    (found,), left = read(set_there(MODEL, {"name": "verdict", "value": "silence", "isEqual": False}))
    assert [str(each) for each in found.matchers] == ["model=net-ids", "verdict!=silence"]
    assert (found.author, found.comment, found.origin, left) == ("ada", "moving house", "am", 0)
    assert (found.starts_at, found.ends_at) == (NOW - 3600, NOW + 7200)
    assert "by ada in am until" in found.reason
    assert reaches(found.matchers, incident())


@pytest.mark.parametrize(
    ("matchers", "ours"),
    [
        ([MODEL, {"name": "alertname", "value": "TocsinIncident"}], True),
        ([MODEL, {"name": "alertname", "value": "Other"}], False),
        ([MODEL, {"name": "alertname", "value": "Other", "isEqual": False}], True),
        ([MODEL, {"name": "environment", "value": "production"}], True),
        ([MODEL, {"name": "environment", "value": "staging"}], False),
        ([MODEL, {"name": "team", "value": "x"}], False),
        ([MODEL, {"name": "team", "value": "x", "isEqual": False}], True),
        ([{"name": "alertname", "value": "TocsinIncident"}], False),
        ([{"name": "incident", "value": "0f3c9a1b2d4e"}], True),
    ],
)
def test_whatever_is_not_about_our_alerts_is_not_taken(matchers: list[dict[str, Any]], ours: bool) -> None:
    found, _ = read(set_there(*matchers))
    assert len(found) == ours
    if ours:
        assert reaches(found[0].matchers, incident(attribution=Attribution()))


def test_values_are_no_patterns() -> None:
    (found,), _ = read(set_there({"name": "model", "value": "net-[i]*"}))
    assert not reaches(found.matchers, incident())
    assert reaches(found.matchers, incident(model="net-[i]*"))


def test_expressions_are_counted_and_left_alone() -> None:
    assert read(set_there(MODEL | {"isRegex": True}), set_there(MODEL, state="expired")) == ([], 1)


def test_what_is_taken_over_ends_where_it_ends_there() -> None:
    (first,), _ = read(set_there(MODEL))
    own = msgspec.structs.replace(first, origin=None, comment="set here")
    assert changes([own], [first], origin="am", now=NOW) == [first]
    assert changes([own, first], [first], origin="am", now=NOW) == []
    longer = msgspec.structs.replace(first, ends_at=NOW + 9000)
    assert changes([own, first], [longer], origin="am", now=NOW) == [longer]
    (ended,) = changes([own, first], [], origin="am", now=NOW)
    assert (ended.id, ended.ends_at, ended.expired_by) == (first.id, NOW, "am")


def config(*urls: str) -> AlertmanagerConfig:
    return AlertmanagerConfig.model_validate({"kind": "alertmanager", "name": "am", "urls": urls})


SUPPLIES = Supplies(words=Words(environment="production"), network=Network(("127.0.0.1",)))


def test_the_first_peer_that_answers_is_enough(server: Server) -> None:
    server.answers = [
        reply(500),
        garbage,
        reply(200, b'{"not": "a list"}'),
        reply(200, json.dumps([set_there(MODEL)]).encode()),
    ]
    found = ask(config(*[server.address] * 5), SUPPLIES)
    assert found is not None
    assert [str(each) for silence in found for each in silence.matchers] == ["model=net-ids"]
    assert [request.path for request in server.requests] == ["/api/v2/silences"] * 4


def test_an_alertmanager_that_is_away_changes_nothing(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answers = [reply(503)]
    with caplog.at_level(logging.WARNING):
        assert ask(config(server.address.replace("http://", "http://user:hidden@")), SUPPLIES) is None
    assert "peer 1 does not say its silences: HTTPStatusError" in caplog.text
    assert "hidden" not in caplog.text


def test_only_allowed_addresses_are_asked(server: Server) -> None:
    assert ask(config(server.address), Supplies()) is None
    assert server.requests == []
