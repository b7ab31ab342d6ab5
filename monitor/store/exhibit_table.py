"""Exhibits in the store: the pictures' data, one row for each incident, written with the incident."""

import msgspec
from sqlalchemy import select

from monitor.pictures.exhibit import Exhibit
from monitor.store.database import Database
from monitor.store.tables import EXHIBITS


class ExhibitTable:
    """Safe to share between threads; every method may raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, incident: str) -> Exhibit | None:
        """What stood behind the incident with this id when it was told last."""
        rows = self._database.read(select(EXHIBITS.c.document).where(EXHIBITS.c.incident == incident))
        return self._database.decoded(EXHIBITS, (incident,), rows[0].document, Exhibit) if rows else None


def exhibit_row(incident: str, exhibit: Exhibit) -> dict[str, object]:
    """An exhibit as a row."""
    return {"incident": incident, "made_at": exhibit.made_at, "document": msgspec.msgpack.encode(exhibit)}
