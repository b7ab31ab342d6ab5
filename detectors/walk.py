"""Walks: the recursion M <- (M + 1) L of a family's streams and bets over a batch; this one goes by arrays.

`detectors.compiled` has another. All give the same numbers to the last bit, in every order in which keys take turns: a
state that one has left can be taken up by the other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from threading import local
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from detectors.rounds import Rounds

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Factors:
    """What events multiply the statistics by."""

    table: Floats
    """Shape (kinds x streams x codes, bets): key k uses the rows of kind k modulo kinds."""
    scales: Mapping[int, Floats]
    """For some keys, what to multiply the factors by, shape (streams, bets)."""
    streams: int
    codes: int
    fresh: Floats
    """The statistics of a key that has had no event, shape (streams, bets): 1 each."""

    @property
    def kinds(self) -> int:
        """How many kinds of keys there are."""
        return len(self.table) // (self.streams * self.codes)


class Steps(NamedTuple):
    """Events to walk over: which key each feeds, shape (n,), and its code in each stream, (n, streams)."""

    keys: Codes
    codes: Codes


class Path(Protocol):
    """Statistics M + 1 along the events of a batch; good until the next walk of this thread."""

    @property
    def peaks(self) -> Floats:
        """The largest of each stream and bet, shape (streams, bets)."""
        ...

    @property
    def last(self) -> dict[int, Floats]:
        """For each key those after its last event, shape (streams, bets)."""
        ...

    def of(self, stream: int) -> Floats:
        """Those of one stream after each event, of the event's own key, shape (n, bets)."""
        ...


class Walk(Protocol):
    """One way to walk."""

    def __call__(self, factors: Factors, steps: Steps, before: Mapping[int, Floats], ceiling: Floats | None) -> Path:
        """Walk over one event or more.

        Args:
            factors: what events multiply by.
            steps: the events.
            before: M + 1 of the keys that have had events, shape (streams, bets) each; 1 for the others.
            ceiling: what M + 1 is held at, shape (streams, bets).
        """
        ...


class _Workspace(local):
    """Memory that is used again: to ask the system for megabytes with each batch costs as much as the arithmetic."""

    def __init__(self) -> None:
        self._held = np.empty(0)

    def array(self, shape: tuple[int, ...]) -> Floats:
        """An array of this thread, with whatever was in it; good until the next one is asked for."""
        size = math.prod(shape)
        if size > self._held.size:
            self._held = np.empty(size)
        return self._held[:size].reshape(shape)


_workspace = _Workspace()


@dataclass(frozen=True, slots=True)
class _ArrayPath:
    rounds: Rounds
    held: Floats
    """In the order of the rounds, shape (n, streams, bets)."""

    @property
    def peaks(self) -> Floats:
        return np.asarray(self.held.max(axis=0))

    @property
    def last(self) -> dict[int, Floats]:
        return self.rounds.last(self.held)

    def of(self, stream: int) -> Floats:
        found = np.empty((len(self.held), self.held.shape[2]))
        found[self.rounds.rows] = self.held[:, stream]
        return found


def arrays(factors: Factors, steps: Steps, before: Mapping[int, Floats], ceiling: Floats | None) -> Path:
    """Walk in rounds: a few numpy calls for one event of every key.

    That is the fastest exact form of arrays: the closed form with running products needs more passes, and its rounding
    would depend on how events were cut into batches.
    """
    rounds = Rounds.of(steps.keys)
    rows = _rows(factors, steps)[rounds.rows]
    streams, bets = rows.shape[1], factors.table.shape[1]
    path = _workspace.array((*rows.shape, bets))
    np.take(factors.table, rows, axis=0, out=path, mode="clip")  # the other modes make a copy first
    for rank, key in enumerate(rounds.keys):
        if key in factors.scales:
            path[rounds.places(rank)] *= factors.scales[key]
    now = np.concatenate([before.get(key, factors.fresh) for key in rounds.keys]).reshape(
        len(rounds.keys), streams, bets
    )
    multiply, add = np.multiply, np.add
    with np.errstate(over="ignore"):
        for slab in rounds.slabs(path):
            now = now[: slab.shape[1]]
            one = np.ones_like(now)  # adding a scalar takes half as long again
            for after in slab:
                multiply(now, after, after)
                add(after, one, after)
                if ceiling is not None:
                    np.minimum(after, ceiling, out=after)
                now = after
    return _ArrayPath(rounds, path)


def _rows(factors: Factors, steps: Steps) -> Codes:
    """Which row of the factors each event means in each stream, shape (n, streams)."""
    rows: Codes = steps.codes + np.arange(factors.streams) * factors.codes
    if factors.kinds > 1:
        rows += (steps.keys % factors.kinds * (factors.streams * factors.codes))[:, np.newaxis]
    return rows
