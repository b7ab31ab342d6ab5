"""Scores of how strange an event is, or a label: what has been proposed, each learnt from a reference of its own half.

A rival learns from every second reference event and is calibrated on the others; Tocsin learns from all, and leaves
each out in turn.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from river import anomaly
from scipy.special import ndtr
from sklearn.covariance import MinCovDet

from detectors import surrogate
from detectors.surrogate import score_tables
from monitor.detection.baseline import Baseline
from monitor.detection.columns import Columns
from monitor.detection.outliers import inputs
from monitor.intake.events import Prediction

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

RESERVOIR = 1_000
"""Reference rows that a neighbour is sought among."""
NEIGHBOURS = 10
JITTER = 1e-3
"""A determinant needs columns that vary."""


class Coded(NamedTuple):
    """Events as a baseline codes them."""

    scores: Floats
    """Normal scores of their inputs, shape (n, features)."""
    codes: Codes
    """The codes of these."""
    surprises: Floats
    """-log of the shares of their values."""
    answers: Codes
    """The class that the model named."""


def coded(baseline: Baseline, events: list[Prediction]) -> Coded:
    """Events as a baseline codes them."""
    columns = Columns(baseline)
    codes = columns.features([(place, event.epoch, event) for place, event in enumerate(events)]).codes
    served = inputs(baseline.features)
    cells = [baseline.features[name].cells for name in served]
    own = codes[:, [columns.names.index(name) for name in served]]
    surprises = np.empty(own.shape)
    for place, name in enumerate(served):
        counts = np.array(baseline.features[name].reference.counts) + 0.5
        surprises[:, place] = -np.log(counts / counts.sum())[own[:, place]]
    answers = np.array([columns.class_code(event.prediction) for event in events], dtype=np.intp)
    return Coded(score_tables(cells)[np.arange(len(served)), own], own, surprises, answers)


Rival = Callable[[Coded], Callable[[Coded], Floats]]
"""Learns from events, and gives what scores others."""


def _half_space_trees(learnt: Coded) -> Callable[[Coded], Floats]:
    trees = anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=1)
    for row in ndtr(learnt.scores).tolist():
        trees.learn_one(dict(enumerate(row)))
    return lambda events: np.array([trees.score_one(dict(enumerate(row))) for row in ndtr(events.scores).tolist()])


def _one_class_svm(learnt: Coded) -> Callable[[Coded], Floats]:
    machine = anomaly.OneClassSVM(nu=0.1)
    for row in learnt.scores.tolist():
        machine.learn_one(dict(enumerate(row)))
    return lambda events: np.array([machine.score_one(dict(enumerate(row))) for row in events.scores.tolist()])


def _mahalanobis(learnt: Coded) -> Callable[[Coded], Floats]:
    spread = np.cov(learnt.scores.T) + 0.05 * np.eye(learnt.scores.shape[1])
    precision = np.linalg.inv(spread)
    return lambda events: ((events.scores @ precision) * events.scores).sum(axis=1)


def _determinant(learnt: Coded) -> Callable[[Coded], Floats]:
    noise = JITTER * np.random.default_rng(0).standard_normal(learnt.scores.shape)
    robust = MinCovDet(support_fraction=0.9, random_state=0).fit(learnt.scores + noise)
    return lambda events: np.asarray(robust.mahalanobis(events.scores))


def _rarity(_learnt: Coded) -> Callable[[Coded], Floats]:
    return lambda events: events.surprises.sum(axis=1)


def _rarity_in_class(learnt: Coded) -> Callable[[Coded], Floats]:
    """Shares among the events that were answered alike, drawn towards those among all by four events."""

    def surprises(events: Coded) -> Floats:
        total = np.zeros(len(events.codes))
        for place, column in enumerate(learnt.codes.T):
            counts = np.zeros((classes, max(column.max(), events.codes[:, place].max()) + 1))
            np.add.at(counts, (learnt.answers, column), 1.0)
            among_all = (counts.sum(axis=0) + 0.5) / (counts.sum() + counts.shape[1] / 2)
            shares = (counts + 4 * among_all) / (counts.sum(axis=1, keepdims=True) + 4)
            total -= np.log(shares[np.minimum(events.answers, classes - 1), events.codes[:, place]])
        return total

    classes = int(learnt.answers.max()) + 1
    return surprises


def _nearest(learnt: Coded, scores: Floats) -> tuple[Codes, Floats]:
    """The rows of the nearest reference events, and how far they are."""
    kept = learnt.scores[-RESERVOIR:]
    squares = (scores**2).sum(axis=1)[:, np.newaxis] + (kept**2).sum(axis=1) - 2 * scores @ kept.T
    near = np.argpartition(squares, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    return near, np.take_along_axis(squares, near, axis=1)


def _distance(learnt: Coded) -> Callable[[Coded], Floats]:
    return lambda events: _nearest(learnt, events.scores)[1].mean(axis=1)


INPUTS: Mapping[str, Rival] = {
    "river HalfSpaceTrees": _half_space_trees,
    "river OneClassSVM": _one_class_svm,
    "sum of -log shares": _rarity,
    "sum of -log shares in the class": _rarity_in_class,
    "distance of 10 neighbours": _distance,
    "Mahalanobis, ridge": _mahalanobis,
    "Mahalanobis, MCD": _determinant,
}
"""Of inputs. Local outlier factors are apart: they take milliseconds an event."""


def local_outlier_factor(learnt: Coded, events: Coded, rows: int) -> Floats:
    """River's, learnt from so many rows."""
    factor = anomaly.LocalOutlierFactor(n_neighbors=NEIGHBOURS)
    for row in learnt.scores[:rows].tolist():
        factor.learn_one(dict(enumerate(row)))
    return np.array([factor.score_one(dict(enumerate(row))) for row in events.scores.tolist()])


Consistency = Callable[[Coded, Codes, Coded, Codes], Floats]
"""(reference, its labels, events, their labels) -> how inconsistent each label is."""


def _neighbours(learnt: Coded, known: Codes, events: Coded, labels: Codes) -> Floats:
    near, _ = _nearest(learnt, events.scores)
    return np.asarray((known[-RESERVOIR:][near] != labels[:, np.newaxis]).mean(axis=1))


def _unexpected(learnt: Coded, known: Codes, events: Coded, labels: Codes) -> Floats:
    classes = int(max(known.max(), labels.max(), learnt.answers.max())) + 1
    weights = surrogate._fit(learnt.scores, learnt.answers, classes)
    logits = events.scores @ weights[:-1] + weights[-1]
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(labels.size), labels])


def _contradiction(_learnt: Coded, _known: Codes, events: Coded, labels: Codes) -> Floats:
    return (labels != events.answers).astype(np.float64)


LABELS: Mapping[str, Consistency] = {
    "the label is not the answer": _contradiction,
    "-log likelihood by the surrogate": _unexpected,
    "10 neighbours": _neighbours,
}
