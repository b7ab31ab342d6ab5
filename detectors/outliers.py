"""Outliers: how unlike the reference a single event is, as the share of reference events that were as unlike.

Two things make an event strange, and each is a sum over its features of what goes beyond the ordinary, in nats. A value
may be rare: missing, never seen, outside the reference, and the more so the farther outside it is. Or every value is
common and their combination is not: what is left of each feature once all others are known (its standardised
conditional residual, from the precision matrix of the normal scores; Mardia, Kent and Bibby 1979, chapter 6) is large.
The larger of the two counts, each in units of its own tail. A sum of squares alone, the Mahalanobis distance, buries
one strange value under forty ordinary ones.

What a score means is calibrated by leaving out: each reference event is scored as if it had not been in the reference.
The share that follows is a conformal p-value (Vovk, Gammerman and Shafer 2005): of events like the reference, no more
than a share s get a share of s or less.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.cells import ABOVE, ABSENT, BELOW, RESERVED, Cells, NumericCells
from detectors.surrogate import score_tables

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

ORDINARY = 0.05
"""A value that is not rarer than this is not strange at all, nor is what is left of one if as many nats tell of it."""
_ORDINARY = -math.log(ORDINARY)
LINKED = 64
"""Features of which it is known how they go together, at most; their number is squared for each event."""
RIDGE = 0.05
"""Weight of independence in what is known of how features go together."""
UNIT = 0.01
"""Share of the reference that exceeds a part's unit."""
MAX_ROWS = 20_000
"""Reference events learnt from; evenly spread if there are more."""
TAIL = 0.1
"""Share of the reference whose scores are kept; whatever is less strange has a share of 1."""
KEPT = 64
"""Scores kept of them."""
HILL = 0.05
"""Share of the reference on either side of a feature that tells how fast it falls off."""
STEEPEST = 10.0
"""The largest exponent: few different values tell little of what lies beyond them."""
FARTHEST = 1e150
"""Ends of features that lie beyond are taken to lie here."""
DIGITS = 6
"""Of a score. How a batch was cut must not matter, and the last bits of a matrix product depend on it."""


class Outliers(msgspec.Struct, frozen=True):
    """What was learnt of the reference, beside the cells of its features and their counts."""

    linked: tuple[int, ...]
    """Features of which it is known how they go together, as places in the order in which they were learnt."""
    links: tuple[float, ...]
    """From the normal scores of these to their conditional residuals, shape (linked, linked), row by row."""
    units: tuple[float, float]
    """What one in a hundred reference events exceeded, of combinations and of values, in nats."""
    tail: tuple[float, ...]
    """Scores of reference events, the highest first."""
    ranks: tuple[int, ...]
    """Which place each of these has among all."""
    rows: int
    """How many these were."""


class Reach:
    """How far values are outside of what the reference had, in nats, where its codes only say that they are outside.

    Beyond its last twentieth on either side a feature is taken to fall off like a power of the distance from the
    middle, whose exponent the reference tells (Hill 1975); so the nats are by how much rarer such a value is than one
    at the end.
    """

    def __init__(self, cells: Sequence[NumericCells]) -> None:
        below, above = ([_End.of(each, side) for each in cells] for side in (BELOW, ABOVE))
        self._lows, self._down, self._fall = np.array(below, dtype=np.float64).reshape(-1, 3).T
        self._highs, self._up, self._rise = np.array(above, dtype=np.float64).reshape(-1, 3).T

    def of(self, values: Floats) -> Floats:
        """Of events, over all features, shape (n,); `values` has shape (n, features), NaN where one is missing."""
        with np.errstate(over="ignore"):  # what is too far for a double is very far
            above = np.fmax((values - self._highs) / self._up, 0.0)
            below = np.fmax((self._lows - values) / self._down, 0.0)
        return np.asarray((self._rise * np.log1p(above) + self._fall * np.log1p(below)).sum(axis=1))


class _End(NamedTuple):
    """One end of a numeric feature."""

    value: float
    distance: float
    """From the middle; 1 where all values are the same."""
    exponent: float

    @classmethod
    def of(cls, cells: NumericCells, side: int) -> "_End":
        if not cells.uppers:
            return cls(math.inf if side == ABOVE else -math.inf, 1.0, 1.0)  # nothing is outside of nothing
        counts = np.array(cells.counts[:-RESERVED], dtype=np.float64)
        points, lows = _finite(cells.uppers), _finite([cells.lowest, *cells.uppers[:-1]])
        middle = points[int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))]
        distances = points - middle if side == ABOVE else (middle - lows)[::-1]
        counts = counts if side == ABOVE else counts[::-1]
        first = int(np.searchsorted(np.cumsum(counts), (1.0 - HILL) * counts.sum()))
        distance, spread = float(distances[-1]), float(points[-1] - lows[0])
        value = float(points[-1] if side == ABOVE else lows[0])
        if distances[first] <= 0:
            return cls(value, distance or spread or 1.0, 1.0)
        rises = counts[first:] @ (np.log(distances[first:]) - np.log(distances[first]))
        return cls(value, distance, min(counts[first:].sum() / max(rises, 1e-9), STEEPEST))


def lone_reach(cells: NumericCells, side: int, next_to_it: float) -> float:
    """How far outside the value at one end of the reference is of the others, of which `next_to_it` is the end.

    `side` is BELOW or ABOVE.
    """
    end = _End.of(cells, side)
    following, other = _finite([next_to_it, cells.lowest if side == ABOVE else cells.uppers[-1]]).tolist()
    gap = abs(end.value - following)
    if gap < end.distance:
        return end.exponent * (math.log(end.distance) - math.log(end.distance - gap))
    spread = abs(following - other) or 1.0  # most values are where this end would be without it
    return math.log(gap + spread) - math.log(spread)


class Scorer:
    """Scores events, for as long as the reference stays. Built once, because its tables are large."""

    def __init__(self, learnt: Outliers, cells: Sequence[Cells], counts: Sequence[Sequence[int]]) -> None:
        """`cells` and `counts` are those of the features, in the order in which they were learnt."""
        self._parts = _Parts(cells, counts)
        self._linked = np.array(learnt.linked, dtype=np.intp)
        self._links = np.array(learnt.links).reshape(len(learnt.linked), -1)
        self._units = learnt.units
        self._tail = np.array(learnt.tail)[::-1].copy()
        self._shares = np.array([*learnt.ranks, learnt.rows + 1]) / (learnt.rows + 1)

    def scores(self, codes: Codes, outside: Floats) -> Floats:
        """How strange events are, at least 0, shape (n,).

        Args:
            codes: shape (n, features).
            outside: how far their values are outside, as `Reach` has it, shape (n,).
        """
        together = _beyond(self._parts.scores(codes)[:, self._linked] @ self._links)
        alone = self._parts.surprises(codes) + outside
        return np.asarray(np.round(np.maximum(together / self._units[0], alone / self._units[1]), DIGITS), np.float64)

    def shares(self, scores: Floats) -> Floats:
        """The share of reference events that were at least as strange, in [1 / (rows + 1), 1], never too small."""
        return np.asarray(self._shares[self._tail.size - np.searchsorted(self._tail, scores, side="left")])


def learn(
    cells: Sequence[Cells], counts: Sequence[Sequence[int]], codes: Codes, left_out: Codes, outside: Floats
) -> Outliers:
    """Learn from coded reference events.

    Args:
        cells: of each feature.
        counts: how often each of its codes came.
        codes: of the events, shape (n, features), n at least 1.
        left_out: the codes that the same events would have, had each not been in the reference: a value larger than
            all others is above, a category that came once was never seen.
        outside: how far these values would be outside then, shape (n,).
    """
    chosen = np.linspace(0, len(codes) - 1, min(len(codes), MAX_ROWS)).astype(np.intp)
    codes, left_out, outside = codes[chosen], left_out[chosen], outside[chosen]
    parts, rows = _Parts(cells, counts), len(chosen)
    scores = parts.scores(codes)
    spread = scores.T @ scores / rows
    linked = _linked(spread)
    scores = scores[:, linked]
    precision = np.linalg.inv((1.0 - RIDGE) * spread[np.ix_(linked, linked)] + RIDGE * np.eye(linked.size))
    links = _rounded(precision / np.sqrt(np.diag(precision)))
    # Sherman and Morrison: what an event's residuals would be, had it not been in the spread.
    leverage = (1.0 - RIDGE) * ((scores @ precision) * scores).sum(axis=1) / rows
    together = _beyond(parts.scores(left_out)[:, linked] @ links / (1.0 - leverage)[:, np.newaxis])
    alone = parts.surprises_left_out(codes, left_out) + outside
    unit, unit_alone = (float(_rounded(max(np.quantile(part, 1.0 - UNIT), 1.0))) for part in (together, alone))
    ordered = np.sort(np.maximum(together / unit, alone / unit_alone))[::-1]
    ranks = np.unique(np.geomspace(1, max(rows * TAIL, 1), KEPT).astype(np.intp))
    return Outliers(
        linked=tuple(linked.tolist()),
        links=tuple(links.ravel().tolist()),
        units=(unit, unit_alone),
        tail=tuple(_rounded(ordered[ranks - 1]).tolist()),
        ranks=tuple(ranks.tolist()),
        rows=rows,
    )


class _Parts:
    """Tables of all features in a row, and where each begins."""

    def __init__(self, cells: Sequence[Cells], counts: Sequence[Sequence[int]]) -> None:
        held = [np.array(count, dtype=np.float64) for count in counts]
        scores = score_tables(cells)
        self._scores = np.concatenate([row[: count.size] for row, count in zip(scores, held, strict=True)])
        self._surprises = np.concatenate([_surprises(count, 0.0) for count in held])
        self._left_out = np.concatenate([_surprises(count, 1.0) for count in held])
        self._starts = np.cumsum([0, *(count.size for count in held)])[:-1]

    def scores(self, codes: Codes) -> Floats:
        """Normal scores, shape (n, features)."""
        return np.asarray(self._scores[codes + self._starts])

    def surprises(self, codes: Codes) -> Floats:
        """By how much values are rarer than the ordinary, in nats, all together, shape (n,)."""
        return np.asarray(self._surprises[codes + self._starts].sum(axis=1))

    def surprises_left_out(self, codes: Codes, left_out: Codes) -> Floats:
        """The same of reference events, each as if it had not been in the reference."""
        places, others = codes + self._starts, left_out + self._starts
        return np.asarray(np.where(codes == left_out, self._left_out[places], self._surprises[others]).sum(axis=1))


def _finite(values: Sequence[float]) -> Floats:
    """Values of which differences are no infinity."""
    return np.asarray(np.clip(np.array(values, dtype=np.float64), -FARTHEST, FARTHEST), dtype=np.float64)


def _surprises(counts: Floats, without: float) -> Floats:
    """Of each code of one feature; `without` is how many events are left out of each code's own count."""
    held = np.maximum(counts - without, 1.0)  # what never came could have been the next event
    found = np.log(max(counts.sum(), 1.0)) - np.log(held) - _ORDINARY
    found[-RESERVED + ABSENT] = 0.0
    return np.asarray(np.maximum(found, 0.0))


def _beyond(residuals: Floats) -> Floats:
    """By how much they go beyond the ordinary, in nats of a standard normal, all together, shape (n,)."""
    residuals *= residuals
    residuals *= 0.5
    residuals -= _ORDINARY
    return np.asarray(np.maximum(residuals, 0.0, out=residuals).sum(axis=1))


def _linked(spread: Floats) -> Codes:
    """The features that go together most with any other, in order of place."""
    deviations = np.sqrt(np.maximum(np.diag(spread), 1e-12))
    strongest = np.abs(spread / np.outer(deviations, deviations) - np.eye(len(spread))).max(axis=1)
    return np.sort(np.argsort(-strongest, kind="stable")[:LINKED])


def _rounded(values: npt.ArrayLike) -> Floats:
    """To six digits: more are noise, and cost a third of a baseline's size."""
    return np.array([float(f"{value:.6g}") for value in np.ravel(values)]).reshape(np.shape(values))
