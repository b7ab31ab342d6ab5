"""The action log in the store: one rollback of one incident each."""

from contextlib import suppress

import msgspec
from sqlalchemy import ColumnElement, Connection, insert, select, update

from monitor.rollback.action import ACTED_STATES, OPEN_STATES, Action
from monitor.store.audit import of_action
from monitor.store.audit_table import append
from monitor.store.database import Database
from monitor.store.fence import FencedError, Holding, check
from monitor.store.tables import ACTIONS


class ActionTable:
    """Implements `monitor.rollback.action.ActionLog`. Safe to share between threads; all may raise StoreError."""

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
            self._fence(connection, this)
            stored = connection.execute(select(ACTIONS.c.document).where(this)).scalar()
            before = None if stored is None else self._decoded(action.incident, stored)
            if connection.execute(update(ACTIONS).where(this).values(row)).rowcount == 0:
                connection.execute(insert(ACTIONS).values(row))
            append(self._database, connection, of_action(before, action))

    def advance(self, before: Action, after: Action) -> bool:
        """Replace `before` by `after`, the same incident's; False, and nothing done, if it is not `before` any more.

        Nor is anything done if the shard that it belongs to has another owner by now.
        """
        this = ACTIONS.c.incident == before.incident
        unchanged = ACTIONS.c.document == action_row(before)["document"]
        with suppress(FencedError), self._database.writing() as connection:
            self._fence(connection, this)
            replaced = update(ACTIONS).where(this, unchanged).values(action_row(after))
            if connection.execute(replaced).rowcount == 1:
                append(self._database, connection, of_action(before, after))
                return True
        return False

    def moved_since(self, moment: float) -> list[Action]:
        """Actions in one of ACTED_STATES that moved an alias at `moment` (epoch seconds) or later, oldest first."""
        acted = self._where(ACTIONS.c.state.in_([state.value for state in ACTED_STATES]))
        return [action for action in acted if action.moved_at is not None and action.moved_at >= moment]

    def _fence(self, connection: Connection, this: ColumnElement[bool]) -> None:
        """Raise FencedError if the shard of an action has another owner by now."""
        shard = connection.execute(select(ACTIONS.c.shard).where(this)).scalar()
        held = self._holding.shards
        if shard is not None and held is not None:
            check(self._database, connection, shard, held.get(shard, -1))

    def _where(self, *conditions: ColumnElement[bool]) -> list[Action]:
        query = select(ACTIONS.c.incident, ACTIONS.c.document).where(*conditions)
        rows = self._database.read(query.order_by(ACTIONS.c.requested_at, ACTIONS.c.incident))
        return [self._decoded(name, document) for name, document in rows]

    def _decoded(self, incident: str, document: bytes) -> Action:
        return self._database.decoded("action of incident", incident, document, Action)


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
