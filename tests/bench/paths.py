"""Detectors whose statistic does not depend on their threshold: run once, cut anywhere."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tests.bench.worlds import ERROR_RATE, Floats

Follow = Callable[[Floats], Floats]
"""Takes the next values, (events, repeats, features); gives the statistic after each event, (events, repeats)."""


Start = Callable[[], Follow]
"""Begins a run; may be called again for another run of the same repeats."""


class PathDetector(NamedTuple):
    """Learns from in-control values, (LEARN, repeats, features), and then follows what comes."""

    name: str
    learn: Callable[[Floats], Start]


Increment = Callable[[Floats], Floats]
"""Log-likelihood ratio of each value, or of each event: (events, repeats, features) -> (events, repeats, parts)."""


def oracle(change: str, features: int) -> PathDetector | None:
    """The CUSUM that knows the change: nothing that has to learn is faster. None if it is not known, as for a ramp."""
    increment = _INCREMENTS.get(change)
    if increment is None:
        return None
    knows = "the change, not which feature" if features > 1 and increment is not _pair else "the change"
    return PathDetector(f"oracle CUSUM, knows {knows}", lambda _learnt: lambda: _cusum(increment))


def _cusum(increment: Increment) -> Follow:
    state: Floats | None = None

    def follow(values: Floats) -> Floats:
        nonlocal state
        steps = increment(values)
        if state is None:
            state = np.zeros(steps.shape[1:])
        found = np.empty(steps.shape[:2])
        for row, step in enumerate(steps):
            np.maximum(state + step, 0.0, out=state)
            found[row] = state.max(axis=1)
        return found

    return follow


def _shift(size: float) -> Increment:
    return lambda values: size * values - size**2 / 2


def _rate(rate: float) -> Increment:
    wrong, right = math.log(rate / ERROR_RATE), math.log((1 - rate) / (1 - ERROR_RATE))
    return lambda values: right + (wrong - right) * values


def _pair(values: Floats) -> Floats:
    """The first two features have become correlated by 0.8."""
    one, other = values[..., :1], values[..., 1:2]
    spread = 1 - 0.8**2
    together = (one**2 - 1.6 * one * other + other**2) / spread
    return np.asarray((one**2 + other**2 - together - math.log(spread)) / 2)


_INCREMENTS: dict[str, Increment] = {
    "mean +0.25": _shift(0.25),
    "mean +0.5": _shift(0.5),
    "mean +1": _shift(1.0),
    "variance x1.5": lambda values: values**2 / 2 * (1 - 1 / 1.5) - 0.5 * math.log(1.5),
    "correlation 0.8": _pair,
    "to 10 %": _rate(0.10),
    "to 20 %": _rate(0.20),
}


def never() -> PathDetector:
    """Says nothing."""
    return PathDetector("never", lambda _learnt: lambda: lambda values: np.zeros(values.shape[:2]))


def every(events: float, seed: int) -> PathDetector:
    """Alarms at every k-th event, counted from anywhere: after k / 2 events on average."""

    def learn(learnt: Floats) -> Start:
        phases = events * np.random.default_rng(seed).random(learnt.shape[1])
        return lambda: _due(phases)

    return PathDetector("every k events", learn)


def _due(phases: Floats) -> Follow:
    left = phases

    def follow(values: Floats) -> Floats:
        nonlocal left
        due = np.arange(1, len(values) + 1)[:, np.newaxis] >= left
        left = left - len(values)
        return due.astype(np.float64)

    return follow


def at_random(events: float, seed: int) -> PathDetector:
    """Tosses a coin at every event."""
    random = np.random.default_rng(seed)
    chance = 1 / events
    return PathDetector(
        "random", lambda _learnt: lambda: lambda values: (random.random(values.shape[:2]) < chance).astype(np.float64)
    )


def first_passages(peaks: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.int64]:
    """Event (1, 2, ...) at which each row of running maxima first reaches the threshold; 0 where it never does."""
    places = np.array([np.searchsorted(row, np.float32(threshold), side="left") for row in peaks], dtype=np.int64)
    return np.where(places < peaks.shape[1], places + 1, 0)
