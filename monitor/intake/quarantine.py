"""Where records go that are no events, and when there are so many of them that somebody must look.

A quarantined record keeps its bytes and its origin, so that it can be repaired and sent again.
"""

import base64
import errno
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Protocol, Self

import msgspec
from pydantic import Field, model_validator

from alerting.section import Section
from monitor.intake.decode import DecodeError
from monitor.intake.source import Partition, Record

MOST_BYTES = 1_000_000
"""Of a longer value only the beginning is kept; a Kafka broker takes little more by default."""


class QuarantineError(Exception):
    """A record could not be kept; one clear line without payload or secrets."""

    passing = True
    """A new quarantine may be able to."""


class Quarantine(Protocol):
    """Keeps what could not be decoded. After a crash a record may be kept twice, under the same origin."""

    def keep(self, record: Record, error: DecodeError) -> None:
        """Take a record in. Raises QuarantineError if that is not possible now."""

    def flush(self) -> None:
        """Return when everything taken in is durable; call it before the offsets behind it are stored.

        Raises:
            QuarantineError: something is not durable, and will not be: go on from the stored offsets, in a new process.
        """

    def close(self) -> None:
        """Release files and connections. Safe to call twice."""


class QuarantineConfig(Section):
    """The `quarantine` section: one place for bad records, and how many of them are too many."""

    topic: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,249}$")
    """A Kafka topic, which must exist."""
    file: Path = Path("quarantine.jsonl")
    """Used where no topic is given."""
    file_max_bytes: int = Field(default=10_000_000, ge=1_000)
    file_count: int = Field(default=5, ge=1)
    """How many files are kept; the oldest is deleted when the newest is full."""
    max_invalid_ratio: float = Field(default=0.5, gt=0, le=1)
    """A partition of which a larger share is bad is held, and somebody is told."""
    window: int = Field(default=1_000, ge=1)
    """The share is taken over so many records of the partition, the newest."""
    min_records: int = Field(default=100, ge=1)
    """It is not judged before the partition has given so many."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if {"topic", "file"} <= self.model_fields_set and self.topic is not None:
            raise ValueError("give `topic` or `file`, not both")
        if self.min_records > self.window:
            raise ValueError("min_records must not be larger than window")
        return self


class Publisher(Protocol):
    """A topic or a file to write to, record by record. Every call may raise QuarantineError."""

    def publish(self, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        """Hand one record over; it is sent in the background."""

    def flush(self) -> None:
        """Return when every record handed over is durable; once one has failed, never again."""

    def close(self) -> None:
        """Release the connection. Safe to call twice."""


def open_quarantine(config: QuarantineConfig, publisher: Callable[[str], Publisher]) -> Quarantine:
    """The quarantine that the configuration asks for; `publisher` makes the writer of a topic, by its name."""
    if config.topic is not None:
        return TopicQuarantine(publisher(config.topic))
    return FileQuarantine(config.file, max_bytes=config.file_max_bytes, count=config.file_count)


class TopicQuarantine:
    """Writes the original bytes and headers, with `tocsin-*` headers that say why and where they come from."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def keep(self, record: Record, error: DecodeError) -> None:
        """Hand the record to the publisher."""
        value = record.value or b""
        origin = {
            "tocsin-reason": error.reason.value,
            "tocsin-detail": error.detail,
            "tocsin-topic": record.partition.topic,
            "tocsin-partition": str(record.partition.number),
            "tocsin-offset": str(record.offset),
        }
        if len(value) > MOST_BYTES:
            origin["tocsin-truncated"] = str(len(value))
        headers = [*record.headers, *((name, text.encode()) for name, text in origin.items())]
        self._publisher.publish(value[:MOST_BYTES], headers)

    def flush(self) -> None:
        """Wait for the brokers."""
        self._publisher.flush()

    def close(self) -> None:
        """Close the publisher."""
        self._publisher.close()


class FilePublisher:
    """Writes one line a record, readable by the owner alone, into a bounded number of bounded files; see Publisher.

    Args:
        path: the newest file; older ones have `.1`, `.2` and so on appended.
        max_bytes: a file that is longer is full. One line may exceed it.
        count: how many files there are at most; a full one beyond them is deleted.
    """

    def __init__(self, path: Path, *, max_bytes: int = 10_000_000, count: int = 5) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._count = count
        self._file: FileIO | None = None

    def publish(self, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:  # noqa: ARG002 - a line has none
        """Append a line to the newest file."""
        with self._failing():
            file = self._room()
            # Unbuffered: a failed write has failed here and now, and not once more when the file is closed.
            if file.write(value + b"\n") <= len(value):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self) -> None:
        """Write to the disk."""
        if self._file is not None:
            with self._failing():
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; it is opened again when something is to be kept."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as failure:
            self.close()
            raise QuarantineError(f"{self._path}: {failure.strerror}") from failure

    def _room(self) -> FileIO:
        """The open newest file, with room in it."""
        if self._file is not None and self._file.tell() >= self._max_bytes:
            self.flush()
            self.close()
            self._shift()
        if self._file is None:
            self._file = FileIO(self._path, "a+", opener=_private)
            if self._file.tell():  # end a line that a crash cut off, so that the next one does not perish with it
                self._file.seek(-1, os.SEEK_END)
                if self._file.read(1) != b"\n":
                    self._file.write(b"\n")
        return self._file

    def _shift(self) -> None:
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._count))]
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.rename(older)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class FileQuarantine:
    """Writes one JSON object a line into files as `FilePublisher` has them, whose arguments it takes."""

    def __init__(self, path: Path, *, max_bytes: int = 10_000_000, count: int = 5) -> None:
        self._file = FilePublisher(path, max_bytes=max_bytes, count=count)

    def keep(self, record: Record, error: DecodeError) -> None:
        """Append the record to the newest file."""
        value = record.value
        line = {
            "reason": error.reason.value,
            "detail": error.detail,
            "topic": record.partition.topic,
            "partition": record.partition.number,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "headers": [[name, base64.b64encode(text).decode()] for name, text in record.headers],
            "bytes": len(value or b""),
            "value": None if value is None else base64.b64encode(value[:MOST_BYTES]).decode(),
        }
        self._file.publish(msgspec.json.encode(line))

    def flush(self) -> None:
        """Write to the disk."""
        self._file.flush()

    def close(self) -> None:
        """Close the file; it is opened again when something is to be kept."""
        self._file.close()


class InvalidRatio:
    """Of each partition, how many of the newest records were bad: a decision only, without any action.

    Args:
        max_ratio: the share above which a partition should be held, in (0, 1].
        window: how many of the newest records count.
        minimum: how many there must be before the share means anything.
    """

    def __init__(self, max_ratio: float = 0.5, window: int = 1_000, minimum: int = 100) -> None:
        self._max_ratio = max_ratio
        self._window = window
        self._minimum = minimum
        self._read: dict[Partition, int] = {}
        self._bad: dict[Partition, deque[int]] = {}
        """The numbers of the bad ones among the newest records of a partition."""

    def observe(self, partition: Partition, *, bad: bool) -> bool:
        """Take one record into account; True if the partition's share of bad records is now too large.

        A partition with a `max_ratio` of 1 is never held.
        """
        read = self._read[partition] = self._read.get(partition, 0) + 1
        numbers = self._bad.setdefault(partition, deque())
        if bad:
            numbers.append(read)
        while numbers and numbers[0] <= read - self._window:
            numbers.popleft()
        newest = min(read, self._window)
        return newest >= self._minimum and len(numbers) > self._max_ratio * newest

    def clean(self, partition: Partition) -> bool:
        """Whether none of the partition's newest records was bad."""
        return not self._bad.get(partition)

    def observe_good(self, partition: Partition, count: int) -> None:
        """Take so many good records of a clean partition into account."""
        self._read[partition] = self._read.get(partition, 0) + count
