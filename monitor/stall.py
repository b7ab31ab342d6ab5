"""Stalls: a partition that has records to give and gives none, while the client believes that all is well."""

import time
from collections.abc import Callable, Mapping

from monitor.source import Partition, SourceError

LIMIT = 60.0
"""Seconds without a record from a partition that has some; then reading begins anew."""


class StallWatch:
    """Looked at now and then by the loop."""

    def __init__(self, limit: float = LIMIT, timer: Callable[[], float] = time.monotonic) -> None:
        """`limit` is in seconds, `timer` gives seconds that only ever pass."""
        self._limit = limit
        self._timer = timer
        self._moved: dict[Partition, tuple[int | None, float]] = {}
        """Where each partition was when it last moved or had nothing to give, and when that was."""

    def look(self, behind: Mapping[Partition, int], positions: Mapping[Partition, int]) -> None:
        """Compare with the look before.

        Args:
            behind: records not read yet; partitions of which it is not known are not in it, and not judged.
            positions: the next offset of each partition.

        Raises:
            SourceError: a partition has stood still for too long.
        """
        now, moved = self._timer(), {}
        for partition, waiting in behind.items():
            place = positions.get(partition)
            last, since = self._moved.get(partition, (place, now))
            moved[partition] = (place, since) if waiting and place == last else (place, now)
            still = now - moved[partition][1]
            if still > self._limit:
                name = f"{partition.topic}[{partition.number}]"
                raise SourceError(f"{name} has {waiting} records to give, and has given none for {still:.0f} s")
        self._moved = moved
