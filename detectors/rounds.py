"""Rounds: events of many keys in an order in which one array operation takes a step for all keys at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Events in the order in which they are worked through: the first event of every key, then the second ones.

    Keys do not touch each other, so it does not matter which of them goes first. The places of a round are next to each
    other, in the order of `keys`: those with more events come first, so each round is the beginning of the one before.
    """

    keys: list[int]
    counts: list[int]
    """Events of each key."""
    starts: Codes
    """The first place of each round, shape (rounds,)."""
    rows: Codes
    """The event at each place, shape (n,)."""

    @classmethod
    def of(cls, keys: Codes) -> "Rounds":
        """The rounds of events, one or more, that feed these keys (shape (n,))."""
        places = np.arange(keys.size)
        if not (keys != keys[0]).any():
            return cls([int(keys[0])], [keys.size], places, places)
        grouped = keys.argsort(kind="stable")
        ordered = keys[grouped]
        edges = (ordered[1:] != ordered[:-1]).nonzero()[0] + 1
        firsts, ends = np.concatenate([places[:1], edges]), np.concatenate([edges, [keys.size]])
        counts = ends - firsts
        busiest = (-counts).argsort(kind="stable")
        ranks = np.empty_like(busiest)
        ranks[busiest] = places[: busiest.size]
        turns = places - firsts.repeat(counts)
        widths = np.bincount(turns)
        starts = widths.cumsum() - widths
        rows = np.empty_like(grouped)
        rows[starts[turns] + ranks.repeat(counts)] = grouped
        return cls(ordered[firsts[busiest]].tolist(), counts[busiest].tolist(), starts, rows)

    def places(self, rank: int) -> Codes:
        """Where the events of the key number `rank` are, in their order."""
        return self.starts[: self.counts[rank]] + rank

    def slabs(self, path: Floats) -> Iterator[Floats]:
        """Cut a path (shape (n, ...)) where a key has no more events: parts of shape (rounds, keys of each, ...)."""
        edges = [*self.starts.tolist(), len(path)]
        done = 0
        for width, count in zip(range(len(self.keys), 0, -1), reversed(self.counts), strict=True):
            if count > done:
                yield path[edges[done] : edges[count]].reshape(count - done, width, *path.shape[1:])
                done = count

    def last(self, path: Floats) -> dict[int, Floats]:
        """For each key the part of a path that belongs to its last event."""
        return {key: path[self.starts[self.counts[rank] - 1] + rank].copy() for rank, key in enumerate(self.keys)}
