"""The life of an incident: pure steps from one state to the next, driven by the times that they are given.

    pending -> firing <-> acknowledged -> resolved -> firing again, if it comes back soon

No clock is read here. Whoever gives the same judgements and times gets the same incidents.
"""

from typing import Annotated

import msgspec
from pydantic import Field

from alerting.incident import Change, Incident, Judgement, Problem, Severity, Status
from alerting.section import Section

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Step = tuple[Incident, Change | None]
"""The incident afterwards, and what there is to tell; None if there is nothing."""


class LifeConfig(Section):
    """How patient. Times are seconds of event time; of the wall clock for silent models and held partitions."""

    confirm: dict[Severity, Seconds] = Field(default_factory=dict)
    """How long a judgement of this severity must stand before it is told; without an entry it is told at once."""
    hold: Seconds = 0.0
    """How long the evidence must stay away before an incident resolves."""
    reopen_within: Seconds = 3600.0
    """What comes back so soon after it resolved is the same incident, and not a second one."""
    flapping_after: Annotated[int, Field(ge=1)] = 2
    """How often an incident comes back until it counts as flapping."""
    flapping_hold: Seconds = 1800.0
    """How long the evidence of a flapping incident must stay away."""

    def patience(self, incident: Incident) -> float:
        """How long this incident is held open after its evidence went away."""
        return max(self.hold, self.flapping_hold) if incident.reopened >= self.flapping_after else self.hold


def begun(incident: Incident, life: LifeConfig) -> Step:
    """A new incident: told at once, or pending until it has stood for long enough."""
    if incident.problem is not Problem.DESK and life.confirm.get(incident.severity, 0.0) > 0.0:
        return msgspec.structs.replace(incident, status=Status.PENDING), None
    return incident, Change.OPENED


def judged(incident: Incident, judgement: Judgement, ts: float) -> Step:
    """A judgement about an open incident; told if verdict, severity or attribution changed."""
    told = (incident.verdict, incident.severity, incident.attribution)
    updated = _with(incident, judgement, ts)
    if told == (updated.verdict, updated.severity, updated.attribution) or updated.status is Status.PENDING:
        return updated, None
    if updated.severity is not incident.severity:  # worse than what somebody has said to look after
        updated = msgspec.structs.replace(updated, status=Status.FIRING, acknowledged_by=None)
    return updated, Change.UPDATED


def quiet(incident: Incident, life: LifeConfig, ts: float, now: float) -> Step:
    """The evidence of an open incident is gone; it ends now, or later if it stays gone (see `elapsed`)."""
    if incident.status is Status.PENDING or life.patience(incident) == 0.0:
        return resolved(incident, ts)
    since = now if incident.quiet_since is None else incident.quiet_since
    return msgspec.structs.replace(incident, quiet_since=since), None


def elapsed(incident: Incident, life: LifeConfig, now: float) -> Step:
    """What the passing of time alone has done to an open incident by `now`; each step is dated when it was due."""
    if incident.status is Status.PENDING:
        due = incident.opened_at + life.confirm.get(incident.severity, 0.0)
        if now < due:
            return incident, None
        return msgspec.structs.replace(incident, status=Status.FIRING, opened_at=due, updated_at=due), Change.OPENED
    if incident.quiet_since is not None and now >= (due := incident.quiet_since + life.patience(incident)):
        return resolved(incident, due)
    return incident, None


def acknowledged(incident: Incident, by: str) -> Step:
    """Somebody looks after it."""
    return msgspec.structs.replace(incident, status=Status.ACKNOWLEDGED, acknowledged_by=by), Change.ACKNOWLEDGED


def resolved(incident: Incident, ts: float, by: str | None = None) -> Step:
    """It is over, by itself or because somebody says so; one that was never told ends untold."""
    change = None if incident.status is Status.PENDING else Change.RESOLVED
    over = msgspec.structs.replace(
        incident,
        status=Status.RESOLVED,
        updated_at=ts,
        resolved_at=ts,
        resolved_by=by,
        acknowledged_by=None,
        quiet_since=None,
    )
    return over, change


def returns(incident: Incident, judgement: Judgement, life: LifeConfig, now: float) -> bool:
    """Whether what is judged now is a resolved incident that came back: soon after, and akin to it."""
    if incident.resolved_at is None or now - incident.resolved_at > life.reopen_within:
        return False
    was, new = incident.attribution, judgement.attribution
    pairs = ((was.source, new.source), (was.labeler, new.labeler), (was.class_from, new.class_from))
    return (
        incident.verdict is judgement.verdict
        or any(first is not None and first == second for first, second in pairs)
        or not set(was.features).isdisjoint(new.features)
    )


def reopened(incident: Incident, judgement: Judgement, ts: float) -> Step:
    """A resolved incident has come back."""
    again = msgspec.structs.replace(
        incident,
        status=Status.FIRING,
        reopened=incident.reopened + 1,
        resolved_at=None,
        resolved_by=None,
    )
    return _with(again, judgement, ts), Change.REOPENED


def worse(first: Severity, second: Severity) -> Severity:
    """The more severe of two: an incident never becomes less severe, or who was told would not hear of its end."""
    ranks = list(Severity)  # declared from the most severe down
    return min(first, second, key=ranks.index)


def _with(incident: Incident, judgement: Judgement, ts: float) -> Incident:
    return msgspec.structs.replace(
        incident,
        verdict=judgement.verdict,
        severity=worse(incident.severity, judgement.severity),
        version=judgement.attribution.version or incident.version,
        updated_at=ts,
        # What it is judged by now may have come later; but it cannot have begun after it was opened.
        onset=judgement.onset if judgement.onset.ts <= incident.opened_at else incident.onset,
        attribution=judgement.attribution,
        evidence=judgement.evidence,
        confidence=judgement.confidence,
        against=judgement.against,
        because=judgement.because,
        radius=judgement.radius,
        was=incident.was if judgement.verdict is incident.verdict else incident.verdict,
        action=judgement.action or incident.action,
        quiet_since=None,
    )
