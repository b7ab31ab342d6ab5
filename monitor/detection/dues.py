"""Dues: what became of the label that a prediction should have got, decided once it is overdue.

Whoever poisons a model gains by labels that stay away, or come too late. So a sample of predictions waits, for as long
as nearly every label of the reference took; then its label came in time, late, or not at all, and that is one event.
Labels that never came in the reference are normal.
"""

import math
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.bets import Reference, dispersion
from monitor.detection.asked import Asked
from monitor.detection.baseline import DueReference
from monitor.detection.grouping import Groups, counted, named, time_groups, within
from monitor.intake.events import ClassLabel, Prediction, class_name
from monitor.intake.join import Joined

Codes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

IN_TIME, LATE, GONE = range(3)
"""What can have become of a label."""
OUTCOMES = 3
WAITING = 512
"""Predictions that wait at a time on average, at the rate of the reference, where there are more than that."""
MOST = 1024
"""That wait at most; while so many do, no further one is asked about."""
LEAST = 100
"""Labels that are needed to say when one is due."""
LONG, LONGEST = 0.9, 0.99
"""Quantiles of the reference's delays: what is usual, and what hardly any label exceeds."""
LATER = 1.5
"""Times the median delay that are not late, however punctual labels were."""
PATIENCE = 1.25
"""Times the LONGEST delay after which a label is not waited for."""
MINUTE = 60.0
"""Seconds that a label is waited for at least: the order of a stream is not exact."""
BEHIND = 86_400.0
"""Seconds for which no label at all may come before it is believed that there are none, and not that labels are read
later than predictions; people are told sooner, by the alert TocsinLabelsMissing."""
_SAMPLED = 2**32


@dataclass(frozen=True, slots=True)
class DueColumns:
    """What was decided, n rows in the order of decisions; several may belong to one event."""

    index: Ints
    """Position of the event at which it was decided, among all that was read; never decreasing."""
    ts: Floats
    """When the model was asked: evidence belongs to that time."""
    classes: Codes
    """Class codes of what was predicted; 0 for a regression model."""
    outcomes: Codes
    """IN_TIME, LATE or GONE."""


NOTHING_DUE = DueColumns(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.intp), np.zeros(0, np.intp))


class DuesState(msgspec.Struct, frozen=True, array_like=True):
    """Whoever waits, for the store."""

    places: bytes = b""
    ts: bytes = b""
    codes: bytes = b""
    asked: float = float("-inf")
    told: float = float("-inf")


class Dues:
    """Predictions of one model whose labels are waited for. Depends on the order of events only: no clock is asked.

    Two clocks count, the largest time of a prediction and the largest of a label: a label that was not read yet,
    because its topic is read behind the other, is not missing.
    """

    def __init__(self, learnt: DueReference | None, digest: str, code: Callable[[ClassLabel], int]) -> None:
        """Nobody waits yet; nobody ever does where nothing was learnt.

        Args:
            learnt: when labels are due.
            digest: the baseline's; strangers do not know it, so they cannot choose ids that are not looked at.
            code: gives the class code of a prediction.
        """
        self._learnt = learnt
        self._code = code
        self._wait = 0.0 if learnt is None else learnt.gone + learnt.slack
        """Seconds after which it is decided, at the earliest."""
        self._seed = crc32(digest.encode())
        self._below = 0 if learnt is None else int(learnt.share * _SAMPLED)
        self._waiting: OrderedDict[tuple[int, float], int] = OrderedDict()
        """Code by hash of the id and time of the prediction, in order of arrival: class x OUTCOMES + outcome so far."""
        self._first = float("inf")
        """The time of the first of them."""
        self._asked = self._told = float("-inf")
        self._decided: list[tuple[int, float, int]] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self, asked: Asked, labels: Sequence[tuple[int, Joined]]) -> None:
        """Take in predictions, and labels with their index, each in the order of their indices."""
        if self._learnt is None:
            return
        predictions = zip(asked.index, asked.ts, asked.event_ids, asked.predictions, strict=True)
        done = 0
        for index, joined in labels:
            before = bisect_left(asked.index, index, done)
            self._ask(islice(predictions, before - done))
            self._answer(index, joined, self._learnt)
            done = before
        self._ask(predictions)

    def _ask(self, predictions: Iterable[tuple[int, float, str, ClassLabel]]) -> None:
        for index, ts, event_id, prediction in predictions:
            self._asked = max(self._asked, ts)
            if self._first <= self._asked - self._wait:
                self._decide(index)
            place = crc32(event_id.encode(), self._seed)
            if place < self._below and len(self._waiting) < MOST:
                self._waiting.setdefault((place, ts), self._code(prediction) * OUTCOMES + GONE)
                if len(self._waiting) == 1:
                    self._first = ts

    def _answer(self, index: int, joined: Joined, learnt: DueReference) -> None:
        delay = joined.labelled_at - joined.predicted_at
        place = crc32(joined.event_id.encode(), self._seed), joined.predicted_at
        code = self._waiting.get(place)
        if code is not None and delay <= learnt.gone:
            self._waiting[place] = code // OUTCOMES * OUTCOMES + (IN_TIME if delay <= learnt.late else LATE)
        self._told = max(self._told, joined.labelled_at)
        self._decide(index)

    def decided(self) -> DueColumns:
        """What was decided since the last call."""
        rows, self._decided = self._decided, []
        if not rows:
            return NOTHING_DUE
        index, ts, codes = zip(*rows, strict=True)
        held = np.array(codes, dtype=np.intp)
        return DueColumns(np.array(index, dtype=np.int64), np.array(ts), held // OUTCOMES, held % OUTCOMES)

    def dump(self) -> DuesState:
        """The state, for the store; what was decided is taken first."""
        places, times = zip(*self._waiting, strict=True) if self._waiting else ((), ())
        return DuesState(
            np.array(places, dtype=np.uint32).tobytes(),
            np.array(times, dtype=np.float64).tobytes(),
            np.array([*self._waiting.values()], dtype=np.int16).tobytes(),
            self._asked,
            self._told,
        )

    def restore(self, state: DuesState) -> None:
        """Take up a stored state."""
        places = np.frombuffer(state.places, dtype=np.uint32).tolist()
        times = np.frombuffer(state.ts).tolist()
        codes = np.frombuffer(state.codes, dtype=np.int16).tolist()
        self._waiting = OrderedDict(zip(zip(places, times, strict=True), codes, strict=True))
        self._first = times[0] if times else float("inf")
        self._asked, self._told = state.asked, state.told

    def _decide(self, index: int) -> None:
        limit = min(self._asked, max(self._told, self._asked - BEHIND)) - self._wait
        while self._first <= limit:
            (_, ts), code = self._waiting.popitem(last=False)
            self._decided.append((index, ts, code))
            self._first = next(iter(self._waiting))[1] if self._waiting else float("inf")


def learn(
    predictions: Sequence[Prediction], joined: Sequence[Joined], classes: Sequence[str], sources: tuple[str, ...]
) -> DueReference | None:
    """Learn when labels are due, from predictions that are old enough at the end of the reference.

    Args:
        predictions: of the reference, in their order.
        joined: labels of the reference, in their order.
        classes: outcomes in code order, the last one for all others.
        sources: whose differences are natural.

    Returns:
        None where fewer than LEAST labels can tell.
    """
    came = {join.event_id: join.labelled_at - join.predicted_at for join in joined}
    delays = np.array([came.get(prediction.event_id, np.inf) for prediction in predictions])
    if np.isfinite(delays).sum() < LEAST:
        return None
    times = np.array([prediction.epoch for prediction in predictions])
    told = np.array([join.labelled_at for join in joined])
    late, gone = _limits(delays[np.isfinite(delays)], float(np.ptp(times)))
    slack = PATIENCE * float(np.quantile(np.maximum.accumulate(told) - told, LONGEST))
    old = times + gone + slack <= min(times.max(), told.max())
    there = old & (delays <= gone)
    if there.sum() < LEAST:
        return None
    share = min(WAITING / max(times.size / max(float(np.ptp(times)), 1.0) * (gone + slack), 1.0), 1.0)
    code = {name: place for place, name in enumerate(classes)}
    said = np.array([code.get(class_name(p.prediction), len(classes) - 1) for p in predictions], dtype=np.intp)
    groups = {**time_groups(times), "source": named([p.source for p in predictions], sources)}

    def of(rows: Flags, wrong: Flags) -> tuple[Reference, ...]:
        return _by_class(wrong[rows], said[rows], len(classes), within(groups, rows), math.ceil(1.0 / share))

    return DueReference(late, gone, slack, share, lateness=of(there, delays > late), absence=of(old, delays > gone))


def _limits(delays: Floats, span: float) -> tuple[float, float]:
    """From when a label is late, and from when it is gone, seconds; at most half of the reference is left out."""
    median, long, longest = np.quantile(delays, [0.5, LONG, LONGEST]).tolist()
    late = max(long, LATER * median)
    gone = max(min(PATIENCE * max(longest, late), span / 2), MINUTE)
    return min(late, gone), gone


def _by_class(wrong: Flags, said: Codes, classes: int, groups: Groups, step: int) -> tuple[Reference, ...]:
    """How often something was wrong, by predicted class; one event in `step` will be looked at."""
    codes = wrong.astype(np.intp)
    varies = dispersion(wrong[::step].astype(np.float64))  # a rare class is too few to show it
    return tuple(counted(codes[said == place], 2, within(groups, said == place), varies) for place in range(classes))
