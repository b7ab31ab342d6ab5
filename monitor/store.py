"""The one place where anything lasts: offsets, detector states, incidents, messages, actions.

Everything that one turn of the loop decides is written by one `commit`, in one transaction: whoever starts
after a kill at any point finds all of it or nothing of it. The threads that deliver messages and roll back
models write what they did through the tables of their own, each call on a connection of its own.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select

from alerting.incident import Incident, Status
from alerting.outbox import Message
from monitor.action import Action
from monitor.action_table import ActionTable, action_row
from monitor.database import Database, StoreError
from monitor.migrations import prepare
from monitor.outbox_table import OutboxTable, message_row
from monitor.source import Partition
from monitor.tables import ACTIONS, INCIDENTS, MESSAGES, OFFSETS, STATES

__all__ = ["Commit", "Store", "StoreError"]

STATE_FORMAT = 1
"""The envelope of a state blob: sha256 over name, format and blob."""


class Commit(msgspec.Struct, frozen=True):
    """What one or more turns of the loop have decided; it is written whole or not at all."""

    offsets: Mapping[Partition, int] = MappingProxyType({})
    """The next offset to read, for each partition that moved."""
    states: Mapping[str, bytes] = MappingProxyType({})
    """Blobs by name, only those that changed."""
    forget: Collection[str] = ()
    """Names of states that are no longer needed."""
    incidents: Sequence[Incident] = ()
    """Inserted, or replaced as a whole."""
    messages: Sequence[Message] = ()
    """Inserted; one whose id is known already stays as it is."""
    actions: Sequence[Action] = ()
    """Inserted; an incident that has an action keeps it."""


class Store:
    """Safe to share between threads. Every method may raise StoreError; a write that raised it has changed nothing.

    Attributes:
        outbox: the messages.
        actions: the rollbacks.
    """

    def __init__(self, location: str | Path) -> None:
        """Open the store, and make it if it is not there; see `Database` for `location`.

        Raises:
            StoreError: it cannot be opened, is not Tocsin's, or was made by a later version.
        """
        self._database = Database(location)
        try:
            prepare(self._database)
        except StoreError:
            self.close()
            raise
        self.outbox = OutboxTable(self._database)
        self.actions = ActionTable(self._database)

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._database.close()

    def commit(self, commit: Commit) -> None:
        """Write everything in one transaction; it is on disk when this returns."""
        put = self._database.put
        rows = {
            OFFSETS: [_offset_row(partition, offset) for partition, offset in commit.offsets.items()],
            STATES: [_state_row(name, blob) for name, blob in commit.states.items()],
            INCIDENTS: [_incident_row(incident) for incident in commit.incidents],
            MESSAGES: [message_row(message) for message in commit.messages],
            ACTIONS: [action_row(action) for action in commit.actions],
        }
        with self._database.writing() as connection:
            if commit.forget:
                gone = delete(STATES).where(STATES.c.name == bindparam("gone"))
                connection.execute(gone, [{"gone": name} for name in commit.forget])
            for table in (OFFSETS, STATES, INCIDENTS):
                put(connection, table, rows[table])
            for table in (MESSAGES, ACTIONS):
                put(connection, table, rows[table], replace=False)

    def offsets(self) -> dict[Partition, int]:
        """The next offset to read of each partition."""
        rows = self._database.read(select(OFFSETS))
        return {Partition(row.topic, row.number): row.next_offset for row in rows}

    def states(self) -> dict[str, bytes]:
        """Every state by name. Raises StoreError, naming the state, if one is not what was written."""
        return {row.name: self._verified(row) for row in self._database.read(select(STATES))}

    def incidents(self, *, open_only: bool = False, limit: int | None = None) -> list[Incident]:
        """Incidents, the one opened last first."""
        query = select(INCIDENTS.c.id, INCIDENTS.c.document)
        if open_only:
            query = query.where(INCIDENTS.c.status != Status.RESOLVED.value)
        query = query.order_by(INCIDENTS.c.opened_at.desc(), INCIDENTS.c.id).limit(limit)
        decoded = self._database.decoded
        return [decoded("incident", name, document, Incident) for name, document in self._database.read(query)]

    def _verified(self, row: Any) -> bytes:  # noqa: ANN401 - a row of STATES
        where = self._database.where
        if row.format != STATE_FORMAT:
            known = f"this version reads {STATE_FORMAT}"
            raise StoreError(f"{where}: state {row.name!r} has format {row.format}; {known}")
        if bytes(row.sha256) != _digest(row.name, row.blob):
            raise StoreError(f"{where}: state {row.name!r} is damaged: its checksum does not match")
        return bytes(row.blob)


def _digest(name: str, blob: bytes) -> bytes:
    """The sha256 of a state; its name is in it, so that a blob under the wrong name is seen too."""
    sha256 = hashlib.sha256(f"{name}\0{STATE_FORMAT}\0".encode())
    sha256.update(blob)
    return sha256.digest()


def _offset_row(partition: Partition, offset: int) -> dict[str, object]:
    return {"topic": partition.topic, "number": partition.number, "next_offset": offset}


def _state_row(name: str, blob: bytes) -> dict[str, object]:
    return {"name": name, "format": STATE_FORMAT, "sha256": _digest(name, blob), "blob": blob}


def _incident_row(incident: Incident) -> dict[str, object]:
    return {
        "id": incident.id,
        "model": incident.model,
        "status": incident.status.value,
        "opened_at": incident.opened_at,
        "document": msgspec.msgpack.encode(incident),
    }
