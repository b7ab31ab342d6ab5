"""The durable outbox: what is still to be told to whom. The daemon's store implements it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from alerting.incident import Transition


class Message(msgspec.Struct, frozen=True):
    """One transition for one receiver."""

    receiver: str
    transition: Transition
    created_at: float
    """Epoch seconds of the wall clock."""
    attempts: int = 0
    receipt: str | None = None
    """What the receiver gave back for an earlier step of the incident, if anything."""

    @property
    def id(self) -> str:
        """The same in every replay and every repeat: receivers that deduplicate show it once."""
        return f"{self.transition.id}-{self.receiver}"


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that its receiver has refused for good, or that has no receiver any more."""

    message: Message
    died_at: float
    """Epoch seconds of the wall clock."""
    error: str
    overtaken: bool
    """A later step of the incident has been delivered: to send this one now would tell what is no longer true."""


class Outbox(Protocol):
    """Messages leave it only when delivered, or dead after a permanent failure; they survive a crash."""

    def due(self, now: float, limit: int) -> Sequence[Message]:
        """Messages whose time has come, oldest first; of each (incident, receiver) only the first undelivered one."""

    def delivered(self, message: Message, now: float, receipt: str | None = None) -> None:
        """Record that the receiver has accepted the message, and what it gave back."""

    def retry(self, message: Message, at: float, error: str) -> None:
        """Record a failed attempt and when to try again (epoch seconds)."""

    def dead(self, message: Message, now: float, error: str) -> None:
        """Record that the receiver will never accept the message; it stays visible and blocks nothing."""

    def told(self, receiver: str) -> Sequence[Transition]:
        """The newest delivered step of each incident that is not over, even if its end could not be delivered."""
