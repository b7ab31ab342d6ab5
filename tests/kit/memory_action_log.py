"""An action log without a disk. It keeps the contract in tests/contracts/action_log_contract.py."""

from collections.abc import Iterable, Sequence

from monitor.rollback.action import OPEN_STATES, SPENT_STATES, Action, Allowed


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

    def advance(self, before: Action, after: Action, *, allowed: Allowed | None = None) -> bool:
        if self.fenced or self.actions.get(before.incident) != before:
            return False
        others = [action for action in self.spent() if action.incident != before.incident]
        if allowed is not None and not allowed(others):
            return False
        self.actions[before.incident] = after
        return True

    def spent(self) -> Sequence[Action]:
        return self._oldest_first(action for action in self.actions.values() if action.state in SPENT_STATES)

    def _oldest_first(self, actions: Iterable[Action]) -> Sequence[Action]:
        return sorted(actions, key=lambda action: (action.requested_at, action.incident))
