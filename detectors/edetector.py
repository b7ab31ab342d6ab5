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
        self._offsets = np.arange(self.streams) * self.codes
        self._total_weight = weights.sum(axis=1)
        self._divisors = divisors or {}
        self._ceiling = 1.0 + OVERSHOOT * threshold / np.where(weights > 0, weights, 1.0)

    def run(self, batch: Batch) -> Step:
        """Compute what `batch` does, without doing it."""
        step = Step({}, {}, [])
        if batch.index.size == 0:
            return step
        keys = batch.keys.tolist()
        path = self._factors(batch, keys)
        with np.errstate(over="ignore"):
            self._walk(keys, path, step)
            levels = self._levels(path)
        if not (levels < OVERSHOOT * self.threshold).all():
            path = self._factors(batch, keys)
            self._walk(keys, path, step, self._ceiling)
            levels = self._levels(path)
        for key, stream in self._loud(batch, levels):
            rows = np.flatnonzero(batch.keys == key)
            self._follow(key, stream, levels[rows, stream], batch.rows(rows), step)
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

    def _factors(self, batch: Batch, keys: list[int]) -> Floats:
        """What each event multiplies each bet by, shape (n, streams, bets)."""
        rows = batch.codes + self._offsets
        if self._kinds > 1:
            rows += (batch.keys % self._kinds * (self.streams * self.codes))[:, np.newaxis]
        factors: Floats = np.take(self._flat, rows, axis=0)
        for key in self._divisors.keys() & set(keys):
            factors[batch.keys == key] /= self._divisors[key]
        return factors

    def _walk(self, keys: list[int], path: Floats, step: Step, ceiling: Floats | None = None) -> None:
        """Turn factors into statistics in place, event by event, each from its key's last one.

        A loop of two calls an event is the fastest exact form: the closed form with running products needs four passes
        over the data, and its rounding would depend on how events were cut into batches.
        """
        multiply, add = np.multiply, np.add
        first = np.ones_like(self.weights)
        last: dict[int, Floats] = {key: self.statistic.get(key, first) for key in set(keys)}
        for key, row in zip(keys, path, strict=True):
            multiply(last[key], row, row)
            add(row, 1.0, row)
            if ceiling is not None:
                np.minimum(row, ceiling, out=row)
            last[key] = row
        step.statistic.update({key: row.copy() for key, row in last.items()})

    def _levels(self, path: Floats) -> Floats:
        """Weighted statistics, shape (n, streams)."""
        return np.asarray(np.einsum("nkb,kb->nk", path, self.weights) - self._total_weight)

    def _loud(self, batch: Batch, levels: Floats) -> list[tuple[int, int]]:
        """Keys and streams of the batch whose excursions may have begun, gone on or ended."""
        found = {place for place in self.excursions if (batch.keys == place[0]).any()}
        if levels.max() >= QUIET * self.threshold:
            rows, streams = np.nonzero(levels >= QUIET * self.threshold)
            found.update(zip(batch.keys[rows].tolist(), streams.tolist(), strict=True))
        return sorted(found)

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
