"""Agreement: whether the served model still answers as its surrogate expects, for each prediction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.bets import Reference
from detectors.cells import CategoryCells
from detectors.surrogate import LEVELS, UNSURE, Surrogate, score_tables
from monitor.detection.baseline import ANSWERS, PREDICTION, Baseline

Codes = npt.NDArray[np.intp]
AGREES = 0
"""The outcome of an answer that was expected, where answers are told apart by the class they wrongly name."""


class Judged(NamedTuple):
    """Predictions beside what was expected of them, where the surrogate is sure enough to say."""

    rows: Codes
    """Which rows of the batch these are, shape (n,)."""
    kinds: Codes
    """What the surrogate says: its class and its certainty, shape (n,)."""
    outcomes: Codes
    """Class codes of what the model said, shape (n,)."""

    @property
    def unexpected(self) -> Codes:
        """AGREES, or 1 + the class code of an answer that was not expected; shape (n,)."""
        return np.where(self.outcomes == self.kinds // LEVELS, AGREES, self.outcomes + 1)


class Agreement:
    """Holds a model's answers against its surrogate."""

    def __init__(self, surrogate: Surrogate, baseline: Baseline) -> None:
        self._judge = surrogate.judge()
        names = list(baseline.features)
        served = sorted(baseline.features.keys() - ANSWERS)
        self._places = np.array([names.index(name) for name in served])
        tables = score_tables([baseline.features[name].cells for name in served])
        self._scores, self._starts = tables.ravel(), np.arange(len(served)) * tables.shape[1]
        self._output = names.index(PREDICTION)
        self._classes = _class_of_code(baseline)

    def of(self, codes: Codes) -> Judged:
        """Judge coded events, shape (n, streams) as the baseline has them."""
        outcomes = self._classes[codes[:, self._output]]
        kinds = self._judge(self._scores.take(codes.take(self._places, axis=1) + self._starts))
        rows = ((outcomes >= 0) & (kinds != UNSURE)).nonzero()[0]
        return Judged(rows, kinds[rows], outcomes[rows])


def pooled(references: Sequence[Reference]) -> list[Reference]:
    """The references of all kinds of one certainty together, by unexpected answer: one for each level, if any.

    A source sends too little for one reference per class, and a trigger leads from any class to one.
    """
    levels = [references[level::LEVELS] for level in range(LEVELS)]
    return [
        Reference(
            counts=_unexpected([reference.counts for reference in level]),
            groups={
                partition: {
                    name: _unexpected([reference.groups[partition].get(name, ()) for reference in level])
                    for name in sorted({name for reference in level for name in reference.groups[partition]})
                }
                for partition in level[0].groups
            },
            dispersion=max(reference.dispersion for reference in level),
        )
        for level in levels
        if level
    ]


def _unexpected(counts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Counts of answers by expected class (none for one that never came) as counts of unexpected answers."""
    classes = len(counts)
    table = np.array([row or (0,) * classes for row in counts])
    agreed = int(np.trace(table))
    np.fill_diagonal(table, 0)
    return agreed, *table.sum(axis=0).tolist()


def _class_of_code(baseline: Baseline) -> Codes:
    """The class code of each code of the predicted class; -1 where there is no prediction."""
    cells = baseline.features[PREDICTION].cells
    if not isinstance(cells, CategoryCells):
        raise TypeError("a surrogate is asked of a model that predicts numbers")
    other = len(baseline.classes) - 1
    classes = np.full(cells.size, other, dtype=np.intp)
    classes[: len(cells.values)] = [baseline.classes.index(value) for value in cells.values]
    classes[cells.size - 1] = -1
    return classes
