"""PagerDuty: events that its own schema accepts, within its limits, one alert for each incident."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from pydantic import ValidationError

from alerting.incident import Change, Status, Transition
from alerting.message import Words, notice
from alerting.pagerduty import (
    MAX_BYTES,
    PagerdutyConfig,
    change_event,
    encoded,
    event,
)
from alerting.receiver import Reason, SendError
from tests.kit import golden
from tests.kit.http_server import Server, reply
from tests.kit.incidents import incident, opened, resolved, transitions
from tests.kit.payloads import WORST, check_pagerduty
from tests.kit.schemas import pagerduty
from tests.kit.supplies import TOCSIN, on_loopback

GOLDEN = Path(__file__).parent / "golden"
KEY = "0123456789abcdef0123456789ABCDEF"
WORDS = Words(environment="production", external_url=TOCSIN)
ROLLED_BACK = Transition(
    Change.ACTED,
    2,
    incident(action="Moved champion of net-ids from 1.2.0 to 1.1.0.", rolled_back_to="1.1.0"),
)


def config(address: str, **more: object) -> PagerdutyConfig:
    key = {"value": KEY}
    return PagerdutyConfig.model_validate(
        {"kind": "pagerduty", "name": "pager", "url": address, "routing_key": key, **more}
    )


def made(transition: Transition, words: Words = WORDS) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encoded(event(transition, notice(transition, words), routing_key=KEY)))
    return found


def send(server: Server, *steps: Transition) -> None:
    async def scenario() -> None:
        receiver = config(server.address + "/v2/").connect(on_loopback(environment="production"))
        try:
            for step in steps:
                await receiver.send(step)
        finally:
            await receiver.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("name", "transition"), [("opened", opened()), ("resolved", resolved())])
def test_the_event(name: str, transition: Transition) -> None:
    golden.check(GOLDEN / f"pagerduty-{name}.json", made(transition))


def test_the_change_event() -> None:
    found = change_event(ROLLED_BACK, notice(ROLLED_BACK, WORDS), routing_key=KEY)
    golden.check(GOLDEN / "pagerduty-change.json", found)


def test_one_alert_from_its_first_to_its_last_step(server: Server) -> None:
    server.answers = [reply(202, b'{"status":"success","message":"Event processed","dedup_key":"x"}')]
    acked = Transition(Change.ACKNOWLEDGED, 3, incident(status=Status.ACKNOWLEDGED, acknowledged_by="ada"))
    send(server, opened(), ROLLED_BACK, acked, resolved(4))
    found = [(request.path, json.loads(request.body)) for request in server.requests]
    assert [(path, body.get("event_action")) for path, body in found] == [
        ("/v2/enqueue", "trigger"),
        ("/v2/enqueue", "trigger"),
        ("/v2/change/enqueue", None),
        ("/v2/enqueue", "acknowledge"),
        ("/v2/enqueue", "resolve"),
    ]
    assert {body["dedup_key"] for path, body in found if path == "/v2/enqueue"} == {incident().id}
    assert {body["routing_key"] for _, body in found} == {KEY}


@settings(max_examples=200, deadline=None)
@given(transitions())
@example(WORST)
def test_every_event_keeps_the_limits(transition: Transition) -> None:
    check_pagerduty(transition)


@pytest.mark.skipif(pagerduty("/enqueue") is None, reason="PagerDuty's schema is not beside the repository")
@pytest.mark.parametrize("transition", [opened(), resolved(), ROLLED_BACK])
def test_every_event_keeps_the_schema(transition: Transition) -> None:
    check_pagerduty(transition)
    assert not pagerduty("/enqueue").is_valid({"event_action": "trigger"})


def test_an_event_that_is_too_large_goes_without_its_details() -> None:
    large = {"payload": {"summary": "s", "custom_details": {"x": "y" * MAX_BYTES}}, "links": []}
    assert json.loads(encoded(large)) == {"payload": {"summary": "s", "custom_details": {}}, "links": []}


def test_a_key_that_breaks_later_is_told(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    receiver = config(server.address, routing_key={"file": path}).connect(on_loopback())
    path.write_text("")

    async def scenario() -> None:
        with pytest.raises(SendError, match="its routing key is not 32") as caught:
            await receiver.send(opened())
        assert (caught.value.reason, caught.value.passing) == (Reason.SETTINGS, True)
        await receiver.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("more", [{"routing_key": {"value": "c4n4ry"}}, {"url": "events.pagerduty.com"}])
def test_wrong_settings_are_refused_at_the_start(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**{"address": "https://x", **more}) if "url" not in more else config(str(more["url"]))
    assert "c4n4ry" not in str(caught.value)
