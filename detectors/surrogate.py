"""A surrogate: a small frozen model of the served model, learnt while all was well.

A served model that was poisoned answers otherwise than it would have before, and that shows without any label: it
disagrees with its surrogate where both used to agree. The surrogate is a softmax regression on the normal scores of the
cells (distillation: Hinton, Vinyals and Dean 2015, arXiv:1503.02531); it never learns again, so nobody can teach it.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.cells import RESERVED, Cells, normal_scores

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

SURE = (0.8, 0.97)
"""Probabilities from which the surrogate is fairly sure, and sure. Below the first it has no say: where it does not
know the answer, a change of the mix of classes would look like a change of the model."""
_SURE = np.array(SURE)
LEVELS = len(SURE)
UNSURE = -1
"""The kind of an event that the surrogate has no say about."""
FOLDS = 5
"""Parts of the reference, in order of time; what is said of one is learnt from the others."""
MAX_ROWS = 4_000
"""Reference events learnt from; evenly spread if there are more."""
PENALTY = 1.0
"""Ridge penalty on the coefficients, as the inverse variance of a Gaussian prior."""
STEPS = 100
"""Iterations of the optimiser; a surrogate need not be exact."""


class Surrogate(msgspec.Struct, frozen=True):
    """Coefficients of a softmax regression."""

    classes: int
    weights: tuple[float, ...]
    """Shape (streams + 1, classes), row by row; the last row is the intercept."""

    def judge(self) -> Callable[[Floats], Codes]:
        """A function from normal scores of the cells, shape (n, streams), to kinds, shape (n,).

        A kind is the expected class and the level of certainty: `class * LEVELS + level`, or UNSURE.
        """
        weights = np.array(self.weights).reshape(-1, self.classes)
        coefficients, intercept = weights[:-1], weights[-1]
        return lambda scores: _kinds(scores @ coefficients + intercept)

    def kinds(self, scores: Floats) -> Codes:
        """The same, once; for many batches keep a `judge`."""
        return self.judge()(scores)


def score_tables(cells: Sequence[Cells]) -> Floats:
    """The normal score of each code of each stream, shape (streams, codes), as a surrogate sees them.

    Values out of range count as the nearest cell, and what is missing as the middle.
    """
    tables = np.zeros((len(cells), max(cell.size for cell in cells)))
    for place, cell in enumerate(cells):
        inside = normal_scores(cell.counts[:-RESERVED])
        if inside.size:
            tables[place, : cell.size] = [*inside, inside[-1], inside[0], 0.0, 0.0]
    return tables


def learn(scores: Floats, answers: Codes, classes: int) -> tuple[Surrogate, Codes]:
    """Learn a surrogate, and what it would have said of the reference itself had it not learnt from it.

    Args:
        scores: normal scores of the cells, shape (n, streams), in order of time.
        answers: class that the served model predicted, shape (n,).
        classes: number of classes.

    Returns:
        The surrogate, and cross-fitted kinds of the reference events, shape (n,).
    """
    fold = np.arange(answers.size) * FOLDS // max(answers.size, 1)
    kinds = np.zeros(answers.size, dtype=np.intp)
    for part in range(FOLDS):
        others, own = fold != part, fold == part
        weights = _fit(scores[others], answers[others], classes)
        kinds[own] = _kinds(scores[own] @ weights[:-1] + weights[-1])
    weights = _fit(scores, answers, classes)
    return Surrogate(classes, tuple(float(f"{weight:.6g}") for weight in weights.ravel())), kinds


def _kinds(logits: Floats) -> Codes:
    expected = logits.argmax(axis=1)
    certainty = 1.0 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    level = _SURE.searchsorted(certainty) - 1
    return np.asarray(np.where(level < 0, UNSURE, expected * LEVELS + level), dtype=np.intp)


def _fit(scores: Floats, answers: Codes, classes: int) -> Floats:
    """Ridge-penalised maximum likelihood, shape (streams + 1, classes)."""
    from scipy.optimize import minimize  # noqa: PLC0415 - only while learning

    chosen = np.linspace(0, answers.size - 1, min(answers.size, MAX_ROWS)).astype(np.intp)
    inputs = np.column_stack([scores[chosen], np.ones(chosen.size)])
    wanted = np.eye(classes)[answers[chosen]]
    penalty = np.full((inputs.shape[1], 1), PENALTY)
    penalty[-1] = PENALTY / 100  # the intercept follows the shares of the classes almost freely

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, classes)
        logits = inputs @ weights
        logits -= logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        value = float((normaliser - (logits * wanted).sum(axis=1, keepdims=True)).sum())
        slope = inputs.T @ (np.exp(logits - normaliser) - wanted) + penalty * weights
        return value + float((penalty * weights**2).sum()) / 2, slope.ravel()

    start = np.zeros(inputs.shape[1] * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    return np.asarray(found.x, dtype=np.float64).reshape(-1, classes)
