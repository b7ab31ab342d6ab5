"""An action log without a disk. It keeps the contract in tests/contracts/action_log_contract.py."""

from collections.abc import Sequence

from monitor.action import OPEN_STATES, Action, ActionState


class MemoryActionLog:
    def __init__(self) -> None:
        self.actions: dict[str, Action] = {}
        """By incident."""

    def unfinished(self) -> Sequence[Action]:
        found = [action for action in self.actions.values() if action.state in OPEN_STATES]
        return sorted(found, key=lambda action: (action.requested_at, action.incident))

    def save(self, action: Action) -> None:
        self.actions[action.incident] = action

    def latest_done(self, model: str) -> Action | None:
        done = [a for a in self.actions.values() if a.model == model and a.state is ActionState.DONE]
        return max(done, key=lambda action: action.updated_at, default=None)
