"""One place that people read: the port every receiver implements, its settings, and the one error it raises."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Annotated, Protocol, TypeVar, runtime_checkable

import msgspec
from pydantic import Field

from alerting.incident import Severity, Transition
from alerting.message import Words
from alerting.network import Network
from alerting.section import Secret, Section
from alerting.templates import TemplatesConfig

log = logging.getLogger(__name__)

T = TypeVar("T")

Clock = Callable[[], float]
"""Epoch seconds of the wall clock."""

_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Reason(StrEnum):
    """Why a transition was not accepted; the value is a metric label."""

    TIMEOUT = "timeout"
    """No complete answer in time."""
    NETWORK = "network"
    """No connection, or it broke."""
    RATE_LIMITED = "rate_limited"
    SERVER = "server"
    """The receiver says that the fault is its own (5xx)."""
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    REDIRECT = "redirect"
    """The receiver lives somewhere else; redirects are not followed, because the message and its signature would."""
    FORBIDDEN = "forbidden"
    """Its name leads to an address that is neither public nor allowed."""
    REJECTED = "rejected"
    """The receiver understood and said no."""
    UNEXPECTED = "unexpected"
    """Something answered, but not as this kind of receiver does."""
    SETTINGS = "settings"
    """Nothing could be sent with the settings as they are now."""
    INTERNAL = "internal"
    """A fault in Tocsin; the log has the traceback."""


class SendError(Exception):
    """A transition was not accepted. The message is one clear line without secrets.

    Attributes:
        reason: Why.
        passing: True where a later try may succeed, False where the same message can never be accepted.
        retry_after: Seconds that the receiver asked to be left alone, or None.
    """

    def __init__(self, message: str, *, reason: Reason, passing: bool, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.passing = passing
        self.retry_after = retry_after


class Supplies(msgspec.Struct, frozen=True, kw_only=True):
    """What every receiver is given."""

    words: Words = Words()
    """How a transition is put into words."""
    network: Network = Network()
    """What may be connected to."""
    clock: Clock = time.time
    """For signatures, and for dates in `Retry-After`."""


class Receiver(Protocol):
    """Sends one transition at a time. It may be asked to send the same one again: delivery is at least once."""

    @property
    def name(self) -> str:
        """The name in the configuration, unique among receivers."""

    @property
    def spacing(self) -> float:
        """Seconds between two messages that the service allows in the long run."""

    async def send(self, transition: Transition, receipt: str | None = None, /) -> str | None:
        """Return when the receiver has accepted the transition. Raises SendError; may be cancelled at any point.

        What it returns is kept, and given as `receipt` with the next step of the same incident: for receivers that
        come back to what they said before.
        """

    async def close(self) -> None:
        """Release connections. Safe to call twice."""


@runtime_checkable
class Repeating(Receiver, Protocol):
    """A receiver that forgets what it is not told again."""

    @property
    def every(self) -> float:
        """Seconds between two repeats."""

    async def repeat(self, told: Sequence[Transition]) -> None:
        """Say again, as one, what was told and is not over. Raises SendError; may be cancelled at any point."""


class ReceiverConfig(Section, ABC):
    """What every kind of receiver has in its section of the configuration, beside its `kind`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")]
    """Lower-case letters, digits, `-` and `_`: it becomes a metric label and a part of message ids."""
    min_severity: Severity = Severity.INFO
    """Incidents below this are not sent here."""
    templates: TemplatesConfig | None = None
    """Own words for this receiver."""

    def wants(self, transition: Transition) -> bool:
        """Whether the incident is severe enough for this receiver."""
        return _RANK[transition.incident.severity] >= _RANK[self.min_severity]

    @abstractmethod
    def connect(self, supplies: Supplies) -> Receiver:
        """Make the receiver. Nothing is sent and no connection is opened yet."""


def current(secret: Secret, read: Callable[[str], T], name: str) -> T:
    """What a secret says now: its file was checked at the start, and may have changed since.

    Args:
        secret: From the configuration.
        read: What to make of it; it raises ValueError, which must not repeat it, where that cannot be.
        name: What people call it.

    Raises:
        SendError: It cannot be used as it is now.
        OSError: Its file cannot be read.
    """
    try:
        return read(secret.reveal())
    except ValueError as error:
        raise SendError(f"its {name} is {error}", reason=Reason.SETTINGS, passing=True) from None


async def attempt(sending: Awaitable[T], name: str, seconds: float) -> T:
    """Send once, within a total time that includes name lookup, connecting, and every byte of the answer.

    Raises:
        SendError: The only error; a fault in the receiver's code is one too, so that it cannot stop deliveries.
    """
    try:
        async with asyncio.timeout(seconds):
            return await sending
    except TimeoutError:
        raise SendError(f"no complete answer within {seconds:g} s", reason=Reason.TIMEOUT, passing=True) from None
    except SendError:
        raise
    except OSError as error:  # receivers turn those of the network into SendError: this one is a secret file's
        text = f"cannot read its settings ({error.strerror})"
        raise SendError(text, reason=Reason.SETTINGS, passing=True) from None
    except Exception as error:
        # Kept and tried again: the next version may be able to send it, and nobody must lose an alert to a bug.
        log.exception("receiver %s has a fault", name)
        raise SendError(f"internal error ({type(error).__name__})", reason=Reason.INTERNAL, passing=True) from None
