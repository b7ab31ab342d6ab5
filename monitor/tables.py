"""The tables of the store. To change them, append a step to `monitor/migrations.py` as well.

`document` is the whole value as msgpack, which keeps infinities and needs no migration when a value gets a
new optional field; the columns beside it are what queries need, and what a person at a database shell reads.
"""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, String, Table

METADATA = MetaData()
SCHEMA = Table("tocsin_schema", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))
OFFSETS = Table(
    "offsets",
    METADATA,
    Column("topic", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)
STATES = Table(
    "states",
    METADATA,
    Column("name", String, primary_key=True),
    Column("format", Integer, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("blob", LargeBinary, nullable=False),
)
INCIDENTS = Table(
    "incidents",
    METADATA,
    Column("id", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("status", String, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
MESSAGES = Table(
    "messages",
    METADATA,
    Column("id", String, primary_key=True),
    Column("receiver", String, nullable=False),
    Column("incident", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("attempts", Integer, nullable=False),
    Column("error", String, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Index("messages_in_order", "state", "receiver", "incident", "number"),
)
ACTIONS = Table(
    "actions",
    METADATA,
    Column("incident", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("state", String, nullable=False),
    Column("requested_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
