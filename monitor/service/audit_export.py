"""The audit log is copied to where whoever rewrites the store cannot reach it, in order and at least once."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Protocol

import msgspec

from monitor.intake.kafka_appender import KafkaAppender
from monitor.service.config import Config
from monitor.service.jobs import Job
from monitor.store.audit_copy import entry_line, head_line
from monitor.store.audit_table import Place
from monitor.store.bucket import Bucket
from monitor.store.store import Store

AT_ONCE = 500
"""Entries that one batch has at most."""
COPY_TIMEOUT = 20.0
"""Seconds that Kafka may take for a part of the audit log."""
KEY = b"audit"
"""One key for all records, so that they stay in one partition, and in order."""


class Line(msgspec.Struct, frozen=True):
    """A line of the copy."""

    value: bytes
    number: int
    """Of the entry that it is about."""
    key: bytes | None = KEY
    headers: tuple[tuple[str, bytes], ...] = ()


class Appender(Protocol):
    """Where the copy goes."""

    def append(self, records: Sequence[Line]) -> None:
        """Return when all of them last. Raises AppendError or BucketError if not all are known to."""


def copy(store: Store, place: Place, to: Appender) -> int:
    """Copy what was written since; return how many lines.

    What was copied is written down after it is there, so a crash in between, or another replica, copies it again.

    Raises:
        AppendError: the topic does not take it now; the next run goes on.
        BucketError: nor does the bucket.
        StoreError: the store is away.
    """
    count = 0
    while True:
        done = store.audit.copied(place)
        entries = store.audit.after(done.entry, limit=AT_ONCE)
        upto = entries[-1].number if entries else done.entry
        heads = [signed for signed in store.audit.heads() if done.head < signed.head.number <= upto]
        if not entries and not heads:
            return count
        lines = [Line(entry_line(entry), entry.number) for entry in entries]
        lines += [Line(head_line(signed), signed.head.number) for signed in heads]
        to.append(lines)
        store.audit.set_copied(place, upto, max([done.head, *(signed.head.number for signed in heads)]))
        count += len(lines)


def copies(config: Config, store: Store, stack: ExitStack) -> Iterator[Job]:
    """The jobs that copy the audit log; what they hold open is closed with the stack."""
    if (topic := config.audit.topic) is not None:
        appender = stack.enter_context(closing(KafkaAppender(config.kafka, topic, COPY_TIMEOUT)))
        yield Job("audit copy", 5.0, lambda: copy(store, Place.TOPIC, appender))
    if config.audit.bucket is not None:
        bucket = stack.enter_context(closing(Bucket(config.audit.bucket, time.time)))
        yield Job("audit bucket", 60.0, lambda: copy(store, Place.BUCKET, bucket))
