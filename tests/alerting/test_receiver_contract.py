"""What every receiver that talks HTTP must do, whatever the other side does."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from alerting.alertmanager import AlertmanagerConfig
from alerting.incident import Severity
from alerting.pagerduty import PagerdutyConfig
from alerting.receiver import Reason, Receiver, ReceiverConfig, SendError, attempt
from alerting.slack import SlackConfig
from alerting.slack_bot import SlackBotConfig
from alerting.webhook import WebhookConfig
from tests.kit import http_server
from tests.kit.http_server import Answer, Server, echo, reply
from tests.kit.incidents import opened
from tests.kit.supplies import on_loopback

CANARY = "c4n4ry"
PATH = f"/services/T000/{CANARY}?token={CANARY}"


def slack(address: str, **more: Any) -> ReceiverConfig:
    return SlackConfig.model_validate({"kind": "slack", "name": "chat", "url": {"value": address}, **more})


def webhook(address: str, **more: Any) -> ReceiverConfig:
    secret = {"value": CANARY}
    return WebhookConfig.model_validate({"kind": "webhook", "name": "hook", "url": address, "secret": secret, **more})


def pagerduty(address: str, **more: Any) -> ReceiverConfig:
    key = {"value": "c4n4ry0123456789c4n4ry0123456789"}
    return PagerdutyConfig.model_validate(
        {"kind": "pagerduty", "name": "pager", "url": address.removesuffix(PATH), "routing_key": key, **more}
    )


STATUSES = {
    301: (Reason.REDIRECT, False),
    304: (Reason.REDIRECT, False),
    400: (Reason.REJECTED, False),
    401: (Reason.UNAUTHORIZED, False),
    403: (Reason.UNAUTHORIZED, False),
    404: (Reason.NOT_FOUND, False),
    408: (Reason.TIMEOUT, True),
    410: (Reason.NOT_FOUND, False),
    413: (Reason.REJECTED, False),
    425: (Reason.SERVER, True),
    429: (Reason.RATE_LIMITED, True),
    500: (Reason.SERVER, True),
    502: (Reason.SERVER, True),
    503: (Reason.SERVER, True),
}


def alertmanager(address: str, **more: Any) -> ReceiverConfig:
    bearer = {"value": CANARY}
    urls = [address.removesuffix(PATH)]
    return AlertmanagerConfig.model_validate(
        {"kind": "alertmanager", "name": "am", "urls": urls, "token": bearer, **more}
    )


def slack_bot(address: str, **more: Any) -> ReceiverConfig:
    token = {"value": f"xoxb-{CANARY}"}
    about = {"kind": "slack_bot", "name": "bot", "channel": "C024BE91L", "url": address.removesuffix(PATH)}
    return SlackBotConfig.model_validate({**about, "token": token, **more})


# Those that do not speak HTTP, apprise and email, have the same questions in tests of their own.
KINDS = [alertmanager, pagerduty, slack, slack_bot, webhook]
Kind = Callable[..., ReceiverConfig]


def deliver_all(receiver: Receiver, times: int, *, seconds: float = 20.0) -> list[SendError | None]:
    """Send so many times and close; None means accepted."""

    async def once() -> SendError | None:
        try:
            await attempt(receiver.send(opened()), receiver.name, seconds)
        except SendError as error:
            return error
        return None

    async def scenario() -> list[SendError | None]:
        try:
            return [await once() for _ in range(times)]
        finally:
            await receiver.close()
            await receiver.close()

    return asyncio.run(scenario())


def deliver(receiver: Receiver, *, seconds: float = 20.0) -> SendError | None:
    return deliver_all(receiver, 1, seconds=seconds)[0]


def connect(config: ReceiverConfig) -> Receiver:
    return config.connect(on_loopback())


@pytest.mark.parametrize("kind", KINDS)
class TestReceiver:
    def test_acceptance_is_silent(self, kind: Kind, server: Server) -> None:
        if kind is slack_bot:
            server.answers = [reply(200, b'{"ok":true,"channel":"C024BE91L","ts":"1.2"}')]
        assert deliver(connect(kind(server.address + PATH))) is None
        (request,) = server.requests
        assert request.path in {PATH, "/enqueue", "/api/v2/alerts", "/chat.postMessage"}
        assert request.headers["content-type"] == "application/json"

    def test_a_status_says_whether_to_try_again(self, kind: Kind, server: Server) -> None:
        server.answers = [reply(status) for status in STATUSES]
        errors = deliver_all(connect(kind(server.address)), len(STATUSES))
        found = [error and (error.reason, error.passing, error.retry_after) for error in errors]
        assert found == [(reason, passing, None) for reason, passing in STATUSES.values()]

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (http_server.reset, Reason.NETWORK),
            (http_server.garbage, Reason.NETWORK),
            (http_server.hang, Reason.TIMEOUT),
            (http_server.drip_headers, Reason.TIMEOUT),
            (http_server.drip_body, Reason.TIMEOUT),
        ],
    )
    def test_trouble_on_the_way_passes(self, kind: Kind, server: Server, answer: Answer, reason: Reason) -> None:
        server.answers = [answer]
        error = deliver(connect(kind(server.address)), seconds=0.3 if reason is Reason.TIMEOUT else 30.0)
        assert error is not None
        assert (error.reason, error.passing) == (reason, True)

    def test_an_endless_answer_is_not_read_to_the_end(self, kind: Kind, server: Server) -> None:
        server.answers = [http_server.flood]
        error = deliver(connect(kind(server.address)), seconds=60.0)
        assert error is None or error.reason is Reason.UNEXPECTED

    def test_nobody_listening_passes(self, kind: Kind, server: Server) -> None:
        server.shutdown()
        server.server_close()
        error = deliver(connect(kind(server.address)))
        assert error is not None
        assert (error.reason, error.passing, str(error)) == (Reason.NETWORK, True, "could not connect")

    def test_a_redirect_is_not_followed(self, kind: Kind, server: Server, make_server: Callable[[], Server]) -> None:
        elsewhere = make_server()
        for status in (301, 302, 303, 307, 308):
            server.answers = [reply(status, location=elsewhere.address)]
            error = deliver(connect(kind(server.address)))
            assert error is not None
            assert error.reason is Reason.REDIRECT
        assert elsewhere.requests == []

    def test_retry_after_in_seconds(self, kind: Kind, server: Server) -> None:
        expected = {"7": 7.0, "0": 0.0, "-3": 0.0, "99999999": 3600.0, "inf": 3600.0}
        nothing = {"soon": None, "": None, "nan": None, "Mon, 99 Foo": None}
        server.answers = [reply(429, retry_after=text) for text in expected | nothing]
        errors = deliver_all(connect(kind(server.address)), len(expected | nothing))
        assert [error and error.retry_after for error in errors] == list((expected | nothing).values())

    def test_retry_after_as_a_date(self, kind: Kind, server: Server) -> None:
        server.answers = [reply(503, retry_after="Mon, 02 Mar 2026 03:05:30 GMT")]
        receiver = kind(server.address).connect(on_loopback(clock=lambda: 1_772_420_700.0))
        error = deliver(receiver)
        assert error is not None
        assert error.retry_after == 30.0

    @pytest.mark.parametrize(
        "answer",
        [echo(200), *(echo(s) for s in (302, 400, 403, 404, 410, 429, 500)), http_server.hang, http_server.reset],
    )
    def test_no_secret_in_errors_or_logs(
        self, kind: Kind, server: Server, answer: Answer, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.answers = [answer]
        with caplog.at_level(logging.DEBUG):
            config = kind(server.address + PATH)
            error = deliver(connect(config), seconds=1.5 if answer is http_server.hang else 30.0)
        assert CANARY in str(server.requests[0])  # it was really sent
        assert CANARY not in caplog.text
        assert CANARY not in repr(error) + repr(config)
        while error is not None:  # a log of the error prints what is not suppressed
            assert CANARY not in str(error)
            error = error.__cause__ if error.__cause__ or error.__suppress_context__ else error.__context__  # type: ignore[assignment]

    def test_no_secret_in_errors_when_nobody_listens(
        self, kind: Kind, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.shutdown()
        server.server_close()
        with caplog.at_level(logging.DEBUG):
            error = deliver(connect(kind(server.address + PATH)))
        assert error is not None
        assert CANARY not in caplog.text + repr(error)

    def test_severity_decides_who_wants_what(self, kind: Kind) -> None:
        wanted = {
            least: [s for s in Severity if kind("http://127.0.0.1", min_severity=least).wants(opened(severity=s))]
            for least in Severity
        }
        assert wanted == {
            Severity.CRITICAL: [Severity.CRITICAL],
            Severity.WARNING: [Severity.CRITICAL, Severity.WARNING],
            Severity.INFO: [Severity.CRITICAL, Severity.WARNING, Severity.INFO],
        }


class Broken:
    name = "broken"

    def __init__(self, error: Exception) -> None:
        self._error = error

    spacing = 0.0

    async def send(self, _: object, _receipt: str | None = None, /) -> None:
        raise self._error

    async def close(self) -> None:
        pass


def test_a_fault_in_a_receiver_is_kept_apart_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    error = deliver(Broken(KeyError("x")))
    assert error is not None
    assert (error.reason, error.passing, str(error)) == (Reason.INTERNAL, True, "internal error (KeyError)")
    assert "KeyError: 'x'" in caplog.text


def test_a_secret_file_that_vanishes_can_come_back() -> None:
    error = deliver(Broken(FileNotFoundError(2, "No such file or directory", "/etc/secret")))
    assert error is not None
    assert (error.reason, error.passing) == (Reason.SETTINGS, True)
    assert str(error) == "cannot read its settings (No such file or directory)"
