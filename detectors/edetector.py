"""The Shiryaev-Roberts e-detector over families of streams, vectorised over streams and bets.

For one stream and one bet with factors L_t, the statistic M <- (M + 1) L has mean at most the number of events seen
while all is well. So has any weighted mean over streams and bets, whatever their dependence, and so has the plain SUM
over keys (sources, labelers, classes) whose events are disjoint, because each event feeds one key. If all weights sum
to 1, an alarm whenever a stream's weighted statistic reaches A has an average run length of at least A events, without
simulation (Shin, Ramdas and Rinaldo 2022, arXiv:2203.03532).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.walk import Factors, Path, Steps, Walk, arrays

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.intp]

QUIET = 1e-3
"""An excursion begins and ends where the statistic passes this share of the threshold."""
OVERSHOOT = 10.0
"""The statistic is held at this multiple of the threshold, so that recovery shows soon after it happens."""
LOOKS = 4
"""How often an excursion that alarms is told of again: each time when it has twice as many events."""

_ROUNDING = 1.0 + 1e-9
"""Makes an upper bound of a sum safe from the order of its additions."""


class Excursion(msgspec.Struct):
    """A time during which one stream's evidence was above QUIET times the threshold."""

    began_index: int
    began_ts: float
    counts: list[int]
    """Events of each code since it began."""
    alarmed_index: int | None = None
    """Where it reached the threshold; None while it has not."""
    alarmed_ts: float = 0.0
    """The latest time of its events up to there: what belongs to an earlier time may come later."""
    alarmed_events: int = 0
    """Events since it began, when it alarmed."""

    @property
    def events(self) -> int:
        """Events since it began."""
        return sum(self.counts)


class Turn(StrEnum):
    """What changed at an event."""

    ALARM = "alarm"
    GROWN = "grown"
    """It has alarmed for some time: what the events say may have become clearer."""
    OVER = "over"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A stream began to alarm, has grown since, or an alarmed stream's excursion ended."""

    index: int
    key: int
    stream: int
    turn: Turn


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one clock, in order: n rows."""

    index: Ints
    """Position of each event in all that was read, never decreasing, shape (n,)."""
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
        if self.index.size and self.index[-1] <= index:
            return self
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
        walk: Walk = arrays,
    ) -> None:
        """Take the bets.

        Args:
            tables: factors, shape (kinds x streams, codes, bets): key k uses the tables of kind k modulo kinds.
            weights: shape (streams, bets), each non-negative.
            threshold: weighted statistic at which a stream alarms: the false-alarm budget in events.
            divisors: for some keys, what to divide the factors by, shape (streams, bets), at least 1.
            walk: how to walk over events.
        """
        self.codes, self.bets = tables.shape[1:]
        self.streams = weights.shape[0]
        self.weights = weights
        self.threshold = threshold
        self.statistic: dict[int, Floats] = {}
        """For each key, M + 1 of each stream and bet, shape (streams, bets); 1 before its first event."""
        self.excursions: dict[tuple[int, int], Excursion] = {}
        # Multiplying is faster than dividing.
        scales = {key: 1.0 / divisor for key, divisor in (divisors or {}).items()}
        rows = np.ascontiguousarray(tables).reshape(-1, self.bets)
        self._factors = Factors(rows, scales, self.streams, self.codes, np.ones(weights.shape))
        self._walk = walk
        self._spent = weights.sum(axis=1)
        self._ceiling = 1.0 + OVERSHOOT * threshold / np.where(weights > 0, weights, 1.0)

    def run(self, batch: Batch) -> Step:
        """Compute what `batch` does, without doing it."""
        if batch.index.size == 0:
            return Step({}, {}, [])
        steps = Steps(batch.keys, batch.codes)
        path = self._walk(self._factors, steps, self.statistic, None)
        # Mostly all streams together are quiet; compared this way round, NaN is not.
        if not self.excursions and np.vdot(path.peaks, self.weights) * _ROUNDING < QUIET * self.threshold:
            return Step(path.last, {}, [])
        highest = self._highest(path)
        if not highest.max() < OVERSHOOT * self.threshold:
            path = self._walk(self._factors, steps, self.statistic, self._ceiling)
            highest = self._highest(path)
        step = Step(path.last, {}, [])
        self._follow_loud(batch, path, (highest >= QUIET * self.threshold).nonzero()[0], step)
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

    def levels(self) -> dict[int, Floats]:
        """The weighted statistic of every stream now, shape (streams,) for each key; see `level` for one."""
        return dict(zip(self.statistic, self._levels(), strict=True)) if self.statistic else {}

    def highest(self) -> float:
        """The largest weighted statistic of any stream now; 0 before the first event."""
        return float(self._levels().max()) if self.statistic else 0.0

    def leading_bet(self, key: int, stream: int) -> int:
        """Which bet gives most of a stream's evidence now."""
        return int(np.argmax(self.statistic[key][stream] * self.weights[stream]))

    def _levels(self) -> Floats:
        """The weighted statistic of every stream now, shape (keys, streams), keys in the order of `statistic`."""
        held = np.concatenate(list(self.statistic.values())).reshape(-1, *self.weights.shape)
        return np.asarray(np.einsum("ksb,sb->ks", held, self.weights) - self._spent)

    def _highest(self, path: Path) -> Floats:
        """An upper bound of the weighted statistic of each stream along a path, shape (streams,)."""
        return np.asarray((path.peaks * self.weights).sum(axis=1) * _ROUNDING - self._spent)

    def _follow_loud(self, batch: Batch, path: Path, suspects: Codes, step: Step) -> None:
        """Follow each excursion that may have begun in one of the streams `suspects`, gone on or ended."""
        ongoing = [place for place in self.excursions if place[0] in step.statistic]
        for stream in sorted({*suspects.tolist(), *(stream for _, stream in ongoing)}):
            levels = ((path.of(stream) - 1.0) * self.weights[stream]).sum(axis=1)
            loud = batch.keys[levels >= QUIET * self.threshold].tolist()
            for key in {*loud, *(key for key, other in ongoing if other == stream)}:
                rows = np.flatnonzero(batch.keys == key)
                self._follow(key, stream, levels[rows], batch, rows, step)

    def _follow(self, key: int, stream: int, levels: Floats, batch: Batch, rows: Codes, step: Step) -> None:
        """Begin, feed, alarm and end the excursions of one stream along its levels, at these rows of the batch."""
        current = self.excursions.get((key, stream))
        if current is not None:
            current = msgspec.structs.replace(current, counts=list(current.counts))
        loud = levels >= QUIET * self.threshold
        cuts = (np.flatnonzero(loud[1:] != loud[:-1]) + 1).tolist()
        for low, high in zip([0, *cuts], [*cuts, levels.size], strict=True):
            if not loud[low]:
                if current is not None and current.alarmed_index is not None:
                    step.changes.append(Change(int(batch.index[rows[low]]), key, stream, Turn.OVER))
                current = None
                continue
            if current is None:
                current = Excursion(int(batch.index[rows[low]]), float(batch.ts[rows[low]]), [0] * self.codes)
            turns = self._feed(current, levels[low:high], batch, rows[low:high], stream)
            step.changes.extend(Change(index, key, stream, turn) for index, turn in turns)
        step.excursions[key, stream] = current

    def _feed(
        self, current: Excursion, levels: Floats, batch: Batch, rows: Codes, stream: int
    ) -> Iterator[tuple[int, Turn]]:
        """Take these rows of a batch into an excursion; give the index of each event that changed what it says."""
        before, quiet = current.events, current.alarmed_index is None
        for code, count in Counter(batch.codes[rows, stream].tolist()).items():
            current.counts[code] += count
        place = len(rows) - 1
        if quiet and levels.max() >= self.threshold:
            place = int(np.argmax(levels >= self.threshold))
            current.alarmed_index = int(batch.index[rows[place]])
            current.alarmed_events = before + place + 1
            yield current.alarmed_index, Turn.ALARM
        if quiet:
            current.alarmed_ts = max(current.alarmed_ts, float(batch.ts[rows[: place + 1]].max()))
        for events in (current.alarmed_events << look for look in range(1, LOOKS + 1)):
            if before < events <= current.events:
                yield int(batch.index[rows[events - before - 1]]), Turn.GROWN
