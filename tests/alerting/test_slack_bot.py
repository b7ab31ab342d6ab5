"""Slack through a bot: one message that is kept up to date, and a thread."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from alerting.incident import Change, Transition
from alerting.message import Words
from alerting.receiver import Reason, SendError
from alerting.slack import payload
from alerting.slack_bot import SlackBotConfig
from tests.kit import golden
from tests.kit.http_server import Server, reply
from tests.kit.incidents import incident, opened, resolved
from tests.kit.supplies import on_loopback

GOLDEN = Path(__file__).parent / "golden"
TOKEN = "xoxb-c4n4ry"
OK = reply(200, b'{"ok":true,"channel":"C024BE91L","ts":"1503435956.000247"}')
ACTED = Transition(Change.ACTED, 2, incident(action="Moved champion of net-ids from 1.2.0 to 1.1.0."))


def config(address: str, **more: object) -> SlackBotConfig:
    return SlackBotConfig.model_validate(
        {"kind": "slack_bot", "name": "bot", "url": address, "token": {"value": TOKEN}, "channel": "C024BE91L", **more}
    )


def send(server: Server, transition: Transition, receipt: str | None = None) -> str | None:
    """A receiver for each message, as after a restart: all that is kept is the receipt."""

    async def scenario() -> str | None:
        receiver = config(server.address).connect(on_loopback())
        try:
            return await receiver.send(transition, receipt)
        finally:
            await receiver.close()

    return asyncio.run(scenario())


def sent(server: Server) -> list[tuple[str, Any]]:
    return [(request.path, json.loads(request.body)) for request in server.requests]


def test_the_first_step_is_a_message_and_the_others_are_below_it(server: Server) -> None:
    server.answers = [OK]
    receipt = send(server, opened())
    receipt = send(server, ACTED, receipt)
    receipt = send(server, resolved(), receipt)
    assert receipt == '{"channel":"C024BE91L","ts":"1503435956.000247"}'
    calls = sent(server)
    assert [path for path, _ in calls] == [
        *("/chat.postMessage", "/chat.update", "/chat.postMessage"),
        *("/chat.update", "/chat.postMessage"),
    ]
    golden.check(GOLDEN / "slack_bot-opened.json", calls[0][1])
    golden.check(GOLDEN / "slack_bot-acted.json", [body for _, body in calls[1:3]])
    # The message shows how it stands now, and the thread what was new.
    assert calls[3][1] == {**payload(resolved(), Words()), "channel": "C024BE91L", "ts": "1503435956.000247"}
    assert calls[4][1]["reply_broadcast"] is True
    assert calls[2][1]["reply_broadcast"] is False
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("word", [b"message_not_found", b"cant_update_message", b"edit_window_closed"])
def test_a_message_that_is_gone_is_posted_anew(server: Server, word: bytes) -> None:
    receipt = '{"channel":"C024BE91L","ts":"1.2"}'
    server.answers = [reply(200, b'{"ok":false,"error":"' + word + b'"}'), OK]
    assert send(server, resolved(), receipt) == '{"channel":"C024BE91L","ts":"1503435956.000247"}'
    assert [path for path, _ in sent(server)] == ["/chat.update", "/chat.postMessage"]


@pytest.mark.parametrize(
    ("body", "reason", "passing"),
    [
        (b'{"ok":false,"error":"ratelimited"}', Reason.RATE_LIMITED, True),
        (b'{"ok":false,"error":"invalid_auth"}', Reason.UNAUTHORIZED, False),
        (b'{"ok":false,"error":"not_in_channel"}', Reason.UNAUTHORIZED, False),
        (b'{"ok":false,"error":"channel_not_found"}', Reason.NOT_FOUND, False),
        (b'{"ok":false,"error":"is_archived"}', Reason.NOT_FOUND, False),
        (b'{"ok":false,"error":"invalid_blocks"}', Reason.REJECTED, False),
        (b'{"ok":false,"error":"internal_error"}', Reason.REJECTED, True),
        (b"<html>", Reason.UNEXPECTED, True),
    ],
)
def test_a_200_that_is_not_ok_is_a_failure(server: Server, body: bytes, reason: Reason, *, passing: bool) -> None:
    server.answers = [reply(200, body)]
    with pytest.raises(SendError) as caught:
        send(server, opened())
    assert (caught.value.reason, caught.value.passing) == (reason, passing)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "more", [{"channel": "#alerts"}, {"channel": ""}, {"token": {"value": "two words"}}, {"url": "slack.com"}]
)
def test_wrong_settings_are_refused_at_the_start(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config(**{"address": "https://slack.com/api", **{k: v for k, v in more.items() if k != "url"}}) if (
            "url" not in more
        ) else config(str(more["url"]))
