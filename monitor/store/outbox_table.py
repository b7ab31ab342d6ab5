"""The outbox in the store: messages that are to be sent, and what became of them."""

import msgspec
from sqlalchemy import Update, and_, delete, exists, func, or_, select, update

from alerting.incident import Status, Transition
from alerting.outbox import DeadLetter, Message
from monitor.store.audit import Act
from monitor.store.audit_table import append
from monitor.store.database import Database
from monitor.store.fence import Holding
from monitor.store.tables import INCIDENTS, MESSAGES

LONGEST_WAIT = 86_400.0
"""Seconds; longer than any receiver's pause."""


class OutboxTable:
    """Implements `alerting.outbox.Outbox`. Safe to share between threads; every method may raise StoreError."""

    def __init__(self, database: Database, holding: Holding) -> None:
        self._database = database
        self._holding = holding

    def due(self, now: float, limit: int) -> list[Message]:
        """Messages of shards held here whose time has come, oldest first; of each (incident, receiver) the first."""
        message, earlier = MESSAGES.c, MESSAGES.alias("earlier").c
        blocked = exists().where(
            earlier.state == "pending",
            earlier.receiver == message.receiver,
            earlier.incident == message.incident,
            earlier.number < message.number,
        )
        # What waits for longer than any pause was to last is due as well: the wall clock has been set back.
        ready = or_(message.due_at <= now, message.due_at > now + LONGEST_WAIT)
        before = MESSAGES.alias("before").c
        receipt = (
            select(before.receipt)
            .where(
                before.receiver == message.receiver, before.incident == message.incident, before.receipt.is_not(None)
            )
            .order_by(before.finished_at.desc(), before.number.desc())
            .limit(1)
            .scalar_subquery()
        )
        query = (
            select(message.id, message.receiver, message.document, message.created_at, message.attempts, receipt)
            .where(message.state == "pending", ready, ~blocked, self._holding.holds(message.shard))
            .order_by(message.created_at, message.incident, message.number, message.receiver)
            .limit(limit)
        )
        return [
            Message(receiver, self._database.decoded(MESSAGES, (name,), document, Transition), *rest)
            for name, receiver, document, *rest in self._database.read(query)
        ]

    def delivered(self, message: Message, now: float, receipt: str | None = None) -> None:
        """Record that the receiver has accepted the message, and what it gave back."""
        self._settle(message, state="delivered", finished_at=now, receipt=receipt)

    def heard(self, incident: str) -> set[str]:
        """The receivers that messages about an incident have been written for."""
        query = select(MESSAGES.c.receiver).where(MESSAGES.c.incident == incident).distinct()
        return {row.receiver for row in self._database.read(query)}

    def told(self, receiver: str) -> list[Transition]:
        """The newest delivered step of each incident that is not over, even if its end could not be delivered."""
        message, later = MESSAGES.c, MESSAGES.alias("later").c
        followed = exists().where(
            later.state == "delivered",
            later.receiver == message.receiver,
            later.incident == message.incident,
            or_(later.number > message.number, and_(later.number == message.number, later.id > message.id)),
        )
        query = (
            select(message.id, message.incident, message.state, message.document)
            .where(message.receiver == receiver, ~followed, self._holding.holds(message.shard))
            .order_by(message.incident, message.number, message.id)
        )
        newest: dict[str, Transition] = {}
        for name, incident, state, document in self._database.read(query):
            step = self._database.decoded(MESSAGES, (name,), document, Transition)
            if step.incident.status is Status.RESOLVED:
                newest.pop(incident, None)
            elif state == "delivered":
                newest[incident] = step
        return list(newest.values())

    def retry(self, message: Message, at: float, error: str) -> None:
        """Record a failed attempt and when to try again (epoch seconds)."""
        self._settle(message, due_at=at, error=_text(error))

    def dead(self, message: Message, now: float, error: str) -> None:
        """Record that the receiver will never accept the message; it stays visible and blocks nothing."""
        self._settle(message, state="dead", finished_at=now, error=_text(error))

    def counts(self) -> dict[tuple[str, str], int]:
        """How many messages there are by (receiver, state); the states are pending, delivered, dead, discarded."""
        by = MESSAGES.c.receiver, MESSAGES.c.state
        return {(row[0], row[1]): row[2] for row in self._database.read(select(*by, func.count()).group_by(*by))}

    def oldest_pending(self) -> dict[str, float]:
        """When the oldest message that is still to be delivered was written, epoch seconds, by receiver."""
        waiting = select(MESSAGES.c.receiver, func.min(MESSAGES.c.created_at)).where(MESSAGES.c.state == "pending")
        return {row[0]: row[1] for row in self._database.read(waiting.group_by(MESSAGES.c.receiver))}

    def dead_letters(self) -> list[DeadLetter]:
        """Every dead message, oldest first."""
        message, later = MESSAGES.c, MESSAGES.alias("later").c
        overtaken = exists().where(
            later.state == "delivered",
            later.receiver == message.receiver,
            later.incident == message.incident,
            later.number > message.number,
        )
        columns = message.id, message.receiver, message.document, message.created_at, message.attempts
        query = (
            select(*columns, message.finished_at, message.error, overtaken)
            .where(message.state == "dead")
            .order_by(message.created_at, message.incident, message.number, message.receiver)
        )
        return [
            DeadLetter(
                Message(
                    receiver, self._database.decoded(MESSAGES, (name,), document, Transition), created_at, attempts
                ),
                *rest,
            )
            for name, receiver, document, created_at, attempts, *rest in self._database.read(query)
        ]

    def resend(self, identity: str, by: str, now: float) -> bool:
        """Make a dead message due again, as if it were new; False if there is no such dead message.

        Args:
            identity: of the message.
            by: who says so, for the audit log.
            now: epoch seconds.
        """
        anew = {"state": "pending", "due_at": 0.0, "finished_at": None, "attempts": 0, "error": ""}
        return self._change_dead(update(MESSAGES).values(anew), Act(now, by, "message.resent", identity))

    def discard(self, identity: str, by: str, now: float) -> bool:
        """Count a message as dead no more, and never send it; False if there is no such dead message. See `resend`."""
        discarded = update(MESSAGES).values(state="discarded")
        return self._change_dead(discarded, Act(now, by, "message.discarded", identity))

    def _change_dead(self, change: Update, act: Act) -> bool:
        with self._database.writing() as connection:
            dead = change.where(MESSAGES.c.id == act.subject, MESSAGES.c.state == "dead")
            found = connection.execute(dead).rowcount > 0
            append(self._database, connection, [act] if found else [])
            return found

    def prune(self, before: float) -> int:
        """Forget messages delivered or discarded before this (epoch seconds); dead ones stay. Returns how many went.

        Those of open incidents stay as well: they say what a receiver knows, and where it keeps it.
        """
        going_on = select(INCIDENTS.c.id).where(INCIDENTS.c.status != Status.RESOLVED.value)
        over = MESSAGES.c.incident.not_in(going_on)
        done = MESSAGES.c.state.in_(("delivered", "discarded"))
        old = delete(MESSAGES).where(done, MESSAGES.c.finished_at < before, over)
        with self._database.writing() as connection:
            return connection.execute(old).rowcount

    def _settle(self, message: Message, **values: object) -> None:
        # Only a pending message changes: what was delivered stays delivered, whoever comes late.
        pending = MESSAGES.c.id == message.id, MESSAGES.c.state == "pending"
        with self._database.writing() as connection:
            attempts = MESSAGES.c.attempts + 1
            connection.execute(update(MESSAGES).where(*pending).values(attempts=attempts, **values))


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
        "receipt": None,
        "document": msgspec.msgpack.encode(message.transition),
    }


def _text(error: str) -> str:
    """What a receiver answered, without what PostgreSQL refuses in a text."""
    return error.replace("\0", " ")
