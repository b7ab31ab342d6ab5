"""The tables of the store. To change them, append a step to `monitor/store/migrations.py` as well.

`document` is the whole value as msgpack, which keeps infinities and needs no migration when a value gets a
new optional field; the columns beside it are what queries need, and what a person at a database shell reads.
"""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, String, Table

WHOLE = "all"
"""The shard that everything belongs to where the stream is not divided."""

METADATA = MetaData()


def _shard(*, key: bool = False) -> Column[str]:
    """Whose owner alone may change a row: see `monitor/service/shard.py`."""
    return Column("shard", String, primary_key=key, nullable=False, server_default=WHOLE)


SCHEMA = Table("tocsin_schema", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))
OWNERS = Table(
    "owners",
    METADATA,
    Column("shard", String, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", String, nullable=False),
    Column("claimed_at", Double, nullable=False),
)
OFFSETS = Table(
    "offsets",
    METADATA,
    Column("topic", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
    _shard(),
)
STATES = Table(
    "states",
    METADATA,
    _shard(key=True),
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
    _shard(),
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
    Column("receipt", String),
    Column("document", LargeBinary, nullable=False),
    _shard(),
    Index("messages_in_order", "state", "receiver", "incident", "number"),
)
STOPS = Table(
    "stops",
    METADATA,
    Column("model", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)
MARKS = Table(
    "marks",
    METADATA,
    Column("model", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
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
    _shard(),
)
SILENCES = Table(
    "silences",
    METADATA,
    Column("id", String, primary_key=True),
    Column("ends_at", Double, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
DECISIONS = Table(
    "decisions",
    METADATA,
    Column("id", String, primary_key=True),
    Column("incident", String, nullable=False),
    Column("decided_at", Double, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
AUDIT = Table(
    "audit",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("previous", String, nullable=False),
    Column("document", String, nullable=False),
    Column("digest", String, nullable=False),
)
AUDIT_END = Table(
    "audit_end",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
)
AUDIT_HEADS = Table(
    "audit_heads",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String, nullable=False),
    Column("signed_at", Double, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
AUDIT_COPY = Table(
    "audit_copy",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("head", BigInteger, nullable=False),
)
REPLIES = Table(
    "replies",
    METADATA,
    Column("who", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("made_at", Double, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
EXHIBITS = Table(
    "exhibits",
    METADATA,
    Column("incident", String, primary_key=True),
    Column("made_at", Double, nullable=False),
    Column("document", LargeBinary, nullable=False),
    _shard(),
)

SEALED = {
    STATES: "blob",
    **dict.fromkeys(
        (INCIDENTS, MESSAGES, STOPS, MARKS, ACTIONS, SILENCES, DECISIONS, REPLIES, EXHIBITS),
        "document",
    ),
}
"""What is encrypted where there is a key, by table: see `monitor/store/vault.py`."""
