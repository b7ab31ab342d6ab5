"""What people may say to a rollback: yes, no, or do it in spite of what holds it.

Pure functions from an action to the next one, for the commands; the daemon checks everything anew before it moves.
"""

import msgspec

from alerting.incident import Plan
from monitor.rollback.action import Action, ActionState
from monitor.rollback.config import RollbackConfig
from monitor.rollback.policy import advanced, utc

ANSWERABLE = frozenset({ActionState.PROPOSED, ActionState.ANNOUNCED})
DENIABLE = ANSWERABLE | {ActionState.REQUESTED, ActionState.HELD, ActionState.ADVISED}
FORCIBLE = DENIABLE | {ActionState.OBSERVED}


def awaited(action: Action) -> Plan | None:
    """What people can still say to it, and until when; None if it is too late, or too early."""
    if action.state not in ANSWERABLE or action.due_at is None:
        return None
    return Plan(action.incident, veto=action.state is ActionState.ANNOUNCED, until=action.due_at)


def approve(action: Action, *, by: str, config: RollbackConfig, now: float) -> Action:
    """A person's yes: an intent to save, or a proposal that still needs somebody else's yes.

    Args:
        action: The proposal, or the announcement.
        by: Who approves, as the log should name them.
        config: The section `rollback`.
        now: Epoch seconds of the wall clock.

    Raises:
        ValueError: The action does not wait for an answer, has expired, or has this person's yes already.
    """
    if action.state not in ANSWERABLE:
        raise ValueError(f"the rollback for incident {action.incident} is {action.state}, not proposed")
    if action.state is ActionState.PROPOSED and action.due_at is not None and now >= action.due_at:
        raise ValueError(f"the proposal expired at {utc(action.due_at)}")
    if by in action.approvals:
        raise ValueError(f"{by} has approved it already; somebody else has to")
    return _agreed(action, by, f"Approved by {by} at {utc(now)}", config, now)


def execute(action: Action, *, to: str | None, by: str, config: RollbackConfig, now: float) -> Action:
    """A person wants it done although something holds it. The target still has to be known-good and intact.

    Raises:
        ValueError: It is too late, or no target is known and none is named.
    """
    if action.state not in FORCIBLE:
        raise ValueError(f"the rollback for incident {action.incident} is {action.state} already")
    if (to or action.to_version) is None:
        raise ValueError("no target has been chosen; name one with --to")
    if by in action.approvals:
        raise ValueError(f"{by} has approved it already; somebody else has to")
    named = msgspec.structs.replace(action, to_version=to or action.to_version, due_at=now + config.proposal_expires)
    return _agreed(named, by, f"Demanded by {by} at {utc(now)}", config, now)


def deny(action: Action, *, by: str, now: float) -> Action:
    """A person's no, which is final for this incident.

    Raises:
        ValueError: It is too late.
    """
    if action.state not in DENIABLE:
        raise ValueError(f"the rollback for incident {action.incident} is {action.state} already")
    denied = msgspec.structs.replace(action, denied_by=by)
    return advanced(denied, ActionState.DENIED, f"Denied by {by} at {utc(now)}.", now)


def _agreed(action: Action, by: str, said: str, config: RollbackConfig, now: float) -> Action:
    action = msgspec.structs.replace(action, approvals=(*action.approvals, by))
    lacking = config.approvals - len(action.approvals)
    if lacking > 0:
        return advanced(action, ActionState.PROPOSED, f"{said}; {lacking} more must approve.", now)
    return advanced(action, ActionState.INTENDED, f"{said}.", now)
