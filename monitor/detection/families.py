"""Families: the bets on everything that is watched of one model, and how they share its false-alarm budget."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.bets import FADE, FEATURE_WEIGHTS, Caution, Reference, among, excuses, feature_bets
from detectors.edetector import Family
from detectors.outcomes import NO_CHURN, RISES, Churn, outcome_bets
from detectors.pairs import PAIR_WEIGHTS, pair_bets
from detectors.surrogate import SURE
from detectors.walk import Walk
from monitor.detection import askers
from monitor.detection.baseline import PREDICTION, Baseline, DueReference, FeatureReference
from monitor.detection.columns import Columns
from monitor.detection.dues import IN_TIME
from monitor.detection.questions import Question

Floats = npt.NDArray[np.float64]
_Bets = tuple[str, Floats, Floats, Mapping[int, Floats]]
"""Name, factors, weights within the family, and divisors by key."""

WEIGHTS: Mapping[str, float] = {
    "features": 0.19,
    "pairs": 0.02,
    "features/source": 0.25,
    "sources": 0.01,
    "labels": 0.01,
    "labels/class": 0.02,
    "agreement": 0.25,
    "answers/source": 0.25,
    "confusion": 0.4,
    "confusion/source": 0.3,
    "confusion/labeler": 0.3,
}
"""Shares of the budget: confusion on the clock of labels, the others on that of predictions. Without a surrogate,
features have the shares of agreement and of answers too; without pairs, known sources or labels that are due,
theirs."""
CHURN = 0.01
"""Share of answers that a benign retrain may change where the surrogate is fairly sure, in any class and in any one
direction; where it is sure, fewer, as its doubt is smaller."""
PAIRS_VARY = 1.5
"""Times the natural variation of features that is allowed to pairs: markets and seasons change how features go
together, and a reference has seen few of them."""
PAIRS_Z = 2.0
"""Standard errors by which a bound on a pair is above its estimate, at least: many of its squares are rare."""
PREDICTION_SHARE = 0.25
"""Share that the predicted class has of the budget of its family; features share the rest equally."""


def families(
    baseline: Baseline,
    asked: Mapping[str, Question],
    columns: Columns,
    budget: float,
    caution: Caution,
    walk: Walk,
) -> dict[str, Family]:
    """Everything that is watched of a model, by name.

    Args:
        baseline: what is normal.
        asked: what is asked of outcomes.
        columns: gives sources and labelers their keys.
        budget: events per false alarm.
        caution: how far bounds stay away from estimates.
        walk: how statistics go over events.
    """
    bets = [*_features(baseline, columns, caution), *_outcomes(asked, columns, caution)]
    if baseline.residual is not None:
        bets += _residual(baseline.residual, columns, caution)
    spent = dict(WEIGHTS)
    if baseline.pairs:
        bets.append(_pairs(baseline, caution))
    else:
        spent["features"] += spent["pairs"]
    if baseline.askers is None:
        spent["features"] += spent["sources"]
    else:
        floods = askers.bets(baseline.askers, caution)
        bets.append(("sources", floods[np.newaxis], np.full((1, floods.shape[1]), 1.0 / floods.shape[1]), {}))
    if baseline.dues is None:
        spent["features"] += spent["labels"] + spent["labels/class"]
    else:
        bets += _dues(baseline.dues, caution)
    if baseline.regression:
        spent["labels"] += spent["labels/class"]
    if baseline.surrogate is None:
        spent["features"] += spent["agreement"]
        spent["features/source"] += spent["answers/source"]
    return {
        name: Family(tables, spent[name] * weights, budget, divisors=divisors, walk=walk)
        for name, tables, weights, divisors in bets
    }


def _features(baseline: Baseline, columns: Columns, caution: Caution) -> Iterator[_Bets]:
    references = [feature.reference for feature in baseline.features.values()]
    careful = among(len(references), caution)
    tables = _stack([feature_bets(f.cells, f.reference, careful) for f in baseline.features.values()])
    share = (1.0 - PREDICTION_SHARE) / (len(references) - 1)
    shares = np.array([PREDICTION_SHARE if name == PREDICTION else share for name in baseline.features])
    weights = np.outer(shares, FEATURE_WEIGHTS)
    yield "features", tables, weights, {}
    yield "features/source", tables, weights, _excuses(tables, references, "source", columns.sources.of)


def _pairs(baseline: Baseline, caution: Caution) -> _Bets:
    careful = pairs_caution(len(baseline.pairs), caution)
    tables = np.stack([pair_bets(pair.reference, careful) for pair in baseline.pairs])
    return "pairs", tables, np.tile(PAIR_WEIGHTS / len(tables), (len(tables), 1)), {}


def pairs_caution(pairs: int, caution: Caution) -> Caution:
    """How far bounds on so many pairs stay away from estimates."""
    lenient = msgspec.structs.replace(caution, z=max(caution.z, PAIRS_Z), natural=PAIRS_VARY * caution.natural)
    return among(pairs, lenient)


def _outcomes(asked: Mapping[str, Question], columns: Columns, caution: Caution) -> Iterator[_Bets]:
    slots = {"source": columns.sources.of, "labeler": columns.labelers.of}
    for name, question in asked.items():
        watched, _, scope = name.partition("/")
        tables = _stack(question.tables(caution, _churns(watched, question)))
        divisors = _keyed_excuses(tables, question.references, scope, slots[scope]) if scope else {}
        yield name, tables, _shared(tables.shape[2]), divisors


def _dues(learnt: DueReference, caution: Caution) -> Iterator[_Bets]:
    """Labels come late, or not at all: for all classes, each held against its own reference, and for each of them."""
    kinds = [_due_tables(*of_class, caution) for of_class in zip(learnt.lateness, learnt.absence, strict=True)]
    weights = np.full((2, kinds[0].shape[2]), 0.5 / kinds[0].shape[2])
    yield "labels", np.concatenate(kinds, axis=1), weights, {}
    if len(kinds) > 1:
        yield "labels/class", np.concatenate(kinds), weights, {}


def _due_tables(lateness: Reference, absence: Reference, caution: Caution) -> Floats:
    """The bets on the labels of one class, shape (2, OUTCOMES, bets): a missing one says nothing about delays."""
    late, missing = (_or_fade(outcome_bets(each, IN_TIME, caution)) for each in (lateness, absence))
    return np.stack([np.concatenate([late, np.full_like(late[:1], FADE)]), missing[[0, 0, 1]]])


def _or_fade(table: Floats) -> Floats:
    """A table whose bets fade where they tell nothing apart: where labels never come, they would drown all others."""
    return np.where(table.max(axis=0) == table.min(axis=0), FADE, table)


def _churns(watched: str, question: Question) -> list[Churn]:
    """What a benign retrain may change, at each level: of each class, or of the answers for all classes together."""
    if watched == "confusion":
        return [NO_CHURN] * len(question.levels[0])
    one = CHURN if watched == "agreement" else CHURN / (question.size - 1)
    doubts = [(1.0 - probability) / (1.0 - SURE[0]) for probability in SURE]
    return [Churn(one * doubt, CHURN * doubt) for doubt in doubts]


def _residual(learnt: FeatureReference, columns: Columns, caution: Caution) -> Iterator[_Bets]:
    tables, weights = feature_bets(learnt.cells, learnt.reference, caution)[np.newaxis], FEATURE_WEIGHTS[np.newaxis]
    yield "confusion", tables, weights, {}
    for scope, slots in (("source", columns.sources), ("labeler", columns.labelers)):
        yield f"confusion/{scope}", tables, weights, _keyed_excuses(tables, [learnt.reference], scope, slots.of)


def _shared(bets: int) -> Floats:
    """Weights of the bets on outcomes, shape (1, bets): half for the rises of any outcome, half for those of each."""
    named = bets // len(RISES) - 1
    if named == 0:
        return np.full((1, bets), 1.0 / bets)
    return np.repeat([0.5 / named] * named + [0.5], len(RISES))[np.newaxis] / len(RISES)


def _stack(tables: Sequence[Floats]) -> Floats:
    """Tables of several alphabets as one array, shape (tables, codes, bets); what an alphabet has not is 1."""
    codes = max(table.shape[0] for table in tables)
    bets = max(table.shape[1] for table in tables)
    stacked = np.ones((len(tables), codes, bets))
    for place, table in enumerate(tables):
        stacked[place, : table.shape[0], : table.shape[1]] = table
    return stacked


def _excuses(
    tables: Floats, references: Sequence[Reference], partition: str, slot: Callable[[str], int]
) -> dict[int, Floats]:
    """Divisors for sources or labelers, by slot, where they were different from each other already in the reference."""
    divisors: dict[int, Floats] = {}
    for place, reference in enumerate(references):
        found = excuses(tables[place, : len(reference.counts)], reference.groups.get(partition, {}))
        for name, divisor in found.items():
            none = np.ones((len(references), tables.shape[2]))
            divisors.setdefault(slot(name), none)[place] = divisor
    return divisors


def _keyed_excuses(
    tables: Floats, references: Sequence[Reference], partition: str, slot: Callable[[str], int]
) -> dict[int, Floats]:
    """The same for a family whose key is a slot and the kind of event, by key: one stream, one table a kind."""
    divisors = {}
    for kind, reference in enumerate(references):
        found = _excuses(tables[kind : kind + 1], [reference], partition, slot)
        divisors.update({place * len(references) + kind: divisor for place, divisor in found.items()})
    return divisors
