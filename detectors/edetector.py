"""The Shiryaev-Roberts e-detector over families of streams, vectorised over streams and bets.

For one stream and one bet with factors L_t, the statistic M <- (M + 1) L has mean at most the number of events seen
while all is well. So has any weighted mean over streams and bets, whatever their dependence, and so has the plain SUM
over keys (sources, labelers, classes) whose events are disjoint, because each event feeds one key. If all weights sum
to 1, an alarm whenever a stream's weighted statistic reaches A has an average run length of at least A events, without
simulation (Shin, Ramdas and Rinaldo 2022, arXiv:2203.03532).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.intp]

QUIET = 1e-3
"""An excursion begins and ends where the statistic passes this share of the threshold."""
OVERSHOOT = 10.0
"""The statistic is held at this multiple of the threshold, so that recovery shows soon after it happens."""


class Excursion(msgspec.Struct):
    """A time during which one stream's evidence was above QUIET times the threshold."""

    began_index: int
    began_ts: float
    counts: list[int]
    """Events of each code since it began."""
    alarmed_index: int | None = None
    """Where it reached the threshold; None while it has not."""
    alarmed_ts: float = 0.0


class Turn(StrEnum):
    """What changed at an event."""

    ALARM = "alarm"
    OVER = "over"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A stream began to alarm, or an alarmed stream's excursion ended."""

    index: int
    key: int
    stream: int
    turn: Turn


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one clock, in order: n rows."""

    index: Ints
    """Position of each event in all that was read, strictly increasing, shape (n,)."""
    ts: Floats
    """Epoch seconds to which each event belongs, shape (n,)."""
    keys: Codes
    """Which key each event feeds, shape (n,)."""
    codes: Codes
    """Code of each stream, shape (n, streams)."""

    def rows(self, which: slice | Codes) -> "Batch":
        """Some of the rows, in the order given."""
        return Batch(self.index[which], self.ts[which], self.keys[which], self.codes[which])

    def until(self, index: int) -> "Batch":
        """The rows up to and including `index`."""
        return self.rows(slice(int(np.searchsorted(self.index, index, side="right"))))

    def after(self, index: int) -> "Batch":
        """The rows behind `index`."""
        return self.rows(slice(int(np.searchsorted(self.index, index, side="right")), None))


class Step(NamedTuple):
    """What a batch would do to a family; nothing is changed until it is accepted."""

    statistic: dict[int, Floats]
    excursions: dict[tuple[int, int], Excursion | None]
    changes: list[Change]


class Family:
    """Streams on one clock, each with several bets, kept once for every key.

    The statistics depend on the order of events only, never on how they were cut into batches.
    """

    def __init__(
        self,
        tables: Floats,
        weights: Floats,
        threshold: float,
        *,
        divisors: Mapping[int, Floats] | None = None,
    ) -> None:
        """Take the bets.

        Args:
            tables: factors, shape (kinds x streams, codes, bets): key k uses the tables of kind k modulo kinds.
            weights: shape (streams, bets), each non-negative.
            threshold: weighted statistic at which a stream alarms: the false-alarm budget in events.
            divisors: for some keys, what to divide the factors by, shape (streams, bets), at least 1.
        """
        self.codes, self.bets = tables.shape[1:]
        self.streams = weights.shape[0]
        self.weights = weights
        self.threshold = threshold
        self.statistic: dict[int, Floats] = {}
        """For each key, M + 1 of each stream and bet, shape (streams, bets); 1 before its first event."""
        self.excursions: dict[tuple[int, int], Excursion] = {}
        self._flat = tables.reshape(-1, self.bets)
        self._kinds = tables.shape[0] // self.streams
        self._divisors = divisors or {}
        self._ceiling = OVERSHOOT * threshold / np.where(weights > 0, weights, 1.0)

    def run(self, batch: Batch) -> Step:
        """Compute what `batch` does, without doing it."""
        step = Step({}, {}, [])
        if batch.index.size == 0:
            return step
        order = np.argsort(batch.keys, kind="stable")
        ordered = batch.keys[order]
        cuts = np.flatnonzero(np.diff(ordered)) + 1
        for rows in np.split(order, cuts):
            self._run_key(int(batch.keys[rows[0]]), batch.rows(rows), step)
        step.changes.sort()
        return step

    def accept(self, step: Step) -> None:
        """Make a step's outcome the family's state."""
        self.statistic.update(step.statistic)
        for place, excursion in step.excursions.items():
            if excursion is None:
                self.excursions.pop(place, None)
            else:
                self.excursions[place] = excursion

    def level(self, key: int, stream: int) -> float:
        """The weighted statistic of one stream now; alarms at `threshold`."""
        held = self.statistic.get(key)
        return 0.0 if held is None else float((held[stream] - 1.0) @ self.weights[stream])

    def leading_bet(self, key: int, stream: int) -> int:
        """Which bet gives most of a stream's evidence now."""
        return int(np.argmax(self.statistic[key][stream] * self.weights[stream]))

    def _factors(self, key: int, codes: Codes) -> Floats:
        first = key % self._kinds * self.streams
        rows = codes + (first + np.arange(self.streams)) * self.codes
        factors: Floats = np.take(self._flat, rows, axis=0)
        divisor = self._divisors.get(key)
        if divisor is not None:
            factors /= divisor
        return factors

    def _run_key(self, key: int, batch: Batch, step: Step) -> None:
        held = self.statistic.get(key)
        start = np.ones((self.streams, self.bets)) if held is None else held
        path = self._factors(key, batch.codes)
        with np.errstate(over="ignore"):
            _recursion(start, path)
        if not (path <= self._ceiling).all():
            path = self._factors(key, batch.codes)
            _recursion_held(start, path, self._ceiling)
        step.statistic[key] = path[-1].copy()
        levels = np.einsum("nkb,kb->nk", path, self.weights) - self.weights.sum(axis=1)
        loud = set(np.flatnonzero(levels.max(axis=0) >= QUIET * self.threshold).tolist())
        loud.update(stream for held_key, stream in self.excursions if held_key == key)
        for stream in sorted(loud):
            self._follow(key, stream, levels[:, stream], batch, step)

    def _follow(self, key: int, stream: int, levels: Floats, batch: Batch, step: Step) -> None:
        """Begin, feed, alarm and end the excursions of one stream along its levels."""
        current = self.excursions.get((key, stream))
        if current is not None:
            current = msgspec.structs.replace(current, counts=list(current.counts))
        loud = levels >= QUIET * self.threshold
        cuts = (np.flatnonzero(np.diff(loud)) + 1).tolist()
        for low, high in zip([0, *cuts], [*cuts, levels.size], strict=True):
            if not loud[low]:
                if current is not None and current.alarmed_index is not None:
                    step.changes.append(Change(int(batch.index[low]), key, stream, Turn.OVER))
                current = None
                continue
            if current is None:
                current = Excursion(int(batch.index[low]), float(batch.ts[low]), [0] * self.codes)
            added = np.bincount(batch.codes[low:high, stream], minlength=self.codes)
            current.counts = (np.asarray(current.counts) + added).tolist()
            if current.alarmed_index is None and levels[low:high].max() >= self.threshold:
                row = low + int(np.argmax(levels[low:high] >= self.threshold))
                current.alarmed_index, current.alarmed_ts = int(batch.index[row]), float(batch.ts[row])
                step.changes.append(Change(current.alarmed_index, key, stream, Turn.ALARM))
        step.excursions[key, stream] = current


def _recursion(statistic: Floats, path: Floats) -> None:
    """Turn factors into statistics in place, shape (n, ...).

    A loop of two calls an event is the fastest exact form: the closed form with running products needs four passes over
    the data, and its rounding would depend on how events were cut into batches.
    """
    add, multiply = np.add, np.multiply
    previous = statistic
    for row in path:
        multiply(previous, row, out=row)
        add(row, 1.0, out=row)
        previous = row


def _recursion_held(statistic: Floats, path: Floats, ceiling: Floats) -> None:
    """The same, held at `ceiling` after every event."""
    previous = statistic
    for row in path:
        np.multiply(previous, row, out=row)
        np.add(row, 1.0, out=row)
        np.minimum(row, ceiling, out=row)
        previous = row
