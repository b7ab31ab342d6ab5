"""The action log in the store: one rollback of one incident each."""

import msgspec
from sqlalchemy import ColumnElement, insert, select, update

from monitor.action import OPEN_STATES, Action, ActionState
from monitor.database import Database
from monitor.fence import Holding, check
from monitor.tables import ACTIONS


class ActionTable:
    """Implements `monitor.action.ActionLog`. Safe to share between threads; every method may raise StoreError."""

    def __init__(self, database: Database, holding: Holding) -> None:
        self._database = database
        self._holding = holding

    def all(self) -> list[Action]:
        """Every action, oldest first."""
        return self._where()

    def unfinished(self) -> list[Action]:
        """Actions of shards held here that are in one of OPEN_STATES, oldest first."""
        return self._where(
            self._holding.holds(ACTIONS.c.shard), ACTIONS.c.state.in_([state.value for state in OPEN_STATES])
        )

    def save(self, action: Action) -> None:
        """Insert or replace the action of its incident. Raises FencedError if its shard has another owner by now."""
        with self._database.writing() as connection:
            this, row = ACTIONS.c.incident == action.incident, action_row(action)
            shard = connection.execute(select(ACTIONS.c.shard).where(this)).scalar()
            held = self._holding.shards
            if shard is not None and held is not None:
                check(self._database, connection, shard, held.get(shard, -1))
            if connection.execute(update(ACTIONS).where(this).values(row)).rowcount == 0:
                connection.execute(insert(ACTIONS).values(row))

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
