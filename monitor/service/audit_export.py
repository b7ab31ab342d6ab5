"""The audit log is copied to a Kafka topic, in order and at least once: whoever rewrites the store is given away."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from monitor.store.audit_copy import entry_line, head_line
from monitor.store.store import Store

AT_ONCE = 500
"""Entries that one batch has at most."""
KEY = b"audit"
"""One key for all records, so that they stay in one partition, and in order."""


class Line(msgspec.Struct, frozen=True):
    """A record of the topic."""

    value: bytes
    key: bytes | None = KEY
    headers: tuple[tuple[str, bytes], ...] = ()


class Appender(Protocol):
    """Where the copy goes."""

    def append(self, records: Sequence[Line]) -> None:
        """Return when all of them last. Raises AppendError if not all are known to."""


def copy(store: Store, to: Appender) -> int:
    """Copy what was written since; return how many lines.

    What was copied is written down after it is there, so a crash in between, or another replica, copies it again.

    Raises:
        AppendError: the copy is behind; the next run goes on.
        StoreError: the store is away.
    """
    lines = 0
    while True:
        done = store.audit.copied()
        entries = store.audit.after(done.entry, limit=AT_ONCE)
        upto = entries[-1].number if entries else done.entry
        heads = [signed for signed in store.audit.heads() if done.head < signed.head.number <= upto]
        if not entries and not heads:
            return lines
        to.append([*(Line(entry_line(entry)) for entry in entries), *(Line(head_line(signed)) for signed in heads)])
        store.audit.set_copied(upto, max([done.head, *(signed.head.number for signed in heads)]))
        lines += len(entries) + len(heads)
