"""What the store's rows look like: the tables, and how each value becomes a row.

`document` is the whole value as msgpack, which keeps infinities and needs no migration when a value gets a
new optional field; the columns beside it are what queries need, and what a person at a database shell reads.
"""

import hashlib

import msgspec
from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table

from alerting.incident import Incident
from alerting.outbox import Message
from monitor.action import Action
from monitor.source import Partition

SCHEMA_VERSION = 1
"""Raised with every change of the tables below; a store made by a later version is refused."""

STATE_FORMAT = 1
"""The envelope of a state blob: sha256 over name, format and blob."""

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
    Column("opened_at", Float, nullable=False),
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
    Column("created_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("finished_at", Float),
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
    Column("requested_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("document", LargeBinary, nullable=False),
)


def digest(name: str, blob: bytes) -> bytes:
    """The sha256 of a state; its name is in it, so that a blob under the wrong name is seen too."""
    sha256 = hashlib.sha256(f"{name}\0{STATE_FORMAT}\0".encode())
    sha256.update(blob)
    return sha256.digest()


def offset_row(partition: Partition, offset: int) -> dict[str, object]:
    """The next offset to read of a partition."""
    return {"topic": partition.topic, "number": partition.number, "next_offset": offset}


def state_row(name: str, blob: bytes) -> dict[str, object]:
    """A state, with what is needed to see that it is whole."""
    return {"name": name, "format": STATE_FORMAT, "sha256": digest(name, blob), "blob": blob}


def incident_row(incident: Incident) -> dict[str, object]:
    """An incident as it stands now."""
    return {
        "id": incident.id,
        "model": incident.model,
        "status": incident.status.value,
        "opened_at": incident.opened_at,
        "document": msgspec.msgpack.encode(incident),
    }


def message_row(message: Message) -> dict[str, object]:
    """A message that has not been sent."""
    return {
        "id": message.id,
        "receiver": message.receiver,
        "incident": message.transition.incident.id,
        "number": message.transition.number,
        "state": "pending",
        "created_at": message.created_at,
        "due_at": 0.0,  # at once, whatever the wall clock does meanwhile
        "finished_at": None,
        "attempts": message.attempts,
        "error": "",
        "document": msgspec.msgpack.encode(message.transition),
    }


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
