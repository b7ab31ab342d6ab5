"""The action log in the store: one rollback of one incident each."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, insert, select, update

from monitor.rollback.action import OPEN_STATES, SPENT_STATES, Action, Allowed
from monitor.store.audit import of_action
from monitor.store.audit_table import append, take_turn
from monitor.store.database import Database
from monitor.store.fence import FencedError, Holding, check
from monitor.store.tables import ACTIONS

_STORED = select(ACTIONS.c.incident, ACTIONS.c.document).order_by(ACTIONS.c.requested_at, ACTIONS.c.incident)
_SPENT = _STORED.where(ACTIONS.c.state.in_([state.value for state in SPENT_STATES]))


class _NotAllowedError(Exception):
    """Undoes the transaction of a step that is not allowed."""


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
            this = ACTIONS.c.incident == action.incident
            row = self._database.sealed(ACTIONS, action_row(action))
            self._fence(connection, this)
            stored = connection.execute(select(ACTIONS.c.document).where(this)).scalar()
            before = None if stored is None else self._decoded(action.incident, stored)
            if connection.execute(update(ACTIONS).where(this).values(row)).rowcount == 0:
                connection.execute(insert(ACTIONS).values(row))
            append(self._database, connection, of_action(before, action))

    def advance(self, before: Action, after: Action, *, allowed: Allowed | None = None) -> bool:
        """Replace `before` by `after`, the same incident's; False, and nothing done, if it is not `before` any more.

        Nor is anything done if the shard that it belongs to has another owner by now, or if `allowed` says no to what
        all replicas have spent on other incidents. One transaction at a time asks that.
        """
        this = ACTIONS.c.incident == before.incident
        with suppress(FencedError, _NotAllowedError), self._database.writing() as connection:
            self._fence(connection, this)
            stored = connection.execute(select(ACTIONS.c.document).where(this).with_for_update()).scalar()
            if stored is None or self._decoded(before.incident, stored) != before:
                return False
            connection.execute(update(ACTIONS).where(this).values(self._database.sealed(ACTIONS, action_row(after))))
            if allowed is not None:
                take_turn(self._database, connection)
                if not allowed(self._decoded_all(connection.execute(_SPENT.where(~this)).all())):
                    raise _NotAllowedError
            append(self._database, connection, of_action(before, after))
            return True
        return False

    def spent(self) -> list[Action]:
        """Actions of all replicas in one of SPENT_STATES, oldest first."""
        return self._decoded_all(self._database.read(_SPENT))

    def _fence(self, connection: Connection, this: ColumnElement[bool]) -> None:
        """Raise FencedError if the shard of an action has another owner by now."""
        shard = connection.execute(select(ACTIONS.c.shard).where(this)).scalar()
        held = self._holding.shards
        if shard is not None and held is not None:
            check(self._database, connection, shard, held.get(shard, -1))

    def _where(self, *conditions: ColumnElement[bool]) -> list[Action]:
        return self._decoded_all(self._database.read(_STORED.where(*conditions)))

    def _decoded_all(self, rows: Iterable[Any]) -> list[Action]:
        return [self._decoded(name, document) for name, document in rows]

    def _decoded(self, incident: str, document: bytes) -> Action:
        return self._database.decoded(ACTIONS, (incident,), document, Action)


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
