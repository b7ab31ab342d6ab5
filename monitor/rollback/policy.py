"""The policy of a rollback: what an incident asks for, whether the evidence is enough, and where the alias may go.

Pure functions on values; `monitor/rollback/executor.py` carries out what they decide. There are three answers: act;
hold, with every reason listed, and asked again while the incident lasts; and pass, because a rollback helps only when
the MODEL is poisoned. Where the stream is (tampered labels, faulty data), or where the world has changed, an older
model is no better.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from math import inf

import msgspec

from alerting.incident import Incident, Severity, Status, Verdict
from monitor.detection.answers import Answers
from monitor.rollback.action import Action, ActionState
from monitor.rollback.config import RollbackConfig
from monitor.rollback.registry import ModelVersion
from monitor.rollback.weighing import Standards, Weighed, weigh

POISONED_MODEL = frozenset({Verdict.LABEL_FLIP, Verdict.BACKDOOR, Verdict.CLEAN_LABEL, Verdict.SLOW_POISONING})
"""Verdicts that an older version is the cure for."""
LIVE = frozenset({Status.FIRING, Status.ACKNOWLEDGED})
MAX_SKEW = 3600.0
"""Seconds that the newest event may be ahead of the wall clock; further ahead, one of the clocks is wrong."""


class Outcome(StrEnum):
    """The three answers."""

    ACT = "act"
    HOLD = "hold"
    PASS = "pass"  # noqa: S105 - an answer, not a password


class Case(msgspec.Struct, frozen=True):
    """What is known about an incident at one moment."""

    incident: Incident | None
    """As it stands now; None once it is over."""
    answers: Answers
    """What the versions of its model have answered."""
    troubles: tuple[str, ...] = ()
    """Why the data cannot be trusted now, one clause each."""
    poisoned: int = 1
    """Models that look poisoned now."""
    stopped: str | None = None
    """Who has stopped rollbacks, as a clause; None if nobody has."""


class Judged(msgspec.Struct, frozen=True):
    """What the evidence says, before a registry was asked."""

    outcome: Outcome
    reasons: tuple[str, ...] = ()
    """Hold: what is missing. Pass: why, and what would help instead; empty if the incident is over."""
    families: tuple[str, ...] = ()
    version: str = ""
    """The version that answers now, and is accused."""
    looked: tuple[str, int, int] | None = None


def consider(incident: Incident, now: float) -> Action | None:
    """The rollback that an incident asks for, or None; `now` in epoch seconds of the wall clock.

    Labels that were tampered with ask as well: people should be told that a rollback would not help, and what would.
    """
    if (
        incident.verdict not in POISONED_MODEL | {Verdict.LABEL_TAMPERING}
        or incident.severity is not Severity.CRITICAL
        or incident.status not in LIVE
    ):
        return None
    return Action(
        incident=incident.id,
        model=incident.model,
        from_version=incident.attribution.version or incident.version,
        onset_low=incident.onset.low,
        state=ActionState.REQUESTED,
        requested_at=now,
        updated_at=now,
    )


def judge(action: Action, case: Case, config: RollbackConfig, now: float) -> Judged:
    """Whether the evidence is enough to act on, without asking a registry."""
    incident, served = case.incident, case.answers.newest()
    if incident is None:
        return Judged(Outcome.PASS)
    if incident.verdict not in POISONED_MODEL:
        return Judged(Outcome.PASS, (_instead(incident),))
    if served is None:
        return Judged(Outcome.HOLD, ("nothing has been answered yet",))
    standards = Standards(config.min_effect, config.min_labels, config.max_share, config.witnesses)
    weighed = weigh(incident, case.answers, served.version, standards)
    if weighed.suspect is not None:
        return Judged(Outcome.PASS, (_quarantine(weighed.suspect),), weighed.families, served.version)
    looked = action.looked
    if looked is None or looked[0] != served.version or looked[1] > weighed.count:
        looked = (served.version, weighed.count, weighed.hits)
    missing = [
        *weighed.missing,
        *_unsure(incident, config),
        *_too_few(weighed, config),
        *_unconfirmed(weighed, looked, config),
        *_not_now(incident, served.last, config, now),
    ]
    return Judged(Outcome.HOLD if missing else Outcome.ACT, tuple(missing), weighed.families, served.version, looked)


def limits(action: Action, case: Case, spent: Sequence[Action], config: RollbackConfig, now: float) -> tuple[str, ...]:
    """Why nothing may be done without a person now, whatever the evidence; `spent` as in `budgets`."""
    reasons = [*config.frozen(now), *case.troubles]
    if case.stopped is not None:
        reasons.append(case.stopped)
    if case.poisoned > config.max_models:
        reasons.append(f"{case.poisoned} models look poisoned at once")
    return (*reasons, *budgets(action, spent, config, now))


def budgets(action: Action, spent: Sequence[Action], config: RollbackConfig, now: float) -> Iterator[str]:
    """Why the cooldown, or a budget, lets nothing be done now.

    Args:
        action: What is to be done.
        spent: All actions that were done, may have been, or are under way.
        config: The section `rollback`.
        now: Epoch seconds of the wall clock.
    """
    at = {other.incident: other.spent_at or 0.0 for other in spent if other.incident != action.incident}
    own = [at[other.incident] for other in spent if other.model == action.model and other.incident in at]
    last = max(own, default=0.0)
    if last == inf:
        yield "another rollback of this model is under way"
    elif now < last + config.cooldown:
        yield f"the last rollback was at {utc(last)}, cooldown until {utc(last + config.cooldown)}"
    for what, limit, done in (("this model", config.per_model, own), ("all models", config.fleet, at.values())):
        if sum(now - config.window < moment for moment in done) >= limit:
            yield f"the budget of {limit} rollbacks of {what} is spent"


def unsafe(
    target: ModelVersion,
    bad: ModelVersion,
    onset_low: float,
    floor: float = 0.0,
    carried: Collection[str] | None = None,
) -> str | None:
    """Why `target` may not replace `bad`, if the trouble began at `onset_low` or later; None if it may.

    Args:
        target: The version that might serve.
        bad: The version that serves.
        onset_low: Epoch seconds.
        floor: When the oldest version was created that may serve, epoch seconds.
        carried: Features that events carry now; None if that is not known.
    """
    trained = target.trained_until
    lacking = [] if carried is None else [name for name in target.inputs or () if name not in carried]
    flaws = {
        "it is not ready": not target.ready,
        "it is revoked": target.revoked,
        str(target.distrusted): target.distrusted is not None,
        "it is not marked known-good": target.known_good_at is None,
        "it was marked after the trouble began": (target.known_good_at or 0.0) >= onset_low,
        "it was trained on data from after the trouble began": trained is not None and trained >= onset_low,
        "it is not older": target.created >= bad.created or target.version == bad.version,
        "it is below the floor": target.created < floor,
        f"events do not carry what it needs: {', '.join(lacking[:5])}": bool(lacking),
    }
    return next((flaw for flaw, applies in flaws.items() if applies), None)


def choose_target(
    versions: Iterable[ModelVersion],
    bad: ModelVersion,
    onset_low: float,
    floor: float = 0.0,
    carried: Collection[str] | None = None,
) -> ModelVersion | None:
    """The newest version that is safe; `versions` come newest first."""
    return next((version for version in versions if unsafe(version, bad, onset_low, floor, carried) is None), None)


def floor_of(versions: Iterable[ModelVersion], model: str, config: RollbackConfig) -> float:
    """When the oldest version was created that this model may go back to; infinity if that version is not there."""
    oldest = config.floor.get(model)
    if oldest is None:
        return 0.0
    return next((version.created for version in versions if version.version == oldest), float("inf"))


def trouble_began(action: Action, case: Case) -> float:
    """The earliest moment that it may have begun, epoch seconds: an onset is estimated, and rather late than early."""
    moments = [action.onset_low]
    if case.incident is not None:
        blamed = case.answers.of(case.incident.attribution.version or action.from_version)
        moments += [case.incident.onset.low] + ([] if blamed is None else [blamed.first])
    return min(moments)


def worse(target: str, bad: str, answers: Answers, config: RollbackConfig) -> str | None:
    """Why the target would not be better, as far as labels of both can tell."""
    before, now = answers.of(target), answers.of(bad)
    if before is None or now is None or min(before.labels, now.labels) < config.min_labels:
        return None
    if before.wrong * now.labels < now.wrong * before.labels:
        return None
    return f"{target} was wrong at least as often in its labelled answers as {bad} is"


def _unsure(incident: Incident, config: RollbackConfig) -> list[str]:
    """Whether another verdict is about as likely; what an earlier release has stored does not say how sure it is."""
    if (incident.confidence or 0.0) >= config.min_confidence:
        return []
    return [f"it is less than {config.min_confidence:.0%} sure that this is {incident.verdict}"]


def _too_few(weighed: Weighed, config: RollbackConfig) -> list[str]:
    if len(weighed.families) >= config.min_families:
        return []
    told = f"only {' and '.join(weighed.families)}" if weighed.families else "none"
    return [f"{config.min_families} families of evidence must agree, and {told} may be counted"]


def _unconfirmed(weighed: Weighed, looked: tuple[str, int, int], config: RollbackConfig) -> list[str]:
    count, hits = weighed.count - looked[1], weighed.hits - looked[2]
    if count < config.confirm:
        return [f"fewer than {config.confirm} labels of this class have come since the first look"]
    if config.confirm and hits / count < weighed.before + config.min_effect:
        return ["the labels that came since the first look do not say the same"]
    return []


def _not_now(incident: Incident, newest: float, config: RollbackConfig, now: float) -> list[str]:
    """Whether the incident has lasted, and what is known is whole and fresh."""
    reasons = []
    if newest - incident.opened_at < config.persistence:
        reasons.append(f"it has lasted less than {config.persistence:g} seconds")
    if now - newest > config.max_evidence_age:
        reasons.append(f"the newest event is more than {config.max_evidence_age:g} seconds old")
    if newest - now > MAX_SKEW:
        reasons.append("events are ahead of the clock")
    return reasons


def _instead(incident: Incident) -> str:
    if incident.verdict is not Verdict.LABEL_TAMPERING:
        return f"the verdict is {incident.verdict} by now, and an older version is no cure for that"
    if incident.unlabelled:
        return "labels are kept back: nothing that came speaks against the model, and an older one would not help"
    who = incident.attribution
    named = f"labeler {who.labeler}" if who.labeler is not None else f"source {who.source}" if who.source else None
    return _quarantine(named or "those labels")


def _quarantine(suspect: str) -> str:
    return f"quarantine {suspect} instead: without it nothing speaks against the model, and an older one would not help"


def advanced(action: Action, state: ActionState, reason: str, now: float) -> Action:
    """The action in its next state, with the sentence that says why."""
    return msgspec.structs.replace(action, state=state, reason=reason, updated_at=now)


def utc(moment: float) -> str:
    """Epoch seconds as people read them."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
