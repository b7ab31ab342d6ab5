"""From the tables that a store has to those that this version needs.

A new store gets the tables as they are now. One made by an earlier version is taken through the steps that it has not
been through, in the transaction that opens it. To change the tables: change `monitor/store/tables.py`, append a step.
"""

from collections.abc import Callable

from sqlalchemy import Connection, MetaData, Table, insert, inspect, select, text, update

from monitor.store.database import Database, StoreError
from monitor.store.tables import (
    ACTIONS,
    AUDIT,
    AUDIT_COPY,
    AUDIT_END,
    AUDIT_HEADS,
    DECISIONS,
    EXHIBITS,
    INCIDENTS,
    MARKS,
    MESSAGES,
    METADATA,
    OFFSETS,
    OWNERS,
    REPLIES,
    SCHEMA,
    SILENCES,
    STATES,
    STOPS,
)

Step = Callable[[Connection], None]


def add(table: Table) -> Step:
    """The step that makes a new table, with its indexes."""
    return lambda connection: table.create(connection, checkfirst=True)


def _divide(connection: Connection) -> None:
    """Everything gets the shard that it belongs to: until now there was one."""
    for table in (OFFSETS, INCIDENTS, MESSAGES, ACTIONS):
        connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN shard VARCHAR DEFAULT 'all' NOT NULL"))
    # Neither database adds a column to a primary key where the table is.
    anew = STATES.to_metadata(MetaData(), name="states_anew")
    anew.create(connection)
    old = [column for column in STATES.columns if column.name != "shard"]
    connection.execute(insert(anew).from_select([column.name for column in old], select(*old)))
    connection.execute(text("DROP TABLE states"))
    connection.execute(text("ALTER TABLE states_anew RENAME TO states"))
    OWNERS.create(connection)


def _keep_receipts(connection: Connection) -> None:
    """What receivers give back is kept beside the message."""
    connection.execute(text("ALTER TABLE messages ADD COLUMN receipt VARCHAR"))


STEPS: tuple[Step, ...] = (
    _divide,
    _keep_receipts,
    add(SILENCES),
    add(DECISIONS),
    add(STOPS),
    add(MARKS),
    *map(add, (AUDIT, AUDIT_END, AUDIT_HEADS)),
    add(EXHIBITS),
    add(REPLIES),
    add(AUDIT_COPY),
)
"""Each brings a store one version further; the first one leads from version 1 to version 2."""


def schema_version() -> int:
    """The version that a store has after all steps; one with a higher version was made by a later Tocsin."""
    return 1 + len(STEPS)


def prepare(database: Database) -> None:
    """Make the tables, or bring them up to date.

    Raises:
        StoreError: it cannot be done, the database is not Tocsin's, or it was made by a later version.
    """
    newest = schema_version()
    with database.writing() as connection:
        if database.alone:
            connection.exec_driver_sql(database.alone)
        names = inspect(connection).get_table_names()
        if not names:
            METADATA.create_all(connection)
            connection.execute(insert(SCHEMA).values(version=newest))
            return
        if SCHEMA.name not in names:
            raise StoreError(f"{database.where}: this is a database, but not one of Tocsin's")
        made: int = connection.execute(select(SCHEMA.c.version)).scalar_one()
        if made > newest:
            known = f"schema {made}, this one knows {newest}"
            raise StoreError(f"{database.where}: made by a later Tocsin ({known}): upgrade, or use another store")
        for step in STEPS[made - 1 :]:
            step(connection)
        connection.execute(update(SCHEMA).values(version=newest))
