"""Cells: a feature's values cut into a small alphabet, learnt once from the reference and then frozen.

Everything that is watched becomes a code into such an alphabet, so that one engine can bet on all of it. The last four
codes of every alphabet are reserved: a value above (or, for categories, never seen in) the reference, one below it, one
that is missing, and one that this kind of event never has, on which nobody bets.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]

WIDTH = 0.1
"""Width of a numeric cell in standard deviations of a normal score: equal steps of the score, not of the count."""
MIN_COUNT = 4
"""Reference events that a regular cell must hold."""
MAX_CATEGORIES = 48
SESSION = 20
"""Events in which a session is over: a category that came within so many, and never again, has come once."""
RESERVED = 4
ABOVE, BELOW, MISSING, ABSENT = 0, 1, 2, 3


class NumericCells(msgspec.Struct, frozen=True, tag="numeric"):
    """Intervals of a numeric feature; ties are never split, so discrete and constant features need no special case."""

    lowest: float
    uppers: tuple[float, ...]
    """The largest reference value in each cell, ascending."""
    counts: tuple[int, ...]
    """Reference events in each code, reserved ones included."""

    @property
    def size(self) -> int:
        """Number of codes, reserved ones included."""
        return len(self.uppers) + RESERVED

    def encoder(self) -> Callable[[Floats], Codes]:
        """A function from values (shape (n,)) to codes; NaN is missing, infinities are above or below."""
        edges, order = self.edges(), self.order()

        def encode(values: Floats) -> Codes:
            places = np.searchsorted(edges, values, side="left")
            # NaN sorts behind everything; adding 1 for it is cheaper than looking for it first.
            return np.asarray(order[places + np.isnan(values)])

        return encode

    def edges(self) -> Floats:
        """The ends of all intervals, of the one below the cells first, shape (cells + 1,).

        `searchsorted` gives the place of a value among them; a NaN gets that of what is above, and needs 1 more.
        """
        return np.array([math.nextafter(self.lowest, -math.inf), *self.uppers])

    def order(self) -> Codes:
        """The code of each place: below, the cells, above, missing."""
        regular = len(self.uppers)
        return np.array([regular + BELOW, *range(regular), regular + ABOVE, regular + MISSING], dtype=np.intp)

    def encode(self, values: Floats) -> Codes:
        """Codes of `values`, once; for many batches keep an `encoder`."""
        return self.encoder()(values)


class CategoryCells(msgspec.Struct, frozen=True, tag="category", omit_defaults=True):
    """The categories of a feature, the frequent ones on their own, the rare ones together in the last regular cell."""

    values: tuple[str, ...]
    rare: frozenset[str]
    counts: tuple[int, ...]
    once: int = 0
    """Events of categories that came once, or in one session: about as many of as many events will be of categories
    that the reference does not have (Good 1953, "The population frequencies of species", Biometrika 40)."""

    @property
    def size(self) -> int:
        """Number of codes, reserved ones included."""
        return len(self.counts)

    def table(self) -> dict[str | None, int]:
        """Code of every category seen in the reference, and of None; anything else has code `unseen`."""
        codes: dict[str | None, int] = {value: code for code, value in enumerate(self.values)}
        codes.update(dict.fromkeys(self.rare, len(self.values)))
        codes[None] = self.size - RESERVED + MISSING
        return codes

    @property
    def unseen(self) -> int:
        """The code of a category that the reference did not have."""
        return self.size - RESERVED + ABOVE


Cells = NumericCells | CategoryCells


def numeric_cells(values: Floats) -> NumericCells:
    """Cut reference values (shape (n,), NaN where missing) into cells of about WIDTH, each with MIN_COUNT or more."""
    from scipy.special import ndtri  # noqa: PLC0415 - scipy costs 0.2 s and is needed only while learning

    present = np.sort(values[np.isfinite(values)])
    outside = (int(np.isposinf(values).sum()), int(np.isneginf(values).sum()), int(np.isnan(values).sum()), 0)
    if present.size == 0:
        return NumericCells(lowest=0.0, uppers=(), counts=outside)
    atoms, atom_counts = np.unique(present, return_counts=True)
    middles = ndtri((np.cumsum(atom_counts) - atom_counts / 2) / present.size)
    density = present.size * WIDTH * np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)
    uppers: list[float] = []
    counts: list[int] = []
    held = 0
    for atom, count, wanted in zip(atoms.tolist(), atom_counts.tolist(), density.tolist(), strict=True):
        if held >= MIN_COUNT and (held >= wanted or count >= wanted):
            counts.append(held)
            held = 0
        elif uppers:
            uppers.pop()
        uppers.append(atom)
        held += count
    counts.append(held)
    if len(counts) > 1 and counts[-1] < MIN_COUNT:
        last = counts.pop()
        uppers.pop(-2)
        counts[-1] += last
    return NumericCells(float(atoms[0]), tuple(uppers), (*counts, *outside))


def category_cells(values: Iterable[str | None]) -> CategoryCells:
    """Learn categories, in order of time: up to MAX_CATEGORIES - 1 frequent ones on their own, the rest together."""
    seen, first, last = Counter[str | None](), dict[str | None, int](), dict[str | None, int]()
    for place, value in enumerate(values):
        seen[value] += 1
        first.setdefault(value, place)
        last[value] = place
    missing = seen.pop(None, 0)
    ranked = sorted(((value, count) for value, count in seen.items() if value is not None), key=lambda x: (-x[1], x[0]))
    own = [(value, count) for value, count in ranked if count >= MIN_COUNT][: MAX_CATEGORIES - 1]
    rest = ranked[len(own) :]
    counts = [count for _, count in own] + ([sum(count for _, count in rest)] if rest else [])
    return CategoryCells(
        tuple(value for value, _ in own),
        frozenset(value for value, _ in rest),
        (*counts, 0, 0, missing, 0),
        sum(count for value, count in ranked if last[value] - first[value] < SESSION),
    )


def normal_scores(counts: Sequence[int]) -> Floats:
    """Standardised normal scores of ordered cells (counts without reserved ones): mean 0, variance 1 over the counts.

    The score of a cell is the normal quantile of its mid-rank, so that ties and heavy tails are harmless (van der
    Waerden scores). All zero if there are fewer than two cells: a constant has no location.
    """
    from scipy.special import ndtri  # noqa: PLC0415 - scipy costs 0.2 s and is needed only while learning

    held = np.asarray(counts, dtype=np.float64)
    total = held.sum()
    if held.size < 2 or total == 0:
        return np.zeros(held.size)
    middle = (np.cumsum(held) - held / 2) / total
    raw = ndtri(middle)
    centred = raw - (held @ raw) / total
    spread = np.sqrt((held @ centred**2) / total)
    return np.asarray(centred / spread, dtype=np.float64)
