"""Where records come from: the port that the Kafka source and the file source implement."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """One ordered sequence of records: a topic's partition, or a file (partition 0)."""

    topic: str
    number: int


class Record(NamedTuple):
    """One record as it was read, undecoded."""

    partition: Partition
    offset: int
    value: bytes | None
    """The payload; None is a tombstone."""
    timestamp: float
    """Epoch seconds the transport gave the record; 0.0 where it has none."""
    headers: tuple[tuple[str, bytes], ...] = ()


class Jump(NamedTuple):
    """A position that the source had to choose itself."""

    partition: Partition
    wanted: int | None
    """Where the store wanted to go on; None if the store knew of no position."""
    offset: int
    """Where it goes on."""


Positions = Callable[[Sequence[Partition]], Mapping[Partition, int]]
"""Asked on every assignment: the offset to go on from, for each partition that has one in the store."""


class SourceError(Exception):
    """The source cannot go on; the message is one clear line without secrets.

    Attributes:
        passing: a new source may be able to.
    """

    def __init__(self, message: str, *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


class EventSource(Protocol):
    """Gives each record once and in order per partition, starting where the store says.

    The source never decides by itself what has been processed: positions come from the store, and offsets
    committed to the transport are for its lag tools only.
    """

    def start(self, positions: Positions) -> None:
        """Connect and begin. Raises SourceError if the transport cannot be reached or does not have the topics."""

    def poll(self, timeout: float) -> Sequence[Record]:
        """Return up to the configured number of records, waiting at most `timeout` seconds for the first."""

    def jumps(self) -> Sequence[Jump]:
        """Positions chosen since the last call. No record from behind one is given before it was asked for.

        They have to be made durable before anything else: deciding anew, after a restart or on another replica, could
        lead somewhere else.
        """

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell the transport the next offset of each partition, for its lag tools. Failing is logged, not fatal."""

    def hold(self, partition: Partition) -> None:
        """Stop reading one partition until the process is started again."""

    def lag(self, *, ask: bool = False) -> Mapping[Partition, int]:
        """Records not read yet, for each partition assigned here of which it is known.

        `ask` wants it from the transport, and not from what it last said by itself.
        """

    @property
    def ready(self) -> bool:
        """True once partitions are assigned and positions are set."""

    @property
    def finished(self) -> bool:
        """True when a finite source has given its last record; a stream never finishes."""

    def close(self) -> None:
        """Release the transport. Safe to call twice."""
