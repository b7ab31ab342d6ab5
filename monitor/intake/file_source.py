"""Records out of JSONL files, plain or gzipped: recorded events for replay, backtests and the demo."""

import gzip
import io
import os
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from monitor.intake.source import Jump, Partition, Positions, Record, SourceError

_MOST_BYTES = 16 * 2**20
"""Values that one poll returns end after this many bytes, however few records they are."""
_CHUNK = 2**16


class FileSource:
    """Reads files one after the other; each is one partition, and a record's offset is its line number, from 0.

    The line `null` is a tombstone, and empty lines are no records. A name that ends in `.gz` is read as gzip.

    Args:
        paths: the files, in the order in which to read them.
        max_records: most records of one poll.
        max_line_bytes: of a longer line only the first `max_line_bytes + 1` bytes are read into memory and given;
            a decoder with the same limit then refuses it as too large.
    """

    def __init__(self, paths: Sequence[Path], *, max_records: int = 500, max_line_bytes: int = 1_000_000) -> None:
        self._paths = {Partition(str(path), 0): path for path in paths}
        if not paths or len(self._paths) < len(paths):
            raise SourceError("no file is given" if not paths else "the same file is given twice")
        self._max_records = max_records
        self._max_line_bytes = max_line_bytes
        self._sizes: dict[Partition, int] = {}
        self._records: Generator[Record] | None = None
        self._reading: tuple[Partition, BinaryIO] | None = None
        self._done: set[Partition] = set()
        self._held: set[Partition] = set()
        self._lines_read = 0
        self._failure: SourceError | None = None

    def start(self, positions: Positions) -> None:
        """Check that every file can be read. Raises SourceError with the name of the one that cannot."""
        for partition, path in self._paths.items():
            if path.is_dir() or not os.access(path, os.R_OK):
                raise SourceError(f"{path}: {'is a directory' if path.is_dir() else 'cannot be read'}")
            self._sizes[partition] = path.stat().st_size
        self._records = self._read_all(positions(tuple(self._paths)))

    def poll(self, timeout: float) -> Sequence[Record]:  # noqa: ARG002 - a file never makes anybody wait
        """Return the next records. Raises SourceError at a damaged place, after all that was before it was given."""
        if self._failure is not None:
            raise self._failure
        records: list[Record] = []
        size = 0
        try:
            for record in self._records or ():
                records.append(record)
                size += len(record.value or b"")
                if len(records) >= self._max_records or size >= _MOST_BYTES:
                    break
        except SourceError as error:
            self._failure = error
            if not records:
                raise
        return records

    def jumps(self) -> Sequence[Jump]:
        """None: a file that was not read yet begins at its first line."""
        return ()

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Nothing to tell: files have no lag tools."""

    def hold(self, partition: Partition) -> None:
        """Leave the rest of one file unread."""
        self._held.add(partition)

    def lag(self, *, ask: bool = False) -> Mapping[Partition, int]:  # noqa: ARG002 - a file says it by itself
        """Lines not read yet, estimated from the bytes left and the length of the lines so far; exact when it is 0."""
        line = self.bytes_read / self._lines_read if self._lines_read else _CHUNK
        return {
            partition: 0 if partition in self._done else max(1, round((size - self._position(partition)) / line))
            for partition, size in self._sizes.items()
        }

    @property
    def ready(self) -> bool:
        """True between start and close."""
        return self._records is not None

    @property
    def finished(self) -> bool:
        """True when the last record was given; at the latest after the first poll that returned none."""
        return bool(self._sizes) and self._failure is None and self._done | self._held >= self._paths.keys()

    @property
    def bytes_total(self) -> int:
        """Size of all files on disk, for a progress bar."""
        return sum(self._sizes.values())

    @property
    def bytes_read(self) -> int:
        """How many of these bytes have been read; held files count as read."""
        return sum(map(self._position, self._sizes))

    def close(self) -> None:
        """Close the file being read."""
        if self._records is not None:
            self._records.close()
            self._records = None

    def _position(self, partition: Partition) -> int:
        if partition in self._done or partition in self._held:
            return self._sizes[partition]
        if self._reading is not None and self._reading[0] == partition:
            return self._reading[1].tell()
        return 0

    def _read_all(self, positions: Mapping[Partition, int]) -> Generator[Record]:
        for partition, path in self._paths.items():
            if partition not in self._held:
                yield from self._read(partition, path, positions.get(partition, 0))

    def _read(self, partition: Partition, path: Path, start: int) -> Generator[Record]:
        number = 0
        try:
            with path.open("rb") as file, closing(_lines(file, path, self._max_line_bytes + 1)) as lines:
                self._reading = (partition, file)
                for line in lines:
                    self._lines_read += 1
                    if number >= start and line:
                        yield Record(partition, number, None if line == b"null" else line, 0.0)
                    number += 1
                    if partition in self._held:
                        return
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{path}: line {number + 1} cannot be read: {error}") from error
        finally:
            self._reading = None
        if number < start:
            raise SourceError(f"{path}: has {number} lines, but {start} were read before: it is not the same file")
        self._done.add(partition)


def _lines(file: BinaryIO, path: Path, limit: int) -> Generator[bytes]:
    """Lines without their end, cut off at `limit` bytes, in memory of about that size."""
    stream: BinaryIO = file
    if path.suffix == ".gz":
        stream = io.BufferedReader(gzip.GzipFile(fileobj=file), _CHUNK)
    while line := stream.readline(limit):
        if len(line) == limit and not line.endswith(b"\n"):
            while (rest := stream.readline(_CHUNK)) and not rest.endswith(b"\n"):
                pass
            yield line
        else:
            yield line.removesuffix(b"\n").removesuffix(b"\r")
