"""Contrast: whether what is wrong is one source's or labeler's, or everybody's.

That something is wrong is found by the engine, within the budget. Who is hit first is chance, where everybody is. So
before somebody is named, the last events of all are counted: his against those of the others, over the same time.
"""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int16]
Flags = npt.NDArray[np.bool_]

KEPT = 1024
"""Events remembered."""
RATIO = 3.0
"""Who is named has at least this many times the others' share of what is wrong."""


class Recent:
    """The last events of one clock: when they were, and small numbers that say what they were."""

    def __init__(self, columns: int) -> None:
        """`columns` is how many numbers an event has."""
        self._ts: Floats = np.zeros(0)
        self._codes: Small = np.zeros((0, columns), dtype=np.int16)
        self._offered: tuple[Ints, Floats, Small] = np.zeros(0, dtype=np.int64), self._ts, self._codes
        self._columns = columns

    def offer(self, index: Ints, ts: Floats, *columns: npt.NDArray[np.integer]) -> None:
        """Take in a batch, of which the engine has not judged any event yet; each column has shape (n,)."""
        self._offered = index, ts, np.stack(columns, axis=1).astype(np.int16)

    def settle(self, index: int) -> None:
        """Remember the offered events up to `index`."""
        indexes, ts, codes = self._offered
        count = int(indexes.searchsorted(index, side="right"))
        if count:
            self._ts = np.concatenate([self._ts, ts[:count]])[-KEPT:]
            self._codes = np.concatenate([self._codes, codes[:count]])[-KEPT:]
            self._offered = indexes[count:], ts[count:], codes[count:]

    def since(self, ts: float) -> Small:
        """The events that belong to `ts` (epoch seconds) or later, shape (n, columns)."""
        return self._codes[self._ts >= ts]

    def dump(self) -> tuple[bytes, bytes]:
        """The state, for the store."""
        return self._ts.tobytes(), self._codes.tobytes()

    def restore(self, state: tuple[bytes, bytes]) -> None:
        """Take up a stored state."""
        self._ts = np.frombuffer(state[0])
        self._codes = np.frombuffer(state[1], dtype=np.int16).reshape(-1, self._columns)


def alone(own: Flags, wrong: Flags, usual: float) -> float:
    """Weigh "only this one is otherwise than usual" against "all are, and alike".

    Args:
        own: which events are of the one, shape (n,).
        wrong: which are wrong, shape (n,).
        usual: the share that is wrong in the reference, in (0, 1).

    Returns:
        The logarithm of the likelihood ratio, nats: positive for the first. The one's share is fitted, and that of the
        others within `usual` and a RATIO-th of it, as they may have changed a little too.
    """
    mine, others = wrong[own], wrong[~own]
    if not mine.any() or not others.size:
        return 0.0
    share = min(max(float(others.mean()), usual), float(mine.mean()) / RATIO)
    return _fit(mine) + _likelihood(others, share) - _fit(wrong)


def surplus(hits: int, expected: float) -> float:
    """Weigh "these come more often than expected" against "as often": the logarithm of the likelihood ratio, nats.

    Args:
        hits: how many came.
        expected: how many were to come on average, if each comes by itself and rarely; above 0 if any came.

    Returns:
        At least 0; 0 where no more came than expected.
    """
    return hits * math.log(hits / expected) - hits + expected if hits > expected else 0.0


def _fit(wrong: Flags) -> float:
    """The logarithm of the largest likelihood that one share can give these events."""
    return _likelihood(wrong, float(wrong.mean())) if wrong.size else 0.0


def _likelihood(wrong: Flags, share: float) -> float:
    """The logarithm of the likelihood of these events if each is wrong with this probability."""
    hits = int(wrong.sum())
    return sum(count * math.log(part) for count, part in ((hits, share), (wrong.size - hits, 1.0 - share)) if count)
