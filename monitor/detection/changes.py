"""Changes: what about an alarming stream has changed, and by how much, from the codes that came since it began."""

import math
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from detectors.bets import BODY_BETS, SHARES, Reference, category_hits
from detectors.cells import ABOVE, BELOW, MISSING, RESERVED, CategoryCells, NumericCells, normal_scores
from detectors.pairs import correlation
from monitor.detection.askers import FLOODS
from monitor.detection.bank import Bank
from monitor.detection.baseline import EXTRA, OTHER, PREDICTION, FeatureReference
from monitor.detection.contrast import alone
from monitor.detection.dues import GONE, LATE, OUTCOMES
from monitor.detection.questions import Question


class Kind(StrEnum):
    """What about a stream has changed."""

    BODY = "body"
    """Its distribution, within what the reference had."""
    OUTSIDE = "outside"
    """Values out of range, or categories never seen."""
    MISSING = "missing"
    OUTCOME = "outcome"
    """The classes that the model predicts, or predicts where the label says another."""


class What(NamedTuple):
    """What about a stream has changed, and by how much."""

    watched: str
    kind: Kind
    stream: str
    observed: float
    bound: float
    shift: float
    features: tuple[str, ...] = ()
    class_from: str | None = None
    class_to: str | None = None
    trigger: tuple[str, ...] = ()


def of_feature(bank: Bank, name: str, bet: int, counts: list[int]) -> What:
    """A feature, or what the model predicts."""
    learnt = bank.baseline.features[name]
    kind, observed, bound, shift = _feature_change(learnt, bet, counts)
    if name != PREDICTION:
        return What("features", kind, f"feature/{name}", observed, bound, shift, features=(name,))
    if bank.baseline.regression:
        return What("predicted", kind, "predicted", observed, bound, shift)
    risen = _risen_class(learnt, counts)
    return What("predicted", Kind.OUTCOME, f"predicted/{risen}", observed, bound, shift, class_to=risen)


def of_pair(bank: Bank, stream: int, counts: list[int]) -> What:
    """Two features go together otherwise than they did: by how much their correlation has changed."""
    pair = bank.baseline.pairs[stream]
    change = correlation(counts) - correlation(pair.reference.counts)
    usual = 2.0 / math.sqrt(sum(pair.reference.counts))
    name = f"pair/{pair.first}~{pair.second}"
    return What("pairs", Kind.BODY, name, change, usual, abs(change), features=(pair.first, pair.second))


def of_outcomes(bank: Bank, name: str, question: Question, kind: int, bet: int, counts: list[int]) -> What:
    """One class is taken for another, by the labels (confusion) or by what the surrogate expects (agreement).

    Who labels is asked what he says where the model said something; the model, what it says where the truth is told.
    """
    classes = bank.baseline.classes
    watched, _, scope = name.partition("/")
    outcomes = question.outcomes(kind, bet)
    named = question.commonest(kind, outcomes, counts)
    truth, said = (named, kind) if scope else (kind, named)
    return What(
        watched,
        Kind.OUTCOME,
        f"{watched}/{classes[truth]}->{classes[said]}",
        *outcome_change(question.references[kind], question.codes(kind, outcomes), counts),
        class_from=classes[truth],
        class_to=classes[said],
    )


def of_answers(bank: Bank, question: Question, source: int, bet: int, counts: list[int]) -> What:
    """A source gets answers that the surrogate does not expect."""
    classes = bank.baseline.classes
    outcomes = question.outcomes(0, bet)
    named = classes[question.commonest(0, outcomes, counts) - 1]
    streams = [bank.columns.names[stream] for stream in bank.suspects.common(source)]
    others = [name for name in classes[:-1] if name != named]
    only = others[0] if len(others) == 1 else None
    return What(
        "answers",
        Kind.OUTCOME,
        f"answers/{named}",
        *outcome_change(question.references[0], question.codes(0, outcomes), counts),
        class_from=only,
        class_to=named,
        trigger=tuple(name for name in streams if name not in (PREDICTION, EXTRA)),
    )


def of_askers(bank: Bank, bet: int, counts: list[int]) -> What:
    """Somebody asks far more than before: a source, all others together, or nobody in particular."""
    if bank.baseline.askers is None:
        raise TypeError("who asks is watched where the reference knows several")
    code = bet // len(FLOODS)
    name = ("share", "(others)", "(none)")[max(code - len(bank.baseline.sources) + 1, 0)]
    return What("sources", Kind.OUTCOME, f"asks/{name}", *outcome_change(bank.baseline.askers, (code,), counts))


def of_due(bank: Bank, name: str, key: int, stream: int, counts: list[int]) -> What:
    """Labels come late, or not at all: those of one predicted class, or of all."""
    wrong, references = _overdue(bank, stream)
    named = bank.baseline.classes[key] if name == "labels/class" else None
    known = references if named is None else references[key : key + 1]
    seen = np.asarray(counts[: OUTCOMES * len(known)]).reshape(-1, OUTCOMES).sum(axis=0).tolist()
    usual = Reference(tuple(np.sum([each.counts for each in known], axis=0).tolist()), {})
    what = "late" if wrong == LATE else "missing"
    return What(
        "labels",
        Kind.OUTCOME,
        f"labels/{what}" if named is None else f"labels/{what}/{named}",
        *outcome_change(usual, (1,), [sum(seen[:wrong]), seen[wrong]]),
        class_to=named,
    )


def only_due(bank: Bank, key: int, stream: int, since: float) -> float:
    """How sure it is, in nats, that the labels of this predicted class alone are otherwise than usual since `since`."""
    wrong, references = _overdue(bank, stream)
    right, hits = np.sum([each.counts for place, each in enumerate(references) if place != key], axis=0).tolist()
    rows = bank.recent_dues.since(since)
    rows = rows[rows[:, 1] <= wrong]  # a label that is gone is not late
    return alone(rows[:, 0] == key, rows[:, 1] == wrong, (hits + 1) / (right + hits + 2))


def _overdue(bank: Bank, stream: int) -> tuple[int, tuple[Reference, ...]]:
    """What a stream of labels that are due counts, and how often it came in the reference, by predicted class."""
    learnt = bank.baseline.dues
    if learnt is None:
        raise TypeError("labels are due where the reference had some")
    return ((LATE, learnt.lateness), (GONE, learnt.absence))[stream]


def _feature_change(before: FeatureReference, bet: int, counts: list[int]) -> tuple[Kind, float, float, float]:
    """Kind, observed value, its bound and the shift of a feature whose leading bet is `bet`."""
    seen, held = np.asarray(counts, dtype=np.float64)[: before.cells.size], np.asarray(before.reference.counts)
    total, known = max(seen.sum(), 1.0), max(held.sum(), 1)
    regular = held.size - RESERVED
    if bet >= BODY_BETS:
        missing = bet - BODY_BETS >= len(SHARES)
        codes = [regular + MISSING] if missing else [regular + ABOVE, regular + BELOW]
        observed, bound, shift = outcome_change(before.reference, tuple(codes), counts)
        # One number in the whole reference is a constant, and no range that a fault could leave.
        constant = isinstance(before.cells, NumericCells) and np.count_nonzero(held[:regular]) <= 1
        return (Kind.MISSING if missing else Kind.BODY if constant else Kind.OUTSIDE), observed, bound, shift
    if isinstance(before.cells, CategoryCells):
        categories, _ = category_hits(regular, bet)
        return (Kind.BODY, *outcome_change(before.reference, categories, counts))
    scores = normal_scores(held[:regular].tolist())
    scores = np.concatenate([scores, [scores[-1], scores[0], 0.0, 0.0]]) if regular else np.zeros(RESERVED)
    observed = float(seen @ scores / total)
    return Kind.BODY, observed, 3.0 / math.sqrt(known), abs(observed)


def outcome_change(before: Reference, outcomes: tuple[int, ...], counts: list[int]) -> tuple[float, float, float]:
    """Observed share of `outcomes`, its share in the reference (rule of succession), and the shift between them."""
    total, known = max(sum(counts), 1), sum(before.counts)
    observed = sum(counts[outcome] for outcome in outcomes) / total
    share = (sum(before.counts[outcome] for outcome in outcomes) + 1) / (known + 2)
    return observed, share, abs(observed - share) / math.sqrt(share * (1.0 - share))


def _risen_class(predicted: FeatureReference, counts: list[int]) -> str:
    """The predicted class whose share has risen most."""
    if not isinstance(predicted.cells, CategoryCells):
        raise TypeError("a class is asked of a model that predicts numbers")
    seen, held = np.asarray(counts[: predicted.cells.size]), np.asarray(predicted.reference.counts)
    risen = int(np.argmax(seen / max(seen.sum(), 1) - held / max(held.sum(), 1)))
    return predicted.cells.values[risen] if risen < len(predicted.cells.values) else OTHER


def of_residual(bank: Bank, watched: str, bet: int, counts: list[int]) -> What:
    """What a regression model's predictions are off by."""
    kind, observed, bound, shift = _feature_change(_learnt_residual(bank), bet, counts)
    return What(watched, kind, "residual", observed, bound, shift)


def _learnt_residual(bank: Bank) -> FeatureReference:
    if bank.baseline.residual is None:
        raise TypeError("residuals are asked of a model that predicts classes")
    return bank.baseline.residual


def wrong_residuals(bank: Bank, bet: int, counts: list[int]) -> tuple[Reference, tuple[int, ...]]:
    """The codes of a regression model's residual that have become more, and their reference."""
    residual = _learnt_residual(bank)
    regular = residual.cells.size - RESERVED
    change, observed, _, _ = _feature_change(residual, bet, counts)
    if change is not Kind.BODY:
        return residual.reference, tuple(range(regular, residual.cells.size))
    return residual.reference, tuple(range(regular // 2, regular) if observed > 0.0 else range(regular // 2))
