"""A rollback as a durable record: what was asked, decided, tried and seen."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from math import inf
from typing import Protocol

import msgspec


class ActionState(StrEnum):
    """Each state is written before the step that it names is taken."""

    REQUESTED = "requested"
    """An incident asks for it; nothing has been decided."""
    HELD = "held"
    """Not now: `holds` lists what is missing. It is decided anew while the incident lasts."""
    ADVISED = "advised"
    """Rolling back would not help; `reason` says what would. Decided anew while the incident lasts."""
    OBSERVED = "observed"
    """Mode observe: this is what would have been done."""
    PROPOSED = "proposed"
    """A person decides, until `due_at`."""
    ANNOUNCED = "announced"
    """Mode auto with a veto window: it will be done at `due_at`, unless a person denies it."""
    INTENDED = "intended"
    """Target and expected alias are fixed; the alias is about to be moved, or has been."""
    MOVED = "moved"
    """The alias was read back at the target; servers have to follow, and the errors to go away."""
    RECOVERED = "recovered"
    """The target serves, and the incident is over."""
    ESCALATED = "escalated"
    """The alias was moved, and it did not help, or somebody moved it again: a person is needed."""
    REFUSED = "refused"
    """A guard rail said no for good; `reason` says which."""
    DENIED = "denied"
    """A person said no."""
    LAPSED = "lapsed"
    """The incident ended, or nobody answered, before anything was done."""
    UNKNOWN = "unknown"
    """It cannot be said whether the alias moved, or it is somewhere else: a person is needed."""


OPEN_STATES = frozenset(
    {
        ActionState.REQUESTED,
        ActionState.HELD,
        ActionState.ADVISED,
        ActionState.PROPOSED,
        ActionState.ANNOUNCED,
        ActionState.INTENDED,
        ActionState.MOVED,
    }
)
"""States that the executor still has work with, or waits in."""
ACTED_STATES = frozenset({ActionState.MOVED, ActionState.RECOVERED, ActionState.ESCALATED})
"""States after the alias was read back at the target."""
SPENT_STATES = ACTED_STATES | {ActionState.INTENDED, ActionState.UNKNOWN}
"""States in which an alias was moved, is about to be, or may have been; they count for cooldown and budgets."""


class Action(msgspec.Struct, frozen=True):
    """The one rollback of one incident. There is never a second one."""

    incident: str
    model: str
    from_version: str
    onset_low: float
    """Epoch seconds; a target must have been marked known-good before this."""
    state: ActionState
    requested_at: float
    """Epoch seconds of the wall clock."""
    updated_at: float
    to_version: str | None = None
    reason: str = ""
    """One plain sentence for people: what was done or why not. Empty while there is nothing to tell."""
    holds: tuple[str, ...] = ()
    """What stands against acting, one clause each."""
    families: tuple[str, ...] = ()
    """Families of evidence that agreed when it was decided."""
    due_at: float | None = None
    """Epoch seconds at which a proposal expires, or an announced move is made."""
    approvals: tuple[str, ...] = ()
    """Who has said yes."""
    denied_by: str | None = None
    """Who has said no."""
    moved_at: float | None = None
    """Epoch seconds at which the alias was read back at the target."""
    digest: str | None = None
    """sha256 of the target's artefact as it was verified before the move; None where it could not be read."""
    looked: tuple[str, int, int] | None = None
    """At the first look: the accused version, its labelled answers of the accused class, and the wrong ones."""

    @property
    def spent_at(self) -> float | None:
        """When it was done, epoch seconds, for cooldown and budgets; infinity if it is under way, None if it is not."""
        if self.state is ActionState.INTENDED:
            return inf
        if self.state is ActionState.UNKNOWN:
            return self.updated_at
        return self.moved_at if self.state in ACTED_STATES else None


Allowed = Callable[[Sequence[Action]], bool]
"""Whether a step may be taken, from all that counts for cooldown and budgets."""


class ActionLog(Protocol):
    """Where actions live; every write is durable when it returns."""

    def unfinished(self) -> Sequence[Action]:
        """Actions in one of OPEN_STATES, oldest first."""

    def save(self, action: Action) -> None:
        """Insert or replace the action of its incident."""

    def advance(self, before: Action, after: Action, *, allowed: Allowed | None = None) -> bool:
        """Replace `before` by `after`, the same incident's; False, and nothing done, if it is not `before` any more.

        False as well where another replica works for that incident by now, or where `allowed` says no to what other
        incidents have spent. While it is asked, and until this step is written, nobody else takes a step.
        """

    def spent(self) -> Sequence[Action]:
        """Actions of all replicas in one of SPENT_STATES, oldest first."""
