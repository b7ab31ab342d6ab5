"""A rollback as a durable record: what was asked, decided, tried and seen."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec


class ActionState(StrEnum):
    """Each state is written before the step that it names is taken."""

    REQUESTED = "requested"
    """An incident asks for it; nothing has been decided."""
    OBSERVED = "observed"
    """Mode observe: this is what would have been done."""
    PROPOSED = "proposed"
    """Mode propose: a person decides, until the proposal expires."""
    INTENDED = "intended"
    """Target and expected alias are fixed; the alias is about to be moved, or has been."""
    DONE = "done"
    """The alias was read back at the target."""
    REFUSED = "refused"
    """A guard rail said no; `reason` says which."""
    UNKNOWN = "unknown"
    """It cannot be said whether the alias moved, or it is somewhere else: a person is needed."""


OPEN_STATES = frozenset({ActionState.REQUESTED, ActionState.INTENDED})
"""States that the executor still has work with."""


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
    """One plain sentence for people: what was done or why not."""


class ActionLog(Protocol):
    """Where actions live; every save is durable when it returns."""

    def unfinished(self) -> Sequence[Action]:
        """Actions in one of OPEN_STATES, oldest first."""

    def save(self, action: Action) -> None:
        """Insert or replace the action of its incident."""

    def latest_done(self, model: str) -> Action | None:
        """The model's newest action in state DONE, for the cooldown."""
