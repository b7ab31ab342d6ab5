"""What people say beside the daemon, in the store: silences, and decisions that it has not taken up yet."""

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, bindparam, delete, select

from alerting.decision import Decision
from alerting.mutes import Silence
from monitor.store.audit import Act
from monitor.store.audit_table import append
from monitor.store.database import Database
from monitor.store.tables import DECISIONS, SILENCES


class DeskTable:
    """Safe to share between threads and processes; every method may raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def silences(self, after: float = float("-inf")) -> list[Silence]:
        """Silences that end after this (epoch seconds), the one that ends first first."""
        query = select(SILENCES.c.id, SILENCES.c.document).where(SILENCES.c.ends_at > after)
        rows = self._database.read(query.order_by(SILENCES.c.ends_at, SILENCES.c.id))
        return [self._database.decoded(SILENCES, (name,), document, Silence) for name, document in rows]

    def save(self, silence: Silence) -> None:
        """Insert or replace a silence."""
        row = {"id": silence.id, "ends_at": silence.ends_at, "document": msgspec.msgpack.encode(silence)}
        with self._database.writing() as connection:
            self._database.put(connection, SILENCES, [row])
            append(self._database, connection, [_of_silence(silence)])

    def decisions(self) -> list[Decision]:
        """What has been decided and not taken up, the oldest first."""
        query = select(DECISIONS.c.id, DECISIONS.c.document).order_by(DECISIONS.c.decided_at, DECISIONS.c.id)
        rows = self._database.read(query)
        return [self._database.decoded(DECISIONS, (name,), document, Decision) for name, document in rows]

    def decide(self, decision: Decision) -> None:
        """Leave a decision for the daemon."""
        row = {
            "id": decision.id,
            "incident": decision.incident,
            "decided_at": decision.decided_at,
            "document": msgspec.msgpack.encode(decision),
        }
        with self._database.writing() as connection:
            self._database.put(connection, DECISIONS, [row], replace=False)
            asked = Act(decision.decided_at, decision.by, f"incident.{decision.verb}", decision.incident)
            append(self._database, connection, [asked])


def settle(connection: Connection, decisions: Collection[str]) -> None:
    """Forget decisions that have been taken up, by id, in the transaction that writes what came of them."""
    if decisions:
        gone = delete(DECISIONS).where(DECISIONS.c.id == bindparam("gone"))
        connection.execute(gone, [{"gone": name} for name in decisions])


def _of_silence(silence: Silence) -> Act:
    if silence.expired_by is not None:
        return Act(silence.ends_at, silence.expired_by, "silence.ended", silence.id, detail=_words(silence))
    return Act(silence.starts_at, silence.author, "silence.set", silence.id, detail=_words(silence))


def _words(silence: Silence) -> str:
    return f"{', '.join(map(str, silence.matchers))}: {silence.comment}"
