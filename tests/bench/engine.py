"""The product's own engine on many repeats at once: what it learns and bets is asked of it, and not repeated here."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from detectors.bets import FEATURE_WEIGHTS, Caution, feature_bets, outcome_bets
from detectors.cells import NumericCells
from monitor.detection.bank import Bank
from monitor.detection.baseline import Baseline, FeatureReference
from monitor.detection.learning import build
from monitor.intake.events import Prediction
from monitor.intake.join import Joined
from tests.bench.paths import Follow, PathDetector, Start
from tests.bench.worlds import DAY, Floats

Codes = npt.NDArray[np.intp]
Encode = Callable[[Floats], Codes]

NAME = "Tocsin"
BEGAN = 1_700_000_000.0
SPACING = 86_400.0 / DAY
"""Seconds between two events."""
BLOCK = 64
"""Streams that are learnt together."""
CLASSES = ("one", "other")


def references(values: Floats) -> list[FeatureReference]:
    """What a baseline says about each column of in-control values, (events, streams)."""
    found: list[FeatureReference] = []
    for start in range(0, values.shape[1], BLOCK):
        block = values[:, start : start + BLOCK]
        names = [f"{number:03d}" for number in range(block.shape[1])]
        rows = [dict(zip(names, row, strict=True)) for row in block.tolist()]
        baseline = build("bench", [_prediction(number, row, CLASSES[0]) for number, row in enumerate(rows)], [])
        found += [baseline.features[name] for name in names]
    return found


def features() -> PathDetector:
    """All bets on all features, which share the budget equally; the largest statistic of a stream counts."""

    def learn(learnt: Floats) -> Start:
        events, repeats, columns = learnt.shape
        found = references(learnt.reshape(events, repeats * columns))
        tables = [feature_bets(feature.cells, feature.reference, Caution()) for feature in found]
        encoders = [feature.cells.encoder() for feature in found if isinstance(feature.cells, NumericCells)]
        return follower(tables, encoders, FEATURE_WEIGHTS / columns, columns)

    return PathDetector(NAME, learn)


def outcomes(classes: int, seed: int) -> PathDetector:
    """All bets on the outcomes of a model with two classes, where labels are of one of them only, or of both."""

    def learn(learnt: Floats) -> Start:
        random = np.random.default_rng(seed)
        given = random.integers(classes, size=learnt.shape[:2])
        baselines = [_labelled(*column) for column in zip(given.T, learnt[..., 0].T, strict=True)]
        names = CLASSES[:classes]
        # right and wrong answers, (repeats, classes, 2, bets): the alphabet has further outcomes, which do not come
        tables = np.stack([[_answers(baseline, name) for name in names] for baseline in baselines])
        weights = Bank(baselines[0], 1.0, Caution()).families["confusion"].weights[0]
        return lambda: _keyed(tables, weights / weights.sum(), random)

    return PathDetector(NAME if classes == 1 else f"{NAME}, errors of {classes} classes", learn)


def _answers(baseline: Baseline, label: str) -> Floats:
    """The bets on a right and a wrong answer, (2, bets)."""
    right, wrong = baseline.classes.index(label), baseline.classes.index(CLASSES[1 - CLASSES.index(label)])
    return outcome_bets(baseline.confusion[label], right, Caution())[[right, wrong]]


def _keyed(tables: Floats, weights: Floats, random: np.random.Generator) -> Follow:
    """The recursion where each event feeds one key, its label's class; the others stay as they are."""
    held = np.ones((*tables.shape[:2], weights.size))
    repeats = np.arange(len(tables))

    def follow(values: Floats) -> Floats:
        wrong = values[..., 0].astype(np.intp)
        given = random.integers(tables.shape[1], size=wrong.shape)
        found = np.empty(wrong.shape)
        with np.errstate(over="ignore"):
            for place in range(len(values)):
                fed = repeats, given[place]
                held[fed] = held[fed] * tables[(*fed, wrong[place])] + 1.0
                found[place] = held[fed] @ weights - weights.sum()
        return found

    return follow


def follower(tables: Sequence[Floats], encoders: Sequence[Encode], weights: Floats, columns: int) -> Start:
    """The recursion of `detectors.edetector.Family` on streams side by side, without thresholds and excursions."""
    codes = max(len(table) for table in tables)
    stacked = np.ones((len(tables), codes, weights.size))
    for place, table in enumerate(tables):
        stacked[place, : len(table)] = table
    flat = stacked.reshape(-1, weights.size)
    offsets = np.arange(len(tables)) * codes
    return lambda: _side_by_side(flat, offsets, encoders, weights, columns)


def _side_by_side(flat: Floats, offsets: Codes, encoders: Sequence[Encode], weights: Floats, columns: int) -> Follow:
    held = np.ones((len(encoders), weights.size))

    def follow(values: Floats) -> Floats:
        wide = np.ascontiguousarray(values.reshape(len(values), -1).T)
        rows = np.stack([encode(column) for encode, column in zip(encoders, wide, strict=True)], axis=1) + offsets
        found = np.empty(values.shape[:2])
        with np.errstate(over="ignore"):
            for place, row in enumerate(rows):
                np.multiply(held, flat[row], out=held)
                np.add(held, 1.0, out=held)
                levels = held @ weights - weights.sum()
                found[place] = levels.reshape(-1, columns).max(axis=1)
        return found

    return follow


def _labelled(given: Codes, wrong: Floats) -> Baseline:
    """The baseline of a model that was asked about these classes, and sometimes answered with the other one."""
    labels = [CLASSES[label] for label in given.tolist()]
    answers = [CLASSES[label ^ int(error)] for label, error in zip(given.tolist(), wrong.tolist(), strict=True)]
    joined = [
        Joined("bench", "1", None, answer, _time(number), label, None, _time(number))
        for number, (answer, label) in enumerate(zip(answers, labels, strict=True))
    ]
    return build("bench", [_prediction(number, {}, answer) for number, answer in enumerate(answers)], joined)


def _prediction(number: int, values: dict[str, float], answer: str) -> Prediction:
    return Prediction(str(number), _time(number), "bench", "1", {**values}, answer)


def _time(number: int) -> float:
    return BEGAN + number * SPACING
