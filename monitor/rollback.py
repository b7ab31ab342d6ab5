"""The policy of a rollback: when an incident asks for one, where it may go, and what a person may approve.

Pure functions on values; `monitor/rollback_executor.py` carries out what they decide. A rollback helps when
the MODEL is poisoned. Where the stream is (tampered labels, faulty data) or where the world has changed, an
older model is no better, so nothing is asked for.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from pydantic import Field

from alerting.incident import Incident, Severity, Status, Verdict
from alerting.section import Section
from monitor.action import Action, ActionState
from monitor.registry import ModelVersion

POISONED_MODEL = frozenset({Verdict.LABEL_FLIP, Verdict.BACKDOOR, Verdict.CLEAN_LABEL, Verdict.SLOW_POISONING})
"""Verdicts that an older version is the cure for."""


class Mode(StrEnum):
    """How far Tocsin goes on its own."""

    OBSERVE = "observe"
    """Only say what would have been done."""
    PROPOSE = "propose"
    """Name the target and wait for a person."""
    AUTO = "auto"
    """Move the alias."""


class RollbackConfig(Section):
    """The section `rollback`."""

    mode: Mode = Mode.OBSERVE
    models: dict[str, Mode] = Field(default_factory=dict)
    """The mode of single models, where it differs from `mode`."""
    cooldown: float = Field(default=6 * 3600.0, ge=0)
    """Seconds after a rollback of a model in which there is no second one."""
    max_age: float = Field(default=3600.0, gt=0)
    """Seconds after which a request, or a decision that could not be carried out, is given up."""
    proposal_expires: float = Field(default=24 * 3600.0, gt=0)
    """Seconds in which a proposal can be approved."""
    min_families: int = Field(default=1, ge=1)
    """Evidence families (features, confusion, ...) that must agree before an incident asks for a rollback."""

    def mode_of(self, model: str) -> Mode:
        """The mode that holds for one model."""
        return self.models.get(model, self.mode)


def consider(incident: Incident, config: RollbackConfig, now: float) -> Action | None:
    """The rollback that an incident asks for, or None. Call it on every transition until it gives an action.

    Args:
        incident: As it stands now.
        config: The section `rollback`.
        now: Epoch seconds of the wall clock.
    """
    if (
        incident.verdict not in POISONED_MODEL
        or incident.severity is not Severity.CRITICAL
        or incident.status is not Status.FIRING
        or len({evidence.family for evidence in incident.evidence}) < config.min_families
    ):
        return None
    # A slow poisoning spans versions: what must go is the one being served, not the one it began with.
    named = None if incident.verdict is Verdict.SLOW_POISONING else incident.attribution.version
    return Action(
        incident=incident.id,
        model=incident.model,
        from_version=named or incident.version,
        onset_low=incident.onset.low,
        state=ActionState.REQUESTED,
        requested_at=now,
        updated_at=now,
    )


def is_safe(target: ModelVersion, bad: ModelVersion, onset_low: float) -> bool:
    """True if `target` may replace `bad` when the trouble began at `onset_low` (epoch seconds) or later."""
    return (
        target.ready
        and not target.revoked
        and target.known_good_at is not None
        and target.known_good_at < onset_low
        and target.created < bad.created
        and target.version != bad.version
    )


def choose_target(versions: Iterable[ModelVersion], bad: ModelVersion, onset_low: float) -> ModelVersion | None:
    """The newest version that is safe; `versions` come newest first."""
    return next((version for version in versions if is_safe(version, bad, onset_low)), None)


def approve(action: Action, *, by: str, config: RollbackConfig, now: float) -> Action:
    """A person's yes to a proposal: an intent to save, or a refusal where the proposal has expired.

    The executor checks everything anew before it moves the alias.

    Args:
        action: The proposal.
        by: Who approves, as the log should name them.
        config: The section `rollback`.
        now: Epoch seconds of the wall clock.

    Raises:
        ValueError: The action is not a proposal that waits for an answer.
    """
    if action.state is not ActionState.PROPOSED:
        raise ValueError(f"the rollback for incident {action.incident} is {action.state}, not proposed")
    expires = action.updated_at + config.proposal_expires
    if now >= expires:
        return advanced(action, ActionState.REFUSED, f"The proposal expired at {utc(expires)}.", now)
    return advanced(action, ActionState.INTENDED, f"Approved by {by} at {utc(now)}.", now)


def advanced(action: Action, state: ActionState, reason: str, now: float) -> Action:
    """The action in its next state, with the sentence that says why."""
    return msgspec.structs.replace(action, state=state, reason=reason, updated_at=now)


def utc(moment: float) -> str:
    """Epoch seconds as people read them."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
