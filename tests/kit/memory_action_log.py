"""An action log without a disk. It keeps the contract in tests/contracts/action_log_contract.py."""

from collections.abc import Iterable, Sequence

from monitor.rollback.action import ACTED_STATES, OPEN_STATES, Action


class MemoryActionLog:
    def __init__(self) -> None:
        self.actions: dict[str, Action] = {}
        """By incident."""
        self.fenced = False
        """Whether another replica works for them by now."""

    def unfinished(self) -> Sequence[Action]:
        return self._oldest_first(action for action in self.actions.values() if action.state in OPEN_STATES)

    def save(self, action: Action) -> None:
        self.actions[action.incident] = action

    def advance(self, before: Action, after: Action) -> bool:
        if self.fenced or self.actions.get(before.incident) != before:
            return False
        self.actions[before.incident] = after
        return True

    def moved_since(self, moment: float) -> Sequence[Action]:
        acted = (action for action in self.actions.values() if action.state in ACTED_STATES)
        return self._oldest_first(a for a in acted if a.moved_at is not None and a.moved_at >= moment)

    def _oldest_first(self, actions: Iterable[Action]) -> Sequence[Action]:
        return sorted(actions, key=lambda action: (action.requested_at, action.incident))
