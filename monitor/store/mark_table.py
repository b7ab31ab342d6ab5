"""Known-good marks in the store."""

import msgspec
from sqlalchemy import select

from monitor.rollback.mark import Mark
from monitor.store.audit import TOCSIN, Act
from monitor.store.audit_table import append
from monitor.store.database import Database
from monitor.store.tables import MARKS


class MarkTable:
    """One mark for each version. Safe to share between threads; every method may raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, model: str) -> dict[str, Mark]:
        """The marks of one model's versions."""
        rows = self._database.read(select(MARKS.c.version, MARKS.c.document).where(MARKS.c.model == model))
        return {version: self._database.decoded(MARKS, (model, version), document, Mark) for version, document in rows}

    def put(self, mark: Mark) -> None:
        """Remember a mark; what was known of the version is replaced."""
        row = {"model": mark.model, "version": mark.version, "document": msgspec.msgpack.encode(mark)}
        did = "withdrawn" if mark.withdrawn else "proposed" if mark.proposed else "given"
        actor = mark.vouchers[-1] if mark.vouchers else TOCSIN
        with self._database.writing() as connection:
            self._database.put(connection, MARKS, [row])
            append(self._database, connection, [Act(mark.at, actor, f"mark.{did}", mark.version, mark.model, mark.why)])
