"""The product's own engine on many repeats at once: what it learns and bets is asked of it, and not repeated here."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from detectors.bets import FEATURE_WEIGHTS, Caution, among, feature_bets
from detectors.outcomes import outcome_bets
from detectors.pairs import PAIR_WEIGHTS, pair_bets
from monitor.detection.bank import Bank
from monitor.detection.baseline import EXTRA, PREDICTION, Baseline, FeatureReference, numeric
from monitor.detection.families import WEIGHTS, pairs_caution
from monitor.detection.learning import build
from monitor.detection.pairs import Pairs
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
CLASSES = ("one", "other")


def features() -> PathDetector:
    """All bets on all features, which share the budget equally, and on their pairs; the largest statistic counts."""

    def learn(learnt: Floats) -> Start:
        baselines = [baseline_of(learnt[:, repeat]) for repeat in range(learnt.shape[1])]
        spent = WEIGHTS["features"] + WEIGHTS["pairs"]
        share = WEIGHTS["features"] / spent if baselines[0].pairs else 1.0
        one = _start(baselines, [_feature_tables(baseline) for baseline in baselines], FEATURE_WEIGHTS, share)
        if not baselines[0].pairs:
            return one
        careful = pairs_caution(len(baselines[0].pairs), Caution())
        tables = [[pair_bets(pair.reference, careful) for pair in baseline.pairs] for baseline in baselines]
        other = _start(baselines, tables, PAIR_WEIGHTS, 1.0 - share)
        return lambda: _louder(one(), other())

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


def _louder(one: Follow, other: Follow) -> Follow:
    return lambda values: np.maximum(one(values), other(values))


def _feature_tables(baseline: Baseline) -> list[Floats]:
    careful = among(len(baseline.features), Caution())
    return [feature_bets(feature.cells, feature.reference, careful) for _, feature in served(baseline)]


def served(baseline: Baseline) -> list[tuple[str, FeatureReference]]:
    return [(name, feature) for name, feature in baseline.features.items() if name not in (PREDICTION, EXTRA)]


def _start(baselines: Sequence[Baseline], tables: Sequence[Sequence[Floats]], weights: Floats, share: float) -> Start:
    """The recursion of `detectors.edetector.Family` on the streams of all repeats, without excursions."""
    streams = len(tables[0])
    flat = [table for repeat in tables for table in repeat]
    stacked = np.ones((len(flat), max(len(table) for table in flat), weights.size))
    for place, table in enumerate(flat):
        stacked[place, : len(table)] = table
    offsets = (np.arange(len(flat)) * stacked.shape[1]).reshape(len(tables), streams)
    encoders = [_encoder(baseline, pairs=weights is PAIR_WEIGHTS) for baseline in baselines]
    rows = stacked.reshape(-1, weights.size)
    return lambda: _side_by_side(rows, offsets, encoders, weights * share / streams)


def _encoder(baseline: Baseline, *, pairs: bool) -> Encode:
    """Codes of a repeat's values, (events, features) -> (events, streams)."""
    named = served(baseline)
    encoders = [numeric(feature).encoder() for _, feature in named]
    both = Pairs(dict(named), [(pair.first, pair.second) for pair in baseline.pairs])

    def encode(values: Floats) -> Codes:
        codes = np.stack([each(column) for each, column in zip(encoders, values.T, strict=True)], axis=1)
        return both.of(codes) if pairs else codes

    return encode


def _side_by_side(flat: Floats, offsets: Codes, encoders: Sequence[Encode], weights: Floats) -> Follow:
    held = np.ones((*offsets.shape, weights.size))

    def follow(values: Floats) -> Floats:
        wide = np.ascontiguousarray(values.transpose(1, 0, 2))
        rows = np.stack([encode(repeat) for encode, repeat in zip(encoders, wide, strict=True)], axis=1) + offsets
        found = np.empty(values.shape[:2])
        with np.errstate(over="ignore"):
            for place, row in enumerate(rows):
                np.multiply(held, flat[row], out=held)
                np.add(held, 1.0, out=held)
                found[place] = (held @ weights - weights.sum()).max(axis=1)
        return found

    return follow


def baseline_of(values: Floats) -> Baseline:
    """The baseline of in-control values, (events, features)."""
    names = [f"{number:03d}" for number in range(values.shape[1])]
    rows = [dict(zip(names, row, strict=True)) for row in values.tolist()]
    return build("bench", [_prediction(number, row, CLASSES[0]) for number, row in enumerate(rows)], [])


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
