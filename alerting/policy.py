"""How often and how long delivery tries, and what it says about each attempt."""

from enum import StrEnum

import msgspec

from alerting.receiver import Reason


class Outcome(StrEnum):
    """What became of one attempt; the value is a metric label."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"


class Attempt(msgspec.Struct, frozen=True):
    """One attempt, for the metrics."""

    receiver: str
    outcome: Outcome
    reason: Reason | None
    """Why it failed; None where it did not."""
    seconds: float


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """When to give up an attempt and when to make the next one. Times are seconds."""

    timeout: float = 15.0
    """Total time of one attempt, from the name lookup to the last byte of the answer."""
    first_delay: float = 1.0
    """The n-th repeat waits a random time up to `first_delay * 2 ** n` (full jitter), at most `longest_delay`."""
    longest_delay: float = 300.0
    breaker_threshold: int = 5
    breaker_pause: float = 30.0
    poll: float = 1.0
    """How often the outbox is looked at when nobody calls `wake`."""
