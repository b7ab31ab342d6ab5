"""A database to keep things in, SQLite or PostgreSQL: connections, transactions, and what can go wrong with them.

What differs between the two is here, and nowhere else: how a connection is made, how a transaction begins, and how an
upsert is spelt.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import URL, Connection, Engine, Executable, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from monitor.store.tables import SEALED
from monitor.store.vault import Vault, VaultError

T = TypeVar("T")

LOCK_WAIT = 30.0
"""Seconds that a writer waits for another one before it gives up."""

_SESSION = {
    "synchronous_commit": "on",  # what has been committed is on disk, whatever the server's default is
    "lock_timeout": f"{LOCK_WAIT:.0f}s",
    "statement_timeout": "60s",
    # A replica that was stopped in the middle of a transaction must not hold up the one that takes over.
    "idle_in_transaction_session_timeout": "20s",
}


class StoreError(Exception):
    """The store cannot be opened, read or written; one clear line that names the store, without secrets.

    Attributes:
        passing: trying again later may help: the disk is full, somebody else is writing, the server is away.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class Dialect(NamedTuple):
    """What is special about one kind of database."""

    insert: Callable[[Table], Any]
    """The INSERT that knows ON CONFLICT; both kinds spell its methods alike."""
    connect: Callable[[URL], Engine]
    alone: str
    """The statement that lets one process at a time prepare the tables; empty where beginning a transaction does."""
    compact: Callable[[Engine], None]
    """Gives back what was deleted or replaced, so that nothing of it is left."""


class Database:
    """Connections to one database. Safe to share between threads.

    Every method may raise StoreError. A transaction that raised it has changed nothing.

    Attributes:
        where: what to call it in a message.
        alone: see `Dialect`.
    """

    def __init__(self, location: str | Path, vault: Vault | None = None) -> None:
        """Nothing is opened before it is needed.

        Args:
            vault: what encrypts the columns that SEALED names; nothing does without one.
            location: path of an SQLite file, or a URL: `sqlite:////var/lib/tocsin/tocsin.db`, or
                `postgresql://user:password@host:5432/database`.

        Raises:
            StoreError: it is neither, or a file that cannot be opened.
        """
        url = _url(location)
        dialect = _DIALECTS[url.get_backend_name()]
        host = f"{url.host or 'local'}{'' if url.port is None else f':{url.port}'}/"
        self.where = f"store {'' if url.get_backend_name() == 'sqlite' else host}{url.database}"
        self.alone = dialect.alone
        self._insert = dialect.insert
        self._compact = dialect.compact
        self._vault = vault or Vault()
        with self._errors():
            self._writer = dialect.connect(url)
        self._reader = self._writer.execution_options(tocsin_read_only=True)

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._writer.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: committed, and on disk, when the block ends; undone if it raises."""
        with self._errors(), self._writer.begin() as connection:
            yield connection

    def read(self, query: Executable) -> Sequence[Any]:
        """The rows of a query."""
        with self._errors(), self._reader.connect() as connection:
            return connection.execute(query).all()

    def put(self, connection: Connection, table: Table, rows: list[dict[str, Any]], *, replace: bool = True) -> int:
        """Insert rows; one whose key is there replaces what was there, or changes nothing if `replace` is False.

        Returns:
            How many were written, those that changed nothing left out.
        """
        if not rows:
            return 0
        if table in SEALED:
            rows = [self.sealed(table, row) for row in rows]
        statement = self._insert(table)
        keys = list(table.primary_key.columns)
        if replace:
            new = {column.name: statement.excluded[column.name] for column in table.c if column not in keys}
            statement = statement.on_conflict_do_update(index_elements=keys, set_=new)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=keys)
        return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount

    def sealed(self, table: Table, row: dict[str, Any]) -> dict[str, Any]:
        """A row of a table in SEALED as it is kept; it has its whole primary key."""
        column, key = SEALED[table], tuple(row[column.name] for column in table.primary_key.columns)
        return row | {column: self._vault.seal(_place(table, key), row[column])}

    def opened(self, table: Table, key: tuple[str, ...], kept: bytes, *, anything: bool = False) -> bytes:
        """What was sealed for the row of a table in SEALED that has this primary key; `anything` as in `Vault.open`."""
        try:
            return self._vault.open(_place(table, key), bytes(kept), anything=anything)
        except VaultError as error:
            raise StoreError(f"{self.where}: {table.name} {'/'.join(key)!r} cannot be read: {error}") from None

    def decoded(self, table: Table, key: tuple[str, ...], kept: bytes, into: type[T]) -> T:
        """The document of the row of a table in SEALED that has this primary key."""
        try:
            return msgspec.msgpack.decode(self.opened(table, key, kept), type=into)
        except msgspec.DecodeError as error:
            raise StoreError(f"{self.where}: {table.name} {'/'.join(key)!r} cannot be read: {error}") from error

    def compact(self) -> None:
        """Leave nothing behind of what was deleted or replaced; nobody else may be using the store."""
        with self._errors():
            self._compact(self._writer)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:  # what the database said, without the statement around it
            said = " ".join(str(getattr(error, "orig", None) or error).split())
            raise StoreError(f"{self.where}: {said}", passing=isinstance(error, OperationalError)) from error
        except sqlite3.Error as error:
            raise StoreError(f"{self.where}: {error}", passing=True) from error
        except OSError as error:
            raise StoreError(f"{self.where}: {error.strerror or error}", passing=True) from error


def _place(table: Table, key: tuple[str, ...]) -> bytes:
    """What a sealed value is bound to: no name of a table, and no part of a key, has a zero byte in it."""
    return "\0".join((table.name, *key)).encode()


def _url(location: str | Path) -> URL:
    text = str(location)
    try:
        url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
    except ArgumentError as error:
        raise StoreError("store: neither a path nor a database URL") from error
    kind = url.get_backend_name()
    if kind not in _DIALECTS:
        raise StoreError(
            f"store: no support for {kind}; give a path, sqlite:///<path> or postgresql://<host>/<database>"
        )
    if not url.database or url.database == ":memory:":
        raise StoreError("store: it has to be a file, or a database; one in memory would not survive")
    return url


def _sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    # Made, or narrowed in its mode, before SQLite opens it: its journals take their mode from it.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": LOCK_WAIT})
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _postgresql(url: URL) -> Engine:
    if find_spec("psycopg") is None:
        raise StoreError("store: PostgreSQL needs the extra `postgres`, which is not installed")
    own = url.query.get("options", ())  # such as `-csearch_path=tocsin`
    options = [*((own,) if isinstance(own, str) else own), *(f"-c {name}={value}" for name, value in _SESSION.items())]
    settings = {
        "application_name": "tocsin",
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # milliseconds: a connection whose other end is gone without a word
        "options": " ".join(options),
    }
    # Asked before use whether it still lives: the server may have been restarted since.
    return create_engine(
        url.set(drivername="postgresql+psycopg"), hide_parameters=True, pool_pre_ping=True, connect_args=settings
    )


def _set_pragmas(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401 - what the driver gives is untyped
    dbapi_connection.isolation_level = None  # the driver must not begin transactions: `_begin` does
    _keep_a_log(dbapi_connection)
    dbapi_connection.execute("PRAGMA synchronous = FULL")


def _keep_a_log(connection: sqlite3.Connection) -> None:
    # SQLite waits for no lock when it changes to the log, as it does elsewhere: two processes that open
    # a new store at the same moment would have one of them fail at once.
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when somebody wrote in between, whatever
    # the time-out; one that says at its start that it will write waits for its turn.
    read_only = connection.get_execution_options().get("tocsin_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _compact_sqlite(engine: Engine) -> None:
    raw = engine.raw_connection()  # outside of any transaction
    try:
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            raw.cursor().execute(statement)
    finally:
        raw.close()


def _compact_postgresql(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in SEALED:
            connection.exec_driver_sql(f"VACUUM FULL {table.name}")


_DIALECTS = {
    "sqlite": Dialect(sqlite.insert, _sqlite, "", _compact_sqlite),
    "postgresql": Dialect(postgresql.insert, _postgresql, "SELECT pg_advisory_xact_lock(7089)", _compact_postgresql),
}
