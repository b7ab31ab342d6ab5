"""Stalls: a partition that has records to give and gives none, or a group that lets nobody in."""

import time
from collections.abc import Callable, Mapping

from monitor.intake.source import Partition, SourceError

LIMIT = 60.0
"""Seconds without a record from a partition that has some; then reading begins anew."""


class StallWatch:
    """Looked at now and then by the loop."""

    def __init__(
        self, limit: float = LIMIT, outside: float = LIMIT, timer: Callable[[], float] = time.monotonic
    ) -> None:
        """Watch.

        Args:
            limit: seconds that a partition may stand still.
            outside: seconds that the group may assign nothing: longer than a member that lives can make others wait.
            timer: seconds that only ever pass.
        """
        self._limit = limit
        self._longest_outside = outside
        self._timer = timer
        self._outside: float | None = None
        """Since when no partitions have been assigned."""
        self._moved: dict[Partition, tuple[int | None, float]] = {}
        """Where each partition was when it last moved or had nothing to give, and when that was."""

    def wait(self, *, ready: bool) -> None:
        """Say whether the source is in the group. Raises SourceError if it has not been for too long."""
        now = self._timer()
        self._outside = None if ready else self._outside if self._outside is not None else now
        if self._outside is not None and now - self._outside > self._longest_outside:
            raise SourceError(f"the group has assigned nothing for {now - self._outside:.0f} s")

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
