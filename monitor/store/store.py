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
from sqlalchemy import Connection, bindparam, delete, select

from alerting.incident import Incident, Status
from alerting.outbox import Message
from monitor.intake.source import Partition
from monitor.pictures.exhibit import Exhibit
from monitor.rollback.action import Action
from monitor.store.action_table import ActionTable, action_row
from monitor.store.audit import TOCSIN, Act, of_action
from monitor.store.audit_table import AuditTable, append
from monitor.store.database import Database, StoreError
from monitor.store.desk_table import DeskTable, settle
from monitor.store.exhibit_table import ExhibitTable, exhibit_row
from monitor.store.fence import FencedError, Holding, check, read_epochs, take
from monitor.store.mark_table import MarkTable
from monitor.store.migrations import prepare
from monitor.store.outbox_table import OutboxTable, message_row
from monitor.store.rekeying import rekey
from monitor.store.reply_table import ReplyTable
from monitor.store.stop_table import StopTable
from monitor.store.tables import ACTIONS, EXHIBITS, INCIDENTS, MESSAGES, OFFSETS, STATES, WHOLE
from monitor.store.vault import Vault

__all__ = ["Claim", "Commit", "FencedError", "Store", "StoreError"]

STATE_FORMAT = 1
"""The envelope of a state blob: sha256 over name, format and blob."""


class Commit(msgspec.Struct, frozen=True):
    """What one or more turns of the loop have decided about a shard; it is written whole or not at all."""

    shard: str = WHOLE
    epoch: int = 0
    """The one with which the shard was claimed; 0 is good as long as nobody has claimed it."""

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
    settled: Collection[str] = ()
    """Ids of decisions that have been taken up."""
    acts: Sequence[Act] = ()
    """For the audit log; actions and shards that were claimed get there without being told here."""
    exhibits: Mapping[str, Exhibit] = MappingProxyType({})
    """By incident; inserted, or replaced."""


class Claim(msgspec.Struct, frozen=True):
    """A shard as its new owner finds it."""

    epoch: int
    offsets: dict[Partition, int]
    """The next offset to read of each partition."""
    states: dict[str, bytes]
    incidents: list[Incident]
    """Those that are not over."""


class Store:
    """Safe to share between threads. Every method may raise StoreError; a write that raised it has changed nothing.

    Attributes:
        outbox: the messages.
        actions: the rollbacks.
        approvals: the same, as people decide about them, whichever replica works for them.
        stops: what stops them.
        marks: which versions were known to be good.
        desk: silences, and what people have decided.
        audit: what was done, by whom; every write that changes anything for people appends to it by itself.
    """

    def __init__(self, location: str | Path, vault: Vault | None = None) -> None:
        """Open the store, and make it if it is not there; see `Database` for `location` and `vault`.

        Raises:
            StoreError: it cannot be opened, is not Tocsin's, or was made by a later version.
        """
        self._database = Database(location, vault)
        try:
            prepare(self._database)
        except StoreError:
            self.close()
            raise
        self._holding = Holding()
        self.outbox = OutboxTable(self._database, self._holding)
        self.actions = ActionTable(self._database, self._holding)
        self.approvals = ActionTable(self._database, Holding())
        self.stops = StopTable(self._database)
        self.marks = MarkTable(self._database)
        self.desk = DeskTable(self._database)
        self.replies = ReplyTable(self._database)
        self.audit = AuditTable(self._database)
        self._exhibits = ExhibitTable(self._database)

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._database.close()

    def rekey(self) -> int:
        """Encrypt everything anew with the newest key; see `monitor/store/rekeying.py`."""
        return rekey(self._database)

    def epochs(self) -> dict[str, int]:
        """The epoch of every shard that was ever claimed."""
        return read_epochs(self._database)

    def claim(self, shard: str, owner: str, now: float) -> Claim:
        """Become the owner of a shard: from now on nobody who claimed it before can write to it.

        Args:
            shard: its name.
            owner: who claims it, for people.
            now: epoch seconds, for people.
        """
        with self._database.writing() as connection:
            epoch = take(self._database, connection, shard, owner, now)
            offsets = connection.execute(select(OFFSETS).where(OFFSETS.c.shard == shard)).all()
            states = connection.execute(select(STATES).where(STATES.c.shard == shard)).all()
            claimed = Act(now, TOCSIN, "shard.claimed", shard, detail=f"by {owner}, epoch {epoch}")
            append(self._database, connection, [claimed])
            live = INCIDENTS.c.shard == shard, INCIDENTS.c.status != Status.RESOLVED.value
            found = connection.execute(select(INCIDENTS.c.id, INCIDENTS.c.document).where(*live)).all()
        return Claim(
            epoch,
            {Partition(row.topic, row.number): row.next_offset for row in offsets},
            {row.name: self._verified(row) for row in states},
            [self._database.decoded(INCIDENTS, (name,), document, Incident) for name, document in found],
        )

    def hold(self, shards: Mapping[str, int]) -> None:
        """From now on this process delivers and acts for these shards only, as long as their epochs are these.

        A process that never calls this, such as a command beside the daemon, sees everything.
        """
        self._holding.shards = dict(shards)

    def commit(self, *commits: Commit) -> None:
        """Write everything in one transaction; it is on disk when this returns.

        Raises:
            FencedError: a shard has another owner by now; nothing is written.
            StoreError: it cannot be written.
        """
        with self._database.writing() as connection:
            # In one order everywhere, so that two replicas never wait for each other.
            in_order = sorted(commits, key=lambda commit: commit.shard)
            acts: list[Act] = []
            for commit in in_order:
                check(self._database, connection, commit.shard, commit.epoch)
                acts += self._write(connection, commit)
            append(self._database, connection, acts)

    def _write(self, connection: Connection, commit: Commit) -> list[Act]:
        actions = _first_of_each(connection, commit.actions)
        rows = {
            OFFSETS: [_offset_row(partition, offset) for partition, offset in commit.offsets.items()],
            STATES: [_state_row(name, blob) for name, blob in commit.states.items()],
            INCIDENTS: [_incident_row(incident) for incident in commit.incidents],
            MESSAGES: [message_row(message) for message in commit.messages],
            ACTIONS: [action_row(action) for action in actions],
            EXHIBITS: [exhibit_row(incident, exhibit) for incident, exhibit in commit.exhibits.items()],
        }
        if commit.forget:
            gone = delete(STATES).where(STATES.c.shard == commit.shard, STATES.c.name == bindparam("gone"))
            connection.execute(gone, [{"gone": name} for name in commit.forget])
        settle(connection, commit.settled)
        for table, found in rows.items():
            owned = [{"shard": commit.shard} | row for row in found]
            self._database.put(connection, table, owned, replace=table not in {MESSAGES, ACTIONS})
        return [*commit.acts, *(act for action in actions for act in of_action(None, action))]

    def offsets(self) -> dict[Partition, int]:
        """The next offset to read of each partition."""
        rows = self._database.read(select(OFFSETS))
        return {Partition(row.topic, row.number): row.next_offset for row in rows}

    def states(self, shard: str = WHOLE) -> dict[str, bytes]:
        """A shard's states by name. Raises StoreError, naming the state, if one is not what was written."""
        return {
            row.name: self._verified(row) for row in self._database.read(select(STATES).where(STATES.c.shard == shard))
        }

    def state(self, name: str) -> bytes | None:
        """One state by name, of the shards held here; None if there is none."""
        this = STATES.c.name == name, self._holding.holds(STATES.c.shard)
        rows = self._database.read(select(STATES).where(*this))
        return self._verified(rows[0]) if rows else None

    def incidents(
        self,
        *,
        open_only: bool = False,
        models: Collection[str] | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Incident]:
        """Incidents, the one opened last first.

        Args:
            open_only: without those that are over.
            models: of these models only.
            after: only those that come after the incident with this id; none, if there is no such incident.
            limit: so many at most.
        """
        this, query = INCIDENTS.c, select(INCIDENTS.c.id, INCIDENTS.c.document)
        if open_only:
            query = query.where(this.status != Status.RESOLVED.value)
        if models is not None:
            query = query.where(this.model.in_(models))
        if after is not None:
            last = select(this.opened_at).where(this.id == after).scalar_subquery()
            query = query.where((this.opened_at < last) | ((this.opened_at == last) & (this.id > after)))
        query = query.order_by(this.opened_at.desc(), this.id).limit(limit)
        decoded = self._database.decoded
        return [decoded(INCIDENTS, (name,), document, Incident) for name, document in self._database.read(query)]

    def incident(self, name: str) -> Incident | None:
        """The incident with this id; None if there is none."""
        query = select(INCIDENTS.c.document).where(INCIDENTS.c.id == name)
        rows = self._database.read(query)
        return self._database.decoded(INCIDENTS, (name,), rows[0].document, Incident) if rows else None

    def exhibit(self, incident: str) -> Exhibit | None:
        """What stood behind the incident with this id when it was told last."""
        return self._exhibits.find(incident)

    def _verified(self, row: Any) -> bytes:  # noqa: ANN401 - a row of STATES
        where = self._database.where
        if row.format != STATE_FORMAT:
            known = f"this version reads {STATE_FORMAT}"
            raise StoreError(f"{where}: state {row.name!r} has format {row.format}; {known}")
        blob = self._database.opened(STATES, (row.shard, row.name), row.blob)
        if bytes(row.sha256) != _digest(row.name, blob):
            raise StoreError(f"{where}: state {row.name!r} is damaged: its checksum does not match")
        return blob


def _first_of_each(connection: Connection, actions: Sequence[Action]) -> list[Action]:
    """Those that are written: an incident has one action, the one that it asked for first."""
    if not actions:
        return []
    asked = select(ACTIONS.c.incident).where(ACTIONS.c.incident.in_([action.incident for action in actions]))
    known = set(connection.execute(asked).scalars())
    first = {action.incident: action for action in reversed(actions)}
    return [action for incident, action in first.items() if incident not in known]


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
