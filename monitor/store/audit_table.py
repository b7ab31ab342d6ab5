"""The audit log in the store. Nothing here changes or removes an entry."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, Executable, insert, select, update

from monitor.store.audit import Act, Broken, Entry, Head, SignedHead, chained, first_broken, sign, unsigned
from monitor.store.database import Database
from monitor.store.tables import AUDIT, AUDIT_COPY, AUDIT_END, AUDIT_HEADS

_PAGE = 1000


class Copied(NamedTuple):
    """The last entry, and the last signed head, that are known to be elsewhere, by number."""

    entry: int = 0
    head: int = 0


class Place(IntEnum):
    """Where it is copied to."""

    TOPIC = 1
    BUCKET = 2


class AuditTable:
    """Safe to share between threads and processes; every method may raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, *acts: Act) -> None:
        """Write acts that belong to no other transaction."""
        with self._database.writing() as connection:
            append(self._database, connection, acts)

    def entries(self, *, before: int | None = None, limit: int) -> list[Entry]:
        """The newest entries first; `before` this number."""
        query = select(AUDIT).order_by(AUDIT.c.number.desc()).limit(limit)
        return self._entries(query if before is None else query.where(AUDIT.c.number < before))

    def about(self, subject: str, *, limit: int) -> list[Entry]:
        """The newest entries about one thing, by its id; the newest first."""
        named = AUDIT.c.document.contains(f'"subject":{msgspec.json.encode(subject).decode()}', autoescape=True)
        found = self._entries(select(AUDIT).where(named).order_by(AUDIT.c.number.desc()).limit(limit))
        return [entry for entry in found if entry.act.subject == subject]

    def head(self) -> Head:
        """The end of the chain, as it was written down with the last entry."""
        rows = self._database.read(select(AUDIT_END.c.number, AUDIT_END.c.digest))
        return Head(rows[0].number, rows[0].digest) if rows else Head()

    def sign(self, key: Ed25519PrivateKey, now: float) -> Head | None:
        """Sign the head, if anything was written since it was signed last; return it then."""
        head, signed = self.head(), self.heads()
        if head.number == 0 or (signed and signed[-1].head == head):
            return None
        row = {"number": head.number, "digest": head.digest, "signed_at": now, "signature": sign(head, key).signature}
        with self._database.writing() as connection:  # two replicas may sign the same head
            self._database.put(connection, AUDIT_HEADS, [row], replace=False)
        return head

    def heads(self) -> list[SignedHead]:
        """All signed heads, the oldest first."""
        rows = self._database.read(select(AUDIT_HEADS).order_by(AUDIT_HEADS.c.number))
        return [SignedHead(Head(row.number, row.digest), bytes(row.signature)) for row in rows]

    def after(self, number: int, *, limit: int) -> list[Entry]:
        """The entries that come after this number, the oldest first."""
        return self._entries(select(AUDIT).where(AUDIT.c.number > number).order_by(AUDIT.c.number).limit(limit))

    def copied(self, to: Place) -> Copied:
        """How much of the log has been copied there."""
        rows = self._database.read(select(AUDIT_COPY.c.number, AUDIT_COPY.c.head).where(AUDIT_COPY.c.id == to.value))
        return Copied(rows[0].number, rows[0].head) if rows else Copied()

    def set_copied(self, to: Place, entry: int, head: int) -> None:
        """Write down how much has been; of two replicas that copy, the last word counts."""
        with self._database.writing() as connection:
            self._database.put(connection, AUDIT_COPY, [{"id": to.value, "number": entry, "head": head}])

    def verify(self, key: Ed25519PublicKey | None, seen: Sequence[Head] = ()) -> Broken | Head:
        """Look through everything.

        Args:
            key: what heads must be signed with; None to take them unsigned.
            seen: heads that were noted down elsewhere.

        Returns:
            The first break, or the head of the intact chain.
        """
        signed = self.heads()
        forged = None if key is None else unsigned(signed, key)
        if forged is not None:
            return Broken(forged.head.number, "its head is not signed with this key")
        found = first_broken(self._all(), [*(each.head for each in signed), *seen, self.head()])
        end = self.head()
        if isinstance(found, Head) and found.number > end.number:  # somebody has added what nobody wrote
            return Broken(end.number + 1, "it comes after the end of the log")
        return found

    def _all(self) -> Iterator[Entry]:
        last = 0
        while page := self.after(last, limit=_PAGE):
            yield from page
            last = page[-1].number

    def _entries(self, query: Executable) -> list[Entry]:
        rows = self._database.read(query)
        # SQLite keeps what it is given, of whatever type: whoever tampers may have left something else than text.
        return [Entry(row.number, str(row.previous), str(row.document), str(row.digest)) for row in rows]


def append(database: Database, connection: Connection, acts: Sequence[Act]) -> None:
    """Write acts in the transaction that does what they say. Do it last: it waits for whoever else is writing some."""
    if not acts:
        return
    take_turn(database, connection)
    end = connection.execute(select(AUDIT_END.c.number, AUDIT_END.c.digest)).one()
    entries = list(chained(acts, Head(end.number, end.digest)))
    rows = [{"number": e.number, "previous": e.previous, "document": e.document, "digest": e.digest} for e in entries]
    connection.execute(insert(AUDIT), rows)
    connection.execute(update(AUDIT_END).values(number=entries[-1].number, digest=entries[-1].digest))


def take_turn(database: Database, connection: Connection) -> None:
    """Wait until no other transaction writes acts, and keep others waiting until this one ends.

    Do it after everything else that may wait for another transaction, or two of them wait for each other.
    """
    start = Head()
    database.put(connection, AUDIT_END, [{"id": 1, "number": start.number, "digest": start.digest}], replace=False)
    # An update, because that locks the row, whatever it changes.
    connection.execute(update(AUDIT_END).values(number=AUDIT_END.c.number))
