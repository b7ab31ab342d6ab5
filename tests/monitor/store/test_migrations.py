"""Migrations: a store made by the first version ends with the same tables as a new one, and keeps what is in it."""

import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, inspect, text

from monitor.store import migrations
from monitor.store.database import Database, StoreError
from monitor.store.migrations import add, prepare, schema_version
from monitor.store.store import Store
from tests.kit.postgres import Postgres

# The tables of schema version 1, as they were.
FIRST = """
CREATE TABLE tocsin_schema (version INTEGER PRIMARY KEY);
CREATE TABLE offsets (topic VARCHAR, number INTEGER, next_offset BIGINT NOT NULL, PRIMARY KEY (topic, number));
CREATE TABLE states (name VARCHAR PRIMARY KEY, format INTEGER NOT NULL, sha256 {bytes} NOT NULL, blob {bytes} NOT NULL);
CREATE TABLE incidents (id VARCHAR PRIMARY KEY, model VARCHAR NOT NULL, status VARCHAR NOT NULL,
    opened_at FLOAT NOT NULL, document {bytes} NOT NULL);
CREATE TABLE messages (id VARCHAR PRIMARY KEY, receiver VARCHAR NOT NULL, incident VARCHAR NOT NULL,
    number INTEGER NOT NULL, state VARCHAR NOT NULL, created_at FLOAT NOT NULL, due_at FLOAT NOT NULL,
    finished_at FLOAT, attempts INTEGER NOT NULL, error VARCHAR NOT NULL, document {bytes} NOT NULL);
CREATE INDEX messages_in_order ON messages (state, receiver, incident, number);
CREATE TABLE actions (incident VARCHAR PRIMARY KEY, model VARCHAR NOT NULL, state VARCHAR NOT NULL,
    requested_at FLOAT NOT NULL, updated_at FLOAT NOT NULL, document {bytes} NOT NULL);
INSERT INTO tocsin_schema VALUES (1);
INSERT INTO offsets VALUES ('events', 0, 17);
"""


@pytest.fixture
def database(location: str | Path) -> Database:
    return Database(location)


def make_first(database: Database, kind: str) -> None:
    with database.writing() as connection:
        for statement in FIRST.format(bytes="BYTEA" if kind == "postgresql" else "BLOB").split(";")[:-1]:
            connection.execute(text(statement))


def shape(database: Database) -> dict[str, object]:
    """Names of columns, keys and indexes by table."""
    with database.writing() as connection:
        found = inspect(connection)
        return {
            table: (
                sorted((column["name"], column["nullable"]) for column in found.get_columns(table)),
                found.get_pk_constraint(table)["constrained_columns"],
                sorted((index["name"] or "", index["column_names"]) for index in found.get_indexes(table)),
            )
            for table in found.get_table_names()
        }


def dialect(database: Database) -> str:
    with database.writing() as connection:
        return connection.dialect.name


def test_a_store_of_the_first_version_becomes_like_a_new_one(database: Database, tmp_path: Path) -> None:
    with closing(database):
        make_first(database, dialect(database))
        prepare(database)
        prepare(database)  # and then there is nothing left to do
        with closing(Database(tmp_path / "new.db")) as new:
            prepare(new)
            expected = shape(new)
        # In SQLite a key made of VARCHAR alone may be null by the letter, and no row of ours has one.
        assert {table: columns[1:] for table, columns in shape(database).items()} == {
            table: columns[1:] for table, columns in expected.items()
        }
        assert {table: [name for name, _ in columns[0]] for table, columns in shape(database).items()} == {
            table: [name for name, _ in columns[0]] for table, columns in expected.items()
        }
        rows = database.read(text("SELECT next_offset FROM offsets WHERE topic = 'events' AND number = 0"))
        assert [row[0] for row in rows] == [17]


def test_a_step_that_fails_leaves_the_store_as_it_was(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(text("SELECT 1 FROM nowhere"))

    notes = Table("notes", MetaData(), Column("id", Integer, primary_key=True))
    with closing(database):
        prepare(database)
        before = shape(database)
        monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, add(notes), fail))
        with pytest.raises(StoreError, match="nowhere"):
            prepare(database)
        assert shape(database) == before
        monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS[:-1],))
        prepare(database)
        assert shape(database).keys() == before.keys() | {"notes"}
        assert [row[0] for row in database.read(text("SELECT version FROM tocsin_schema"))] == [schema_version()]


def test_a_database_of_somebody_else_is_left_alone(database: Database) -> None:
    with closing(database):
        with database.writing() as connection:
            connection.execute(text("CREATE TABLE customers (id INTEGER)"))
        with pytest.raises(StoreError, match="not one of Tocsin's"):
            prepare(database)
        assert shape(database).keys() == {"customers"}


def test_replicas_that_start_at_once_make_one_store(postgres: Postgres) -> None:
    location = postgres.create()
    failed: list[BaseException] = []

    def open_one() -> None:
        try:
            Store(location).close()
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_what_a_postgresql_does_not_accept_is_told_without_the_password(postgres: Postgres) -> None:
    nowhere = postgres.url().replace(f":{postgres.port}/", ":1/")
    with pytest.raises(StoreError, match=r"store 127\.0\.0\.1:1/postgres: .*connection failed") as caught:
        Store(nowhere)
    assert caught.value.passing
    assert "hunter2" not in str(caught.value)
