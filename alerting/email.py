"""E-mail through a mail server (SMTP, RFC 5321; the message is RFC 5322, plain text)."""

import asyncio
import contextlib
import logging
import socket
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import sha256
from typing import Annotated, Literal, Self

import aiosmtplib
from pydantic import AfterValidator, Field, FilePath, model_validator

from alerting.incident import Transition
from alerting.message import Words, clean, notice
from alerting.network import ForbiddenAddressError, Network
from alerting.receiver import Clock, Reason, Receiver, ReceiverConfig, SendError, Supplies
from alerting.section import Secret

log = logging.getLogger(__name__)

MAX_SUBJECT = 200
_TIMEOUT = 30.0  # A backstop for each step; the total time of an attempt is set by the caller.


def check_mailbox(text: str) -> str:
    """Return an address such as `ml-oncall@example.com` unchanged. Raises ValueError."""
    if not text.isascii() or not text.isprintable() or len(text) > 254:
        raise ValueError("not an address such as ml-oncall@example.com")
    if not Address(addr_spec=text).domain:
        raise ValueError("has no domain")
    return text


Mailbox = Annotated[str, AfterValidator(check_mailbox)]


class EmailConfig(ReceiverConfig):
    """Mailboxes, by way of a mail server."""

    kind: Literal["email"]
    host: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]
    """The mail server; one inside your network has to be in `alerting.network.allow`."""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    """`starttls` insists on it; `implicit` is for port 465; `none` is for a relay on the same host."""
    username: str | None = None
    password: Secret | None = None
    sender: Mailbox
    to: Annotated[tuple[Mailbox, ...], Field(min_length=1, max_length=50)]
    ca_file: FilePath | None = None
    """PEM file of the authorities to trust instead of the usual ones."""

    @model_validator(mode="after")
    def _login_is_whole_and_not_in_the_clear(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("give both of `username` and `password`, or neither")
        if self.password is not None and self.tls == "none":
            raise ValueError("a password is not sent without TLS")
        return self

    def connect(self, supplies: Supplies) -> Receiver:
        """Make the receiver."""
        return EmailReceiver(self, supplies.words, supplies.network, supplies.clock)


class EmailReceiver:
    """Sends each transition as a message of its own; all of an incident are in one conversation."""

    spacing = 1.0

    def __init__(self, config: EmailConfig, words: Words, network: Network, clock: Clock) -> None:
        self.name = config.name
        self._config = config
        self._words = words
        self._network = network
        self._clock = clock

    async def send(self, transition: Transition, _receipt: str | None = None, /) -> None:
        """Return when the server has taken the message for at least one mailbox. Raises SendError."""
        config = self._config
        message = mail(transition, self._words, sender=config.sender, to=config.to, now=self._clock())
        try:
            await self._deliver(message)
        except ForbiddenAddressError as error:
            raise SendError(f"its address {error}", reason=Reason.FORBIDDEN, passing=True) from None
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refused(min(each.code for each in error.recipients)) from None  # one that passes is worth a try
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error.code) from None
        except aiosmtplib.SMTPNotSupported:
            raise SendError("it offers no TLS, or no login", reason=Reason.SETTINGS, passing=True) from None
        except ssl.SSLError:
            raise SendError("its certificate could not be verified", reason=Reason.NETWORK, passing=True) from None
        except (OSError, aiosmtplib.SMTPException) as error:
            text = f"the connection failed ({type(error).__name__})"
            raise SendError(text, reason=Reason.NETWORK, passing=True) from None

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _deliver(self, message: EmailMessage) -> None:
        config = self._config
        password = None if config.password is None else config.password.reveal()
        context = ssl.create_default_context(cafile=None if config.ca_file is None else str(config.ca_file))
        connected = await self._network.connect(config.host, config.port)
        server = aiosmtplib.SMTP(
            hostname=config.host,  # for the certificate; the connection is there already
            sock=connected,
            local_hostname=socket.gethostname(),
            use_tls=config.tls == "implicit",
            start_tls=False,  # below, so that a server without it is told apart from a broken connection
            tls_context=None if config.tls == "none" else context,
            timeout=_TIMEOUT,
        )
        try:
            await server.connect()
            if config.tls == "starttls":
                await server.ehlo()
                if not server.supports_extension("starttls"):
                    raise aiosmtplib.SMTPNotSupported("no STARTTLS")
                await server.starttls()
            if config.username is not None and password is not None:
                await server.login(config.username, password)
            refused, _ = await server.send_message(message, sender=config.sender, recipients=list(config.to))
            with contextlib.suppress(aiosmtplib.SMTPException):  # it has the message: how it says goodbye is its affair
                await server.execute_command(b"QUIT")
        finally:
            if isinstance(server.transport, asyncio.WriteTransport):
                server.transport.abort()  # all is said; closing TLS politely may take as long as the other side likes
            server.close()
        if refused:
            log.warning("receiver %s: %d of %d mailboxes were refused", self.name, len(refused), len(config.to))


def mail(transition: Transition, words: Words, *, sender: str, to: tuple[str, ...], now: float) -> EmailMessage:
    """The message; the same transition gives the same Message-ID, by which mail programs recognise a repeat.

    Args:
        transition: What there is to tell.
        words: What messages say beside the incident itself.
        sender: Mailbox.
        to: Mailboxes.
        now: Epoch seconds of the wall clock.
    """
    content, domain = notice(transition, words), sender.rpartition("@")[2]
    message = EmailMessage()
    where = f" [{content.environment}]" if content.environment else ""
    message["Subject"] = clean(content.title + where, MAX_SUBJECT)
    message["From"] = Address("Tocsin", addr_spec=sender)
    message["To"] = ", ".join(to)
    message["Date"] = format_datetime(datetime.fromtimestamp(int(now), UTC))
    message["Message-ID"] = _identity(transition.id, domain)
    # Nobody has seen a message of this id: it holds the conversation together, whichever message comes first.
    message["References"] = _identity(transition.incident.id, domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office answers are for people
    facts = [("Status", content.status), ("Since", content.since), ("How sure", content.sure), *content.weighed]
    facts += content.who
    paragraphs = (
        content.headline,
        "\n".join(f"{label}: {value}" for label, value in facts),
        "\n".join(("Evidence:", *(f"  {line}" for line in content.evidence))) if content.evidence else "",
        *(f"{label}: {text}" for label, text in content.deeds),
        "\n".join(f"{label}: {address}" for label, address in content.links),
        f"Incident {clean(transition.incident.id, 64)}, step {transition.number}",
    )
    message.set_content("\n\n".join(paragraph for paragraph in paragraphs if paragraph))
    return message


def _identity(text: str, domain: str) -> str:
    return f"<{sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}@{domain}>"


def _refused(code: int) -> SendError:
    """What a server's reply code means (RFC 5321, section 4.2.1); its text may repeat anything, and is left out."""
    if code in {530, 534, 535, 538}:
        return SendError(f"answered {code} to the login", reason=Reason.UNAUTHORIZED, passing=False)
    passing = code < 500
    return SendError(f"answered {code}", reason=Reason.SERVER if passing else Reason.REJECTED, passing=passing)
