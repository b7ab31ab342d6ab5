"""Slack: the payload within every limit, and answers that only look like success."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from pydantic import ValidationError

from alerting.incident import Transition
from alerting.message import Words
from alerting.receiver import Reason, SendError
from alerting.slack import SlackConfig, payload
from tests.kit import golden
from tests.kit.http_server import Server, reply
from tests.kit.incidents import OPENED_AT, announced, opened, resolved, transitions
from tests.kit.payloads import WORDS, WORST, check_slack
from tests.kit.supplies import on_loopback

GOLDEN = Path(__file__).parent / "golden"


def config(address: str) -> SlackConfig:
    return SlackConfig.model_validate({"kind": "slack", "name": "chat", "url": {"value": address}})


@settings(max_examples=300, deadline=None)
@given(transitions())
@example(WORST)
def test_every_limit_holds_and_nothing_is_a_mention(transition: Transition) -> None:
    check_slack(transition)


@pytest.mark.parametrize(("name", "transition"), [("opened", opened()), ("resolved", resolved())])
def test_the_message(name: str, transition: Transition) -> None:
    golden.check(
        GOLDEN / f"slack-{name}.json", payload(transition, Words(external_url="https://tocsin.example/?a=1&b=2"))
    )


def test_the_message_of_a_planned_rollback() -> None:
    """With every part that a message can have; the README shows it drawn."""
    words = msgspec.structs.replace(WORDS, clock=lambda: OPENED_AT + 125.0)
    golden.check(GOLDEN / "slack-announced.json", payload(announced(), words))


def test_what_arrives_is_the_payload(server: Server) -> None:
    send(server, external_url="https://tocsin.example/")
    assert json.loads(server.requests[0].body) == payload(opened(), Words(external_url="https://tocsin.example/"))


def test_the_link_cannot_break_out() -> None:
    message = payload(opened(), Words(external_url="https://tocsin.example/>|<!channel>"))
    footer = message["blocks"][-1]["elements"][0]["text"]  # type: ignore[index]  # JSON
    assert footer.endswith("<https://tocsin.example/%3E%7C%3C!channel%3E|Tocsin>")


def send(server: Server, *, external_url: str | None = None) -> SendError | None:
    async def scenario() -> SendError | None:
        receiver = config(server.address).connect(on_loopback(external_url=external_url))
        try:
            await receiver.send(opened())
        except SendError as error:
            return error
        finally:
            await receiver.close()
        return None

    return asyncio.run(scenario())


@pytest.mark.parametrize("body", [b"ok", b"ok\n", b'{"ok":true}'])
def test_ok_is_success(server: Server, body: bytes) -> None:
    server.answers = [reply(200, body)]
    assert send(server) is None


@pytest.mark.parametrize(
    ("body", "reason", "passing", "text"),
    [
        (b'{"ok":false,"error":"invalid_blocks"}', Reason.REJECTED, False, "answered 200 but refused invalid_blocks"),
        (b'{"ok":false,"error":"ratelimited"}', Reason.RATE_LIMITED, True, "answered 200 but refused ratelimited"),
        (b'{"ok":false,"error":"internal_error"}', Reason.REJECTED, True, "answered 200 but refused internal_error"),
        (b'{"ok":false,"error":"T0/B0/SeCrEt"}', Reason.REJECTED, False, "answered 200 but refused"),
        (b'{"ok":false}', Reason.REJECTED, False, "answered 200 but refused"),
        (b"", Reason.UNEXPECTED, True, "answered 200 but not as Slack does"),
        (b"<html>log in</html>", Reason.UNEXPECTED, True, "answered 200 but not as Slack does"),
        (b'{"ok":"yes"}', Reason.UNEXPECTED, True, "answered 200 but not as Slack does"),
        (b'{"x":' + b"[" * 30_000, Reason.UNEXPECTED, True, "answered 200 but not as Slack does"),
    ],
)
def test_a_200_that_is_not_ok_is_a_failure(
    server: Server, body: bytes, reason: Reason, *, passing: bool, text: str
) -> None:
    server.answers = [reply(200, body)]
    error = send(server)
    assert error is not None
    assert (error.reason, error.passing, str(error)) == (reason, passing, text)


def test_slack_says_why_in_its_own_words_but_nothing_else_is_repeated(server: Server) -> None:
    server.answers = [reply(404, b"no_service"), reply(404, b"No route /services/T0/B0/SeCrEt")]
    assert [str(send(server)) for _ in range(2)] == ["answered 404 no_service", "answered 404"]


def test_the_address_may_change_in_its_file(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text(server.address + "/one\n")
    receiver = SlackConfig.model_validate({"kind": "slack", "name": "chat", "url": {"file": path}}).connect(
        on_loopback()
    )

    async def scenario() -> None:
        await receiver.send(opened())
        path.write_text(server.address + "/two")
        await receiver.send(opened())
        path.write_text("")  # caught in the middle of a rotation
        with pytest.raises(SendError) as caught:
            await receiver.send(opened())
        assert (caught.value.reason, caught.value.passing) == (Reason.SETTINGS, True)
        await receiver.close()

    asyncio.run(scenario())
    assert [request.path for request in server.requests] == ["/one", "/two"]


@pytest.mark.parametrize(
    "address",
    ["", "hooks.slack.com/x", "ftp://hooks.slack.com/x", "https://", "http://x:99999/", "http://[", "http://x:0", "/x"],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        config(address)
