"""The action log in the store: one rollback of one incident each."""

import msgspec
from sqlalchemy import ColumnElement, select

from monitor.action import OPEN_STATES, Action, ActionState
from monitor.database import Database
from monitor.tables import ACTIONS


class ActionTable:
    """Implements `monitor.action.ActionLog`. Safe to share between threads; every method may raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Action]:
        """Every action, oldest first."""
        return self._where()

    def unfinished(self) -> list[Action]:
        """Actions in one of OPEN_STATES, oldest first."""
        return self._where(ACTIONS.c.state.in_([state.value for state in OPEN_STATES]))

    def save(self, action: Action) -> None:
        """Insert or replace the action of its incident."""
        with self._database.writing() as connection:
            self._database.put(connection, ACTIONS, [action_row(action)])

    def latest_done(self, model: str) -> Action | None:
        """The model's newest action in state DONE, for the cooldown."""
        done = self._where(ACTIONS.c.model == model, ACTIONS.c.state == ActionState.DONE.value)
        return max(done, key=lambda action: action.updated_at, default=None)

    def _where(self, *conditions: ColumnElement[bool]) -> list[Action]:
        query = select(ACTIONS.c.incident, ACTIONS.c.document).where(*conditions)
        rows = self._database.read(query.order_by(ACTIONS.c.requested_at, ACTIONS.c.incident))
        return [self._database.decoded("action of incident", name, document, Action) for name, document in rows]


def action_row(action: Action) -> dict[str, object]:
    """An action as it stands now."""
    return {
        "incident": action.incident,
        "model": action.model,
        "state": action.state.value,
        "requested_at": action.requested_at,
        "updated_at": action.updated_at,
        "document": msgspec.msgpack.encode(action),
    }
