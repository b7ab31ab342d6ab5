"""Pairs: how two features go together, whatever each of them does alone.

A value becomes its octile in the reference, so a pair of values is one of 64 squares, on which only the copula of the
two features is seen. Bets are on Gaussian copulas, which do not change when the features change places, nor when both
change sign; squares that are alike under these are one code, and 20 remain.
"""

import math

import numpy as np
import numpy.typing as npt

from detectors.bets import FADE, Caution, Reference, make_safe
from detectors.cells import ABOVE, BELOW, RESERVED

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]

OCTILES = 8
UNKNOWN = OCTILES
"""In place of an octile: the value is missing."""
STEPS = (1.0, 0.4)
"""Changes of correlation bet on, up and down, on Fisher's scale (atanh): from 0 to 0.76, and to 0.38."""
PAIR_WEIGHTS = np.array([0.35, 0.35, 0.15, 0.15])
"""How a pair's share of the budget is spread over its bets."""
MOST = 3.0
"""Nats that one event counts at most: how seldom a square comes that hardly came is not known."""
LIMIT = 0.98
"""Correlations are not told apart beyond this."""

SCORES = np.array([-1.6468, -0.8954, -0.4913, -0.1580, 0.1580, 0.4913, 0.8954, 1.6468])
"""Mean of a standard normal variable in each octile."""


def _folded() -> Codes:
    """The code of each square of octiles, UNKNOWN included, shape (OCTILES + 1, OCTILES + 1)."""
    last = OCTILES - 1
    codes: dict[tuple[int, int], int] = {}
    table = np.empty((OCTILES + 1, OCTILES + 1), dtype=np.intp)
    for i, j in np.ndindex(OCTILES, OCTILES):
        alike = min((i, j), (j, i), (last - i, last - j), (last - j, last - i))
        table[i, j] = codes.setdefault(alike, len(codes))
    table[UNKNOWN, :] = table[:, UNKNOWN] = len(codes)
    return table


FOLDED = _folded()
PAIR_CODES = int(FOLDED.max()) + 1
"""Codes of a pair, the last for one of which a value is missing."""
PRODUCTS = np.array(
    [np.outer(SCORES, SCORES)[FOLDED[:OCTILES, :OCTILES] == code].mean() for code in range(PAIR_CODES - 1)]
)
"""Product of the two scores for each code but the last."""
_SQUARES = np.array(
    [np.add.outer(SCORES**2, SCORES**2)[FOLDED[:OCTILES, :OCTILES] == code].mean() for code in range(PAIR_CODES - 1)]
)


def octiles(counts: tuple[int, ...]) -> Codes:
    """The octile of each code of a numeric feature, by its middle rank in the reference; shape (codes,).

    Args:
        counts: how often each code came, reserved ones included.
    """
    regular = np.asarray(counts[:-RESERVED], dtype=np.float64)
    found = np.full(len(counts), UNKNOWN, dtype=np.intp)
    if regular.sum() == 0:
        return found
    middle = (np.cumsum(regular) - regular / 2) / regular.sum()
    found[: regular.size] = np.minimum((middle * OCTILES).astype(np.intp), OCTILES - 1)
    found[regular.size + ABOVE], found[regular.size + BELOW] = OCTILES - 1, 0
    return found


def correlation(counts: npt.ArrayLike) -> float:
    """Correlation of the scores of a pair, from how often each of its codes came; 0 if there is nothing to go by."""
    held = np.asarray(counts, dtype=np.float64)[:-1]
    squares = float(held @ _SQUARES) / 2
    return 0.0 if squares == 0.0 else float(np.clip(held @ PRODUCTS / squares, -LIMIT, LIMIT))


def pair_bets(reference: Reference, caution: Caution) -> Floats:
    """The bets on one pair, shape (PAIR_CODES, 4): likelihood ratios of copulas that are more, or less, correlated."""
    before = correlation(reference.counts)
    counts = np.asarray(reference.counts[:-1], dtype=np.float64)
    columns = []
    for step in STEPS:
        for sign in (1.0, -1.0):
            after = math.tanh(math.atanh(before) + sign * step)
            ratio = np.exp(np.clip(_log_density(after) - _log_density(before), -MOST, MOST))
            columns.append(ratio * counts.sum() / (counts @ ratio))  # what the octiles leave of the copula
    table = np.vstack([np.stack(columns, axis=1), np.full(len(columns), FADE)])
    safe = make_safe(table, reference, caution)
    safe[-1] = FADE
    return safe


def _log_density(rho: float) -> Floats:
    """Logarithm of the Gaussian copula's density for each code but the last."""
    return np.asarray(
        -0.5 * math.log1p(-(rho**2)) - (rho**2 * _SQUARES - 2 * rho * PRODUCTS) / (2 * (1 - rho**2)), dtype=np.float64
    )
