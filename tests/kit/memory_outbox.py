"""An outbox in memory, for tests of what delivers from one."""

from collections.abc import Sequence

import msgspec

from alerting.incident import Status, Transition
from alerting.outbox import Message


class MemoryOutbox:
    """Keeps every message it was ever given, so that a test can see what became of each."""

    def __init__(self) -> None:
        self.waiting: dict[str, Message] = {}
        self.ready_at: dict[str, float] = {}
        self.delivered_at: dict[str, float] = {}
        self.errors: dict[str, str] = {}
        """The newest error of each message."""
        self.dead_ids: set[str] = set()
        self.written: list[Message] = []
        self.receipts: dict[tuple[str, str], str] = {}

    def add(self, *messages: Message) -> None:
        for message in messages:
            if message.id not in self.delivered_at and message.id not in self.dead_ids:
                self.waiting.setdefault(message.id, message)
                self.written.append(message)

    def due(self, now: float, limit: int) -> Sequence[Message]:
        heads: dict[tuple[str, str], Message] = {}
        for message in sorted(self.waiting.values(), key=lambda m: m.transition.number):
            heads.setdefault((message.transition.incident.id, message.receiver), message)
        ready = [m for m in heads.values() if self.ready_at.get(m.id, 0.0) <= now]
        return [
            msgspec.structs.replace(m, receipt=self.receipts.get((m.receiver, m.transition.incident.id)))
            for m in sorted(ready, key=lambda m: m.created_at)[:limit]
        ]

    def delivered(self, message: Message, now: float, receipt: str | None = None) -> None:
        if self.waiting.pop(message.id, None):
            self.delivered_at[message.id] = now
            if receipt is not None:
                self.receipts[message.receiver, message.transition.incident.id] = receipt

    def told(self, receiver: str) -> Sequence[Transition]:
        newest: dict[str, Transition] = {}
        for message in sorted(self.written, key=lambda m: m.transition.number):
            if message.receiver != receiver:
                continue
            incident = message.transition.incident
            if incident.status is Status.RESOLVED:
                newest.pop(incident.id, None)
            elif message.id in self.delivered_at:
                newest[incident.id] = message.transition
        return list(newest.values())

    def retry(self, message: Message, at: float, error: str) -> None:
        if stored := self.waiting.get(message.id):
            self.waiting[message.id] = msgspec.structs.replace(stored, attempts=stored.attempts + 1)
            self.ready_at[message.id] = at
            self.errors[message.id] = error

    def dead(self, message: Message, now: float, error: str) -> None:  # noqa: ARG002  the port's signature
        if self.waiting.pop(message.id, None):
            self.dead_ids.add(message.id)
            self.errors[message.id] = error
