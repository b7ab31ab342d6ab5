"""Answers to changes that people may ask for twice, in the store."""

import msgspec
from sqlalchemy import ColumnElement, delete, select, update

from monitor.store.database import Database
from monitor.store.tables import REPLIES

KEPT = 86400.0
"""Seconds for which an answer is kept."""


class Reply(msgspec.Struct, frozen=True):
    """What is known of a call that was made under a key."""

    request: str
    """The digest of what was asked for."""
    status: int | None = None
    """The HTTP status of the answer; None while there is none."""
    body: bytes = b""
    """The answer as JSON; of an error, its sentence."""


class ReplyTable:
    """One reply for each key of somebody. Safe to share between threads; every method may raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, who: str, key: str, request: str, now: float) -> Reply | None:
        """Take a key for a day, from `now` in epoch seconds; or, if it is taken, what is known of the call."""
        new = {"who": who, "key": key, "made_at": now, "document": msgspec.msgpack.encode(Reply(request))}
        with self._database.writing() as connection:
            connection.execute(delete(REPLIES).where(REPLIES.c.made_at < now - KEPT))
            if self._database.put(connection, REPLIES, [new], replace=False):
                return None
            known = select(REPLIES.c.document).where(*_this(who, key))
            return self._database.decoded(REPLIES, (who, key), connection.execute(known).scalar_one(), Reply)

    def end(self, who: str, key: str, reply: Reply | None) -> None:
        """Keep the answer; None gives the key back, because nothing was done."""
        this = _this(who, key)
        with self._database.writing() as connection:
            if reply is None:
                connection.execute(delete(REPLIES).where(*this))
            else:
                row = {"who": who, "key": key, "document": msgspec.msgpack.encode(reply)}
                connection.execute(update(REPLIES).where(*this).values(self._database.sealed(REPLIES, row)))


def _this(who: str, key: str) -> tuple[ColumnElement[bool], ...]:
    return REPLIES.c.who == who, REPLIES.c.key == key
