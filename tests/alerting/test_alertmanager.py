"""Alertmanager: alerts that it keeps, at every peer, known by the same labels until they end."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from pydantic import ValidationError

from alerting.alertmanager import LAPSE, AlertmanagerConfig, alert
from alerting.incident import Change, Severity, Transition, Verdict
from alerting.message import Words
from alerting.receiver import Receiver, Repeating, SendError
from tests.kit import golden
from tests.kit.http_server import Server, hang, reply
from tests.kit.incidents import OPENED_AT, incident, opened, resolved, transitions
from tests.kit.payloads import WORDS, WORST, check_alertmanager
from tests.kit.supplies import on_loopback

GOLDEN = Path(__file__).parent / "golden"
NOW = OPENED_AT + 300.0


def config(*addresses: str, **more: object) -> AlertmanagerConfig:
    return AlertmanagerConfig.model_validate({"kind": "alertmanager", "name": "am", "urls": addresses, **more})


def using(receiver: Receiver, *calls: Callable[[Any], Any]) -> list[Any]:
    """What each call returns."""

    async def scenario() -> list[Any]:
        try:
            return [await call(receiver) for call in calls]
        finally:
            await receiver.close()

    return asyncio.run(scenario())


def posted(server: Server) -> list[Any]:
    return [json.loads(request.body) for request in server.requests]


@pytest.mark.parametrize(("name", "transition"), [("opened", opened()), ("resolved", resolved())])
def test_the_alert(name: str, transition: Transition) -> None:
    words = Words(environment="production", external_url=WORDS.external_url, links=WORDS.links)
    golden.check(GOLDEN / f"alertmanager-{name}.json", alert(transition, words, now=NOW, lasts=240.0))


@settings(max_examples=200, deadline=None)
@given(transitions())
@example(WORST)
def test_nothing_that_alertmanager_refuses(transition: Transition) -> None:
    check_alertmanager(transition)


def test_every_peer_is_told_and_one_is_enough(make_server: Callable[[], Server]) -> None:
    peers = [make_server() for _ in range(3)]
    peers[1].answers = [reply(503)]
    receiver = config(*(peer.address + "/am/" for peer in peers)).connect(on_loopback())
    using(receiver, lambda r: r.send(opened()))
    assert [request.path for peer in peers for request in peer.requests] == ["/am/api/v2/alerts"] * 3


@pytest.mark.parametrize(("statuses", "passing"), [((503, 400), True), ((400, 404), False)])
def test_none_is_a_failure_that_passes_if_one_of_them_does(
    make_server: Callable[[], Server], statuses: tuple[int, int], *, passing: bool
) -> None:
    peers = [make_server() for _ in statuses]
    for peer, status in zip(peers, statuses, strict=True):
        peer.answers = [reply(status)]
    with pytest.raises(SendError) as caught:
        using(config(*(peer.address for peer in peers)).connect(on_loopback()), lambda r: r.send(opened()))
    assert caught.value.passing is passing


def test_one_peer_that_hangs_does_not_keep_the_others_from_hearing(make_server: Callable[[], Server]) -> None:
    good, bad = make_server(), make_server()
    bad.answers = [hang]
    receiver = config(bad.address, good.address).connect(on_loopback())

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await receiver.send(opened())
        await receiver.close()

    asyncio.run(scenario())
    assert len(good.requests) == 1


def test_other_labels_end_the_alert_that_was_known_by_the_old_ones(server: Server) -> None:
    receiver = config(server.address).connect(on_loopback(clock=lambda: NOW))
    worse = Transition(Change.UPDATED, 2, incident(verdict=Verdict.BACKDOOR))
    same = Transition(Change.ACTED, 3, incident(verdict=Verdict.BACKDOOR, action="Proposes to roll back."))
    (first,) = using(receiver, lambda r: r.send(opened()))
    receiver = config(server.address).connect(on_loopback(clock=lambda: NOW))
    (second,) = using(receiver, lambda r: r.send(worse, first))
    receiver = config(server.address).connect(on_loopback(clock=lambda: NOW))
    using(receiver, lambda r: r.send(same, second))
    one, two, three = posted(server)
    assert [each["labels"]["verdict"] for each in two] == ["label_flip", "backdoor"]
    assert two[0] == {"labels": one[0]["labels"], "endsAt": "2026-03-02T03:10:00Z"}
    assert two[1]["endsAt"] == "2026-03-02T03:14:00Z"
    assert [each["labels"] for each in three] == [two[1]["labels"]]


def test_what_fires_is_repeated_as_one_and_ends_by_itself_unless_it_is(server: Server) -> None:
    receiver = config(server.address, every=30).connect(on_loopback(clock=lambda: NOW))
    assert isinstance(receiver, Repeating)
    assert receiver.every == 30.0
    using(receiver, lambda r: r.repeat([opened(), opened(id="b", severity=Severity.WARNING)]))
    (alerts,) = posted(server)
    assert [each["labels"]["incident"] for each in alerts] == ["0f3c9a1b2d4e", "b"]
    assert LAPSE * 30 == 120
    assert {each["endsAt"] for each in alerts} == {"2026-03-02T03:12:00Z"}


def test_a_token_is_sent_to_every_peer(make_server: Callable[[], Server]) -> None:
    peers = [make_server() for _ in range(2)]
    receiver = config(*(peer.address for peer in peers), token={"value": "c4n4ry"}).connect(on_loopback())
    using(receiver, lambda r: r.send(opened()))
    assert {request.headers["authorization"] for peer in peers for request in peer.requests} == {"Bearer c4n4ry"}


@pytest.mark.parametrize("addresses", [(), ("alertmanager:9093",), ("http://am:9093", "ftp://am")])
def test_wrong_settings_are_refused_at_the_start(addresses: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        config(*addresses)
