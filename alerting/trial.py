"""A trial of one receiver: a message that says it is a test, and its end."""

from uuid import uuid4

import msgspec

from alerting.incident import (
    Attribution,
    Change,
    Incident,
    Onset,
    Problem,
    Severity,
    Status,
    Transition,
    Verdict,
)
from alerting.receiver import Receiver, attempt


def trial(severity: Severity, now: float) -> tuple[Transition, Transition]:
    """The beginning and the end of an incident that is none.

    Args:
        severity: What it pretends to be; pagers ring by it.
        now: Epoch seconds.
    """
    begun = Incident(
        id=f"test-{uuid4().hex[:12]}",
        model="tocsin-notify-test",
        version="",
        verdict=Verdict.SILENCE,
        severity=severity,
        status=Status.FIRING,
        opened_at=now,
        updated_at=now,
        event_index=0,
        onset=Onset(now, now, now),
        attribution=Attribution(),
        evidence=(),
        problem=Problem.TEST,
        transitions=1,
    )
    ended = msgspec.structs.replace(begun, status=Status.RESOLVED, resolved_at=now, transitions=2)
    return Transition(Change.OPENED, 1, begun), Transition(Change.RESOLVED, 2, ended)


async def run(receiver: Receiver, steps: tuple[Transition, ...], seconds: float) -> None:
    """Send the steps one after the other, each within so many seconds, and close the receiver. Raises SendError."""
    receipt: str | None = None
    try:
        for step in steps:
            receipt = await attempt(receiver.send(step, receipt), receiver.name, seconds) or receipt
    finally:
        await receiver.close()
