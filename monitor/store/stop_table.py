"""The switch that stops all rollbacks, or those of one model, until somebody turns it back."""

import msgspec
from sqlalchemy import delete, select

from monitor.store.audit import Act
from monitor.store.audit_table import append
from monitor.store.database import Database
from monitor.store.tables import STOPS

ALL_MODELS = "*"


class Stop(msgspec.Struct, frozen=True):
    """Nothing is rolled back while it is there."""

    model: str
    """ALL_MODELS for all of them."""
    by: str
    at: float
    """Epoch seconds."""
    why: str = ""

    @property
    def told(self) -> str:
        """What it says about an action, as a clause."""
        what = "rollbacks" if self.model == ALL_MODELS else f"rollbacks of {self.model}"
        return f"{self.by} has stopped {what}{f' ({self.why})' if self.why else ''}"


class StopTable:
    """Which stops there are. Safe to share between threads; every method may raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Stop]:
        """Every stop, by model."""
        rows = self._database.read(select(STOPS.c.model, STOPS.c.document).order_by(STOPS.c.model))
        return [self._database.decoded(STOPS, (model,), document, Stop) for model, document in rows]

    def of(self, model: str) -> Stop | None:
        """What stops rollbacks of one model, or None."""
        return next((stop for stop in self.all() if stop.model in {ALL_MODELS, model}), None)

    def put(self, stop: Stop) -> None:
        """Stop; one that is there for the same model is replaced."""
        with self._database.writing() as connection:
            row = {"model": stop.model, "document": msgspec.msgpack.encode(stop)}
            self._database.put(connection, STOPS, [row])
            append(
                self._database, connection, [Act(stop.at, stop.by, "rollbacks.stopped", stop.model, detail=stop.why)]
            )

    def lift(self, model: str, by: str, now: float) -> bool:
        """Take a stop away, at `now` (epoch seconds), because `by` says so; False if there was none."""
        with self._database.writing() as connection:
            found = connection.execute(delete(STOPS).where(STOPS.c.model == model)).rowcount > 0
            if found:
                append(self._database, connection, [Act(now, by, "rollbacks.resumed", model)])
            return found
