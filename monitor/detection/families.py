"""Families: the bets on everything that is watched of one model, and how they share its false-alarm budget."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.bets import (
    FEATURE_WEIGHTS,
    Caution,
    Reference,
    excuses,
    feature_bets,
    outcome_bets,
)
from detectors.edetector import Family
from detectors.surrogate import LEVELS
from monitor.detection.agreement import AGREES, pooled
from monitor.detection.baseline import PREDICTION, Baseline
from monitor.detection.columns import Columns

Floats = npt.NDArray[np.float64]
_Bets = tuple[str, Floats, Floats, Mapping[int, Floats]]
"""Name, factors, weights within the family, and divisors by key."""

WEIGHTS: Mapping[str, float] = {
    "features": 0.35,
    "features/source": 0.35,
    "agreement": 0.15,
    "answers/source": 0.15,
    "confusion": 0.4,
    "confusion/source": 0.3,
    "confusion/labeler": 0.3,
}
"""Shares of the budget: confusion on the clock of labels, the others on that of predictions. Without a surrogate,
features have the shares of agreement and of answers too."""
CHURN = 0.01
"""Share of answers that a benign retrain may change, in any class and in any one direction."""
PREDICTION_SHARE = 0.25
"""Share that the predicted class has of the budget of its family; features share the rest equally."""


def families(baseline: Baseline, columns: Columns, budget: float, caution: Caution) -> dict[str, Family]:
    """Everything that is watched of a model, by name.

    Args:
        baseline: what is normal.
        columns: gives sources and labelers their keys.
        budget: events per false alarm.
        caution: how far bounds stay away from estimates.
    """
    bets = [*_features(baseline, columns, caution), *_confusion(baseline, columns, caution)]
    spent = dict(WEIGHTS)
    if baseline.surrogate is not None:
        bets += _agreement(baseline, columns, caution)
    else:
        spent["features"] += spent["agreement"]
        spent["features/source"] += spent["answers/source"]
    return {
        name: Family(tables, spent[name] * weights, budget, divisors=divisors)
        for name, tables, weights, divisors in bets
    }


def _features(baseline: Baseline, columns: Columns, caution: Caution) -> Iterator[_Bets]:
    references = [feature.reference for feature in baseline.features.values()]
    tables = _stack([feature_bets(f.cells, f.reference, caution) for f in baseline.features.values()])
    share = (1.0 - PREDICTION_SHARE) / (len(references) - 1)
    shares = np.array([PREDICTION_SHARE if name == PREDICTION else share for name in baseline.features])
    weights = np.outer(shares, FEATURE_WEIGHTS)
    yield "features", tables, weights, {}
    yield "features/source", tables, weights, _excuses(tables, references, "source", columns.sources.of)


def _agreement(baseline: Baseline, columns: Columns, caution: Caution) -> Iterator[_Bets]:
    """The model against its surrogate: by the expected class for all, by the unexpected answer for each source."""
    lenient = _tolerant(caution, CHURN)
    tables = _stack([outcome_bets(ref, kind // LEVELS, lenient) for kind, ref in enumerate(baseline.agreement)])
    yield "agreement", tables, _even(tables), {}
    answers = pooled(baseline.agreement)
    lenient = _tolerant(caution, CHURN / len(baseline.classes))  # of the answers for all classes together
    tables = np.stack([outcome_bets(reference, AGREES, lenient) for reference in answers])
    yield "answers/source", tables, _even(tables), _keyed_excuses(tables, answers, "source", columns.sources.of)


def _confusion(baseline: Baseline, columns: Columns, caution: Caution) -> Iterator[_Bets]:
    residual = baseline.residual
    if residual is not None:
        references = [residual.reference]
        tables = feature_bets(residual.cells, residual.reference, caution)[np.newaxis]
        weights = FEATURE_WEIGHTS[np.newaxis]
    else:
        references = [baseline.confusion[name] for name in baseline.classes]
        tables = _stack([outcome_bets(reference, kind, caution) for kind, reference in enumerate(references)])
        weights = _even(tables)
    yield "confusion", tables, weights, {}
    for group, slots in (("source", columns.sources), ("labeler", columns.labelers)):
        yield f"confusion/{group}", tables, weights, _keyed_excuses(tables, references, group, slots.of)


def _even(tables: Floats) -> Floats:
    """Equal weights for the bets of one stream."""
    return np.full((1, tables.shape[2]), 1.0 / tables.shape[2])


def _tolerant(caution: Caution, share: float) -> Caution:
    """The same caution, with so much more of a share tolerated."""
    return msgspec.structs.replace(caution, tolerance=caution.tolerance + 2 * share)


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
