"""A source of records in memory, whose partitions a test assigns as a consumer group would."""

from collections.abc import Iterable, Mapping, Sequence

from monitor.intake.source import Jump, Partition, Positions, Record


class MemorySource:
    """Implements `monitor.intake.source.EventSource` over a log that several of them may share."""

    def __init__(self, log: Mapping[Partition, Sequence[Record]], most: int = 50) -> None:
        self.next: dict[Partition, int] = {}
        self.most = most
        self._log = log
        self._assigned: frozenset[Partition] | None = None
        self._placed = False
        self._positions: Positions | None = None
        self._jumps: list[Jump] = []

    def assign(self, partitions: Iterable[Partition]) -> None:
        """What the next poll finds out: these are its partitions from now on."""
        self._assigned, self._placed = frozenset(partitions), False

    def start(self, positions: Positions) -> None:
        self._positions = positions

    def poll(self, timeout: float) -> Sequence[Record]:  # noqa: ARG002 - nothing is waited for
        if self._assigned is None or self._positions is None:
            return ()
        if not self._placed:
            known = self._positions(sorted(self._assigned))
            self._jumps += [Jump(partition, None, 0) for partition in sorted(self._assigned - known.keys())]
            self.next = {partition: known.get(partition, 0) for partition in self._assigned}
            self._placed = True
            return ()
        found: list[Record] = []
        for partition, at in sorted(self.next.items()):
            share = self._log[partition][at : at + self.most]
            self.next[partition] += len(share)
            found += share
        return found

    def jumps(self) -> Sequence[Jump]:
        jumps, self._jumps = self._jumps, []
        return jumps

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        pass

    def hold(self, partition: Partition) -> None:
        self.next.pop(partition, None)

    def lag(self, *, ask: bool = False) -> Mapping[Partition, int]:  # noqa: ARG002 - it always knows
        return {partition: len(self._log[partition]) - at for partition, at in self.next.items()}

    @property
    def ready(self) -> bool:
        return self._placed

    @property
    def finished(self) -> bool:
        return False

    def close(self) -> None:
        self._assigned = None
