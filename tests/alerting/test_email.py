"""E-mail: one conversation for an incident, TLS unless told otherwise, and what a server's answers mean."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from pydantic import ValidationError

from alerting.email import EmailConfig, mail
from alerting.incident import Transition
from alerting.message import Words
from alerting.network import Network
from alerting.receiver import Reason, SendError, attempt
from tests.kit import golden
from tests.kit.certificates import serving
from tests.kit.incidents import OPENED_AT, opened, resolved, transitions
from tests.kit.payloads import WORDS, WORST, check_email
from tests.kit.smtp_server import MailServer
from tests.kit.supplies import LOOPBACK, on_loopback

GOLDEN = Path(__file__).parent / "golden"
CANARY = "c4n4ry"


@pytest.fixture
def make_mail_server() -> Iterator[Callable[..., MailServer]]:
    servers: list[MailServer] = []

    def make(*arguments: Any, **more: Any) -> MailServer:
        server = MailServer(*arguments, **more)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.closing.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def mail_server(make_mail_server: Callable[..., MailServer]) -> MailServer:
    return make_mail_server()


def config(port: int, **more: object) -> EmailConfig:
    about = {"kind": "email", "name": "mail", "host": "127.0.0.1", "port": port, "tls": "none"}
    boxes = {"sender": "tocsin@example.com", "to": ["a@example.com", "b@example.com"]}
    return EmailConfig.model_validate({**about, **boxes, **more})


def send(settings: EmailConfig, *steps: Transition, network: Network = LOOPBACK, seconds: float = 30.0) -> None:
    async def scenario() -> None:
        receiver = settings.connect(on_loopback(network=network, environment="production"))
        for step in steps:
            await attempt(receiver.send(step), receiver.name, seconds)
        await receiver.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("name", "transition"), [("opened", opened()), ("resolved", resolved())])
def test_the_message(name: str, transition: Transition) -> None:
    made = mail(transition, WORDS, sender="tocsin@example.com", to=("a@example.com",), now=OPENED_AT)
    golden.check(GOLDEN / f"email-{name}.json", {**dict(made.items()), "text": made.get_content()})


@settings(max_examples=100, deadline=None)
@given(transitions())
@example(WORST)
def test_every_message_can_be_read(transition: Transition) -> None:
    check_email(transition)


def test_all_of_an_incident_is_one_conversation_and_a_repeat_has_the_same_id() -> None:
    about: Any = {"sender": "t@x.example", "to": ("a@x.example",)}
    made = [mail(step, Words(), **about, now=time.time()) for step in (opened(), opened(), resolved())]
    identities = [message["Message-ID"] for message in made]
    assert identities[0] == identities[1] != identities[2]
    assert len({message["References"] for message in made}) == 1


def test_it_arrives_at_every_mailbox(mail_server: MailServer) -> None:
    send(config(mail_server.port), opened(), resolved())
    first, second = mail_server.mails
    assert first.sender.startswith("FROM:<tocsin@example.com>")
    assert first.recipients == ("TO:<a@example.com>", "TO:<b@example.com>")
    assert first.message["Subject"] == "FIRING critical: label flip, net-ids 1.2.0 [production]"
    assert 'takes "spam" for "ham"' in first.message.get_content()
    assert second.message["Subject"].startswith("RESOLVED")
    assert (first.login, first.encrypted) == (None, False)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_login_goes_through_tls_with_a_certificate_that_was_verified(
    make_mail_server: Callable[..., MailServer], tmp_path: Path, tls: str
) -> None:
    context, authority = serving(tmp_path)
    server = make_mail_server(context, implicit=tls == "implicit")
    login = {"username": "tocsin", "password": {"value": CANARY}, "tls": tls}
    with pytest.raises(SendError) as caught:
        send(config(server.port, **login), opened())
    assert (caught.value.reason, caught.value.passing) == (Reason.NETWORK, True)
    assert server.mails == []
    send(config(server.port, **login, ca_file=authority), opened())
    assert (server.mails[0].login, server.mails[0].encrypted) == (f"tocsin {CANARY}", True)


def test_a_server_that_offers_no_tls_gets_nothing(mail_server: MailServer) -> None:
    with pytest.raises(SendError) as caught:
        send(config(mail_server.port, tls="starttls"), opened())
    assert (caught.value.reason, caught.value.passing) == (Reason.SETTINGS, True)
    assert mail_server.mails == []


@pytest.mark.parametrize(
    ("verb", "answer", "reason", "passing"),
    [
        ("CONNECT", "421 too busy", Reason.SERVER, True),
        ("CONNECT", "554 go away", Reason.REJECTED, False),
        ("MAIL", f"450 later {CANARY}", Reason.SERVER, True),
        ("MAIL", "550 no", Reason.REJECTED, False),
        ("RCPT", "450 mailbox busy", Reason.SERVER, True),
        ("RCPT", "550 no such user", Reason.REJECTED, False),
        ("DATA", "452 disk full", Reason.SERVER, True),
        ("END", "552 too large", Reason.REJECTED, False),
        ("END", "451 try again", Reason.SERVER, True),
        ("EHLO", "hang up", Reason.NETWORK, True),
        ("DATA", "hang up", Reason.NETWORK, True),
    ],
)
def test_an_answer_says_whether_to_try_again(
    mail_server: MailServer, verb: str, answer: str, reason: Reason, *, passing: bool
) -> None:
    mail_server.replies[verb] = answer
    with pytest.raises(SendError) as caught:
        send(config(mail_server.port), opened())
    assert (caught.value.reason, caught.value.passing) == (reason, passing)
    assert CANARY not in str(caught.value)
    assert mail_server.mails == []


def test_a_wrong_password_is_told_and_not_repeated(make_mail_server: Callable[..., MailServer], tmp_path: Path) -> None:
    context, authority = serving(tmp_path)
    server = make_mail_server(context)
    server.replies["AUTH"] = f"535 {CANARY} is wrong"
    login = {"username": "tocsin", "password": {"value": CANARY}, "tls": "starttls", "ca_file": authority}
    with pytest.raises(SendError) as caught:
        send(config(server.port, **login), opened())
    assert (caught.value.reason, caught.value.passing) == (Reason.UNAUTHORIZED, False)
    assert CANARY not in str(caught.value)


def test_one_mailbox_that_is_refused_does_not_keep_the_other_from_hearing(
    mail_server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    mail_server.replies["RCPT TO:<a@example.com>"] = "550 no such user"
    send(config(mail_server.port), opened())
    assert mail_server.mails[0].recipients == ("TO:<b@example.com>",)
    assert "1 of 2 mailboxes were refused" in caplog.text


def test_a_server_that_goes_silent_is_given_up_in_time(mail_server: MailServer) -> None:
    mail_server.silent_on = "DATA"
    with pytest.raises(SendError) as caught:
        send(config(mail_server.port), opened(), seconds=0.5)
    assert (caught.value.reason, caught.value.passing) == (Reason.TIMEOUT, True)


def test_a_server_inside_has_to_be_allowed(mail_server: MailServer) -> None:
    with pytest.raises(SendError) as caught:
        send(config(mail_server.port), opened(), network=Network())
    assert (caught.value.reason, caught.value.passing) == (Reason.FORBIDDEN, True)


def test_nobody_listening_passes(mail_server: MailServer) -> None:
    mail_server.shutdown()
    mail_server.server_close()
    with pytest.raises(SendError) as caught:
        send(config(mail_server.port), opened())
    assert (caught.value.reason, caught.value.passing) == (Reason.NETWORK, True)


@pytest.mark.parametrize(
    "more",
    [
        {"sender": "tocsin"},
        {"to": []},
        {"to": ["a@x.example\r\nBcc: b@x.example"]},
        {"to": ["a@x.example, b@x.example"]},
        {"username": "x"},
        {"username": "x", "password": {"value": CANARY}, "tls": "none"},
        {"host": "http://mail"},
        {"tls": "ssl"},
    ],
)
def test_wrong_settings_are_refused_at_the_start(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        config(25, **more)
    assert CANARY not in str(caught.value)
