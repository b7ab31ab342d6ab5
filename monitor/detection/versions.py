"""The versions of a model that came after its baseline, and when each was first seen."""

from collections.abc import Iterable, Sequence

import msgspec

MAX_VERSIONS = 64
"""Versions remembered after the baseline; the oldest is forgotten first."""


class FirstSeen(msgspec.Struct, frozen=True, array_like=True):
    """When a version was first seen."""

    version: str
    index: int
    """The number of the event."""
    ts: float
    """Epoch seconds."""


class Versions:
    """Bounded: somebody who invents versions makes the oldest be forgotten."""

    def __init__(self, before: Iterable[str] = ()) -> None:
        """Begin with those of the baseline, if there is one yet."""
        self._before = tuple(before)
        self.seen: tuple[FirstSeen, ...] = ()
        """Those that came after, in order."""
        self.known: frozenset[str] = frozenset(self._before)
        """Names of all of them."""

    def look(self, versions: Sequence[str], index: Sequence[int], times: Sequence[float]) -> None:
        """Note versions that are not known, among those of some events with these numbers and epoch seconds."""
        if self.known.issuperset(versions):
            return
        for event in map(FirstSeen, versions, index, times):
            if event.version not in self.known:
                self.restore((*self.seen[-MAX_VERSIONS + 1 :], event))

    def restore(self, seen: Iterable[FirstSeen]) -> None:
        """Take up those that were seen."""
        self.seen = tuple(seen)
        self.known = frozenset((*self._before, *(each.version for each in self.seen)))

    def at(self, index: int) -> str:
        """The one that had appeared last when event `index` was read; empty if none is known."""
        names = [*self._before, *(each.version for each in self.seen if each.index <= index)]
        return names[-1] if names else ""

    def since_baseline(self, index: int) -> dict[str, float]:
        """When each was first seen, epoch seconds, of those that had appeared when event `index` was read."""
        return {each.version: each.ts for each in self.seen if each.index <= index}
