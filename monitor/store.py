"""The one place where anything lasts: offsets, detector states, incidents, messages, actions.

Everything that one turn of the loop decides is written by one `commit`, in one transaction: whoever starts
after a kill at any point finds all of it or nothing of it. The threads that deliver messages and roll back
models write what they did through the same object, each call on a connection of its own.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Executable,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    exists,
    func,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from alerting.incident import Incident, Status, Transition
from alerting.outbox import Message
from monitor import tables
from monitor.action import OPEN_STATES, Action, ActionState
from monitor.source import Partition
from monitor.tables import ACTIONS, INCIDENTS, MESSAGES, OFFSETS, STATES

T = TypeVar("T")

_LOCK_WAIT = 30.0  # seconds a writer waits for another one before it gives up

# Upserts are spelt per database. PostgreSQL's `insert` has the same methods: one more entry here.
_UPSERT = {"sqlite": sqlite.insert}


class StoreError(Exception):
    """The store cannot be opened, read or written; one clear line that names the store, without secrets."""


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
    """Safe to share between threads. Implements `alerting.outbox.Outbox` and `monitor.action.ActionLog`.

    Every method may raise StoreError. A write that raised it has changed nothing.
    """

    def __init__(self, location: str | Path) -> None:
        """Open the store, and make it if it is not there.

        Args:
            location: path of the SQLite file, or an SQLAlchemy URL (`sqlite:////var/lib/tocsin/tocsin.db`).

        Raises:
            StoreError: it cannot be opened, is not Tocsin's, or was made by a later version.
        """
        url, path = _location(location)
        self._where = f"store {path}"
        self._upsert = _UPSERT[url.get_backend_name()]
        self._writer = create_engine(url, hide_parameters=True, connect_args={"timeout": _LOCK_WAIT})
        self._reader = self._writer.execution_options(tocsin_read_only=True)
        event.listen(self._writer, "connect", _set_pragmas)
        event.listen(self._writer, "begin", _begin)
        try:
            with self._errors():
                _make_private(path)
                with self._writer.begin() as connection:
                    self._prepare(connection)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._writer.dispose()

    def commit(self, commit: Commit) -> None:
        """Write everything in one transaction; it is on disk when this returns."""
        with self._errors():
            rows = {
                OFFSETS: [tables.offset_row(partition, offset) for partition, offset in commit.offsets.items()],
                STATES: [tables.state_row(name, blob) for name, blob in commit.states.items()],
                INCIDENTS: [tables.incident_row(incident) for incident in commit.incidents],
                MESSAGES: [tables.message_row(message) for message in commit.messages],
                ACTIONS: [tables.action_row(action) for action in commit.actions],
            }
            with self._writer.begin() as connection:
                if commit.forget:
                    gone = delete(STATES).where(STATES.c.name == bindparam("gone"))
                    connection.execute(gone, [{"gone": name} for name in commit.forget])
                for table in (OFFSETS, STATES, INCIDENTS):
                    self._put(connection, table, rows[table])
                for table in (MESSAGES, ACTIONS):
                    self._put(connection, table, rows[table], replace=False)

    def offsets(self) -> dict[Partition, int]:
        """The next offset to read of each partition."""
        rows = self._read(select(OFFSETS))
        return {Partition(row.topic, row.number): row.next_offset for row in rows}

    def states(self) -> dict[str, bytes]:
        """Every state by name. Raises StoreError, naming the state, if one is not what was written."""
        return {row.name: self._verified(row) for row in self._read(select(STATES))}

    def incidents(self, *, open_only: bool = False, limit: int | None = None) -> list[Incident]:
        """Incidents, the one opened last first."""
        query = select(INCIDENTS.c.id, INCIDENTS.c.document)
        if open_only:
            query = query.where(INCIDENTS.c.status != Status.RESOLVED.value)
        query = query.order_by(INCIDENTS.c.opened_at.desc(), INCIDENTS.c.id).limit(limit)
        return [self._decoded("incident", name, document, Incident) for name, document in self._read(query)]

    # Outbox: see alerting/outbox.py for what each of these promises.

    def due(self, now: float, limit: int) -> list[Message]:
        """Messages whose time has come, oldest first; of each (incident, receiver) the first undelivered."""
        message, earlier = MESSAGES.c, MESSAGES.alias("earlier").c
        blocked = exists().where(
            earlier.state == "pending",
            earlier.receiver == message.receiver,
            earlier.incident == message.incident,
            earlier.number < message.number,
        )
        query = (
            select(message.id, message.receiver, message.document, message.created_at, message.attempts)
            .where(message.state == "pending", message.due_at <= now, ~blocked)
            .order_by(message.created_at, message.incident, message.number, message.receiver)
            .limit(limit)
        )
        return [
            Message(receiver, self._decoded("message", name, document, Transition), created_at, attempts)
            for name, receiver, document, created_at, attempts in self._read(query)
        ]

    def delivered(self, message: Message, now: float) -> None:
        """Record that the receiver has accepted the message."""
        self._settle(message, state="delivered", finished_at=now, attempts=MESSAGES.c.attempts + 1)

    def retry(self, message: Message, at: float, error: str) -> None:
        """Record a failed attempt and when to try again (epoch seconds)."""
        self._settle(message, due_at=at, error=error, attempts=MESSAGES.c.attempts + 1)

    def dead(self, message: Message, now: float, error: str) -> None:
        """Record that the receiver will never accept the message; it stays visible and blocks nothing."""
        self._settle(message, state="dead", finished_at=now, error=error, attempts=MESSAGES.c.attempts + 1)

    def outbox_counts(self) -> dict[tuple[str, str], int]:
        """How many messages there are by (receiver, state); the states are pending, delivered and dead."""
        by = MESSAGES.c.receiver, MESSAGES.c.state
        return {(row[0], row[1]): row[2] for row in self._read(select(*by, func.count()).group_by(*by))}

    def oldest_pending(self) -> dict[str, float]:
        """When the oldest message that is still to be delivered was written, epoch seconds, by receiver."""
        waiting = select(MESSAGES.c.receiver, func.min(MESSAGES.c.created_at)).where(MESSAGES.c.state == "pending")
        return {row[0]: row[1] for row in self._read(waiting.group_by(MESSAGES.c.receiver))}

    def prune(self, before: float) -> int:
        """Forget messages delivered before this (epoch seconds); dead ones stay. Returns how many went."""
        old = delete(MESSAGES).where(MESSAGES.c.state == "delivered", MESSAGES.c.finished_at < before)
        with self._errors(), self._writer.begin() as connection:
            return connection.execute(old).rowcount

    # Action log: see monitor/action.py.

    def actions(self) -> list[Action]:
        """Every action, oldest first."""
        return self._actions_where()

    def unfinished(self) -> list[Action]:
        """Actions in one of OPEN_STATES, oldest first."""
        return self._actions_where(ACTIONS.c.state.in_([state.value for state in OPEN_STATES]))

    def save(self, action: Action) -> None:
        """Insert or replace the action of its incident."""
        with self._errors(), self._writer.begin() as connection:
            self._put(connection, ACTIONS, [tables.action_row(action)])

    def latest_done(self, model: str) -> Action | None:
        """The model's newest action in state DONE, for the cooldown."""
        done = self._actions_where(ACTIONS.c.model == model, ACTIONS.c.state == ActionState.DONE.value)
        return max(done, key=lambda action: action.updated_at, default=None)

    def _actions_where(self, *conditions: ColumnElement[bool]) -> list[Action]:
        query = select(ACTIONS.c.incident, ACTIONS.c.document).where(*conditions)
        rows = self._read(query.order_by(ACTIONS.c.requested_at, ACTIONS.c.incident))
        return [self._decoded("action of incident", name, document, Action) for name, document in rows]

    def _prepare(self, connection: Connection) -> None:
        names = inspect(connection).get_table_names()
        if not names:
            tables.METADATA.create_all(connection)
            connection.execute(insert(tables.SCHEMA).values(version=tables.SCHEMA_VERSION))
        elif tables.SCHEMA.name not in names:
            raise StoreError(f"{self._where}: this is a database, but not one of Tocsin's")
        elif (made := connection.execute(select(tables.SCHEMA.c.version)).scalar_one()) > tables.SCHEMA_VERSION:
            known = f"schema {made}, this one knows {tables.SCHEMA_VERSION}"
            raise StoreError(f"{self._where}: made by a later Tocsin ({known}): upgrade, or use another store")

    def _put(self, connection: Connection, table: Table, rows: list[dict[str, Any]], *, replace: bool = True) -> None:
        if not rows:
            return
        statement = self._upsert(table)
        keys = list(table.primary_key.columns)
        if replace:
            new = {column.name: statement.excluded[column.name] for column in table.c if column not in keys}
            statement = statement.on_conflict_do_update(index_elements=keys, set_=new)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=keys)
        connection.execute(statement, rows)

    def _settle(self, message: Message, **values: object) -> None:
        # Only a pending message changes: what was delivered stays delivered, whoever comes late.
        pending = MESSAGES.c.id == message.id, MESSAGES.c.state == "pending"
        with self._errors(), self._writer.begin() as connection:
            connection.execute(update(MESSAGES).where(*pending).values(**values))

    def _read(self, query: Executable) -> Sequence[Any]:
        with self._errors(), self._reader.connect() as connection:
            return connection.execute(query).all()

    def _decoded(self, kind: str, name: str, document: bytes, into: type[T]) -> T:
        try:
            return msgspec.msgpack.decode(document, type=into)
        except msgspec.DecodeError as error:
            raise StoreError(f"{self._where}: {kind} {name!r} cannot be read: {error}") from error

    def _verified(self, row: Any) -> bytes:  # noqa: ANN401 - a row of STATES
        if row.format != tables.STATE_FORMAT:
            known = f"this version reads {tables.STATE_FORMAT}"
            raise StoreError(f"{self._where}: state {row.name!r} has format {row.format}; {known}")
        if row.sha256 != tables.digest(row.name, row.blob):
            raise StoreError(f"{self._where}: state {row.name!r} is damaged: its checksum does not match")
        return bytes(row.blob)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:  # what the database said, without the statement around it
            raise StoreError(f"{self._where}: {getattr(error, 'orig', error)}") from error
        except OSError as error:
            raise StoreError(f"{self._where}: {error.strerror or error}") from error


def _location(location: str | Path) -> tuple[URL, Path]:
    text = str(location)
    try:
        url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
    except ArgumentError as error:
        raise StoreError("store: neither a path nor a database URL") from error
    if url.get_backend_name() not in _UPSERT:
        raise StoreError(f"store: no support for {url.get_backend_name()}; give a path or sqlite:///<path>")
    if not url.database or url.database == ":memory:":
        raise StoreError("store: it has to be a file; one in memory would not survive")
    return url, Path(url.database)


def _make_private(path: Path) -> None:
    """Make the file, or narrow its mode, before SQLite opens it: its journals take their mode from it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _set_pragmas(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401 - what the driver gives is untyped
    dbapi_connection.isolation_level = None  # the driver must not begin transactions: `_begin` does
    dbapi_connection.execute("PRAGMA journal_mode = WAL")
    dbapi_connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when somebody wrote in between, whatever
    # the time-out; one that says at its start that it will write waits for its turn.
    read_only = connection.get_execution_options().get("tocsin_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
