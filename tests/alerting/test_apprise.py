"""Apprise: whatever it knows, as plain text, and no address in a log."""

import asyncio
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from pydantic import ValidationError

from alerting.apprise import AppriseConfig, payload
from alerting.incident import Transition
from alerting.receiver import Reason, SendError
from tests.kit import golden
from tests.kit.http_server import Server, reply
from tests.kit.incidents import opened, resolved, transitions
from tests.kit.payloads import WORDS, WORST, check_apprise
from tests.kit.supplies import on_loopback

if importlib.util.find_spec("apprise") is None and os.environ.get("CI") != "true":  # where it has to be, tests fail
    pytest.skip("the extra `apprise` is not installed", allow_module_level=True)

GOLDEN = Path(__file__).parent / "golden"
CANARY = "c4n4ry"


def config(url: str) -> AppriseConfig:
    return AppriseConfig.model_validate({"kind": "apprise", "name": "any", "url": {"value": url}})


def send(server: Server) -> None:
    async def scenario() -> None:
        receiver = config(f"json://127.0.0.1:{server.server_port}/{CANARY}").connect(on_loopback())
        await receiver.send(opened())
        await receiver.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("name", "transition"), [("opened", opened()), ("resolved", resolved())])
def test_the_message(name: str, transition: Transition) -> None:
    golden.check(GOLDEN / f"apprise-{name}.json", payload(transition, WORDS))


@settings(max_examples=200, deadline=None)
@given(transitions())
@example(WORST)
def test_every_message_is_bounded_and_mentions_nobody(transition: Transition) -> None:
    check_apprise(transition)


def test_it_arrives(server: Server) -> None:
    server.answers = [reply(200, b"ok")]
    send(server)
    body = json.loads(server.requests[0].body)
    assert body["title"] == "FIRING critical: label flip, net-ids 1.2.0"
    assert body["type"] == "failure"


@pytest.mark.parametrize("status", [400, 404, 500])
def test_what_was_not_taken_is_tried_again_and_its_address_is_told_to_nobody(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [reply(status)]
    with caplog.at_level(logging.DEBUG), pytest.raises(SendError) as caught:
        send(server)
    assert (caught.value.reason, caught.value.passing) == (Reason.UNEXPECTED, True)
    assert CANARY in server.requests[0].path
    assert CANARY not in caplog.text + str(caught.value)


def test_an_address_that_apprise_does_not_know_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="not one that Apprise knows") as caught:
        config(f"nowhere://{CANARY}")
    assert CANARY not in str(caught.value)


def test_without_the_extra_the_configuration_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ValidationError, match=r"install tocsin\[apprise\]"):
        config("json://127.0.0.1/")
