"""Findings: what an alarming stream says, in words and numbers that a verdict can weigh."""

import math
from collections.abc import Container
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from alerting.incident import Evidence, Onset
from detectors.bets import BODY_BETS, SHARES, Reference, category_hits
from detectors.cells import ABOVE, BELOW, MISSING, RESERVED, CategoryCells, NumericCells, normal_scores
from detectors.edetector import QUIET, Excursion
from detectors.pairs import correlation
from monitor.detection.bank import Bank, Place
from monitor.detection.baseline import EXTRA, OTHER, PREDICTION, FeatureReference
from monitor.detection.contrast import alone
from monitor.detection.questions import Question
from monitor.detection.slots import Slots

STEADY = 10.0
"""About where an unweighted statistic stands while all is well; from there the evidence began to grow."""
INTERVAL = 12.0
"""Nats of evidence that the ends of the onset's interval are away from its middle.

Where errors are rare, evidence comes in steps of 3 or 4 nats, at random, and it takes a while until the first one.
"""

FAMILIES = {
    "features": "features",
    "pairs": "features",
    "predicted": "predictions",
    "agreement": "agreement",
    "answers": "agreement",
    "confusion": "performance",
}
"""What is watched, as evidence names it."""


class Kind(StrEnum):
    """What about a stream has changed."""

    BODY = "body"
    """Its distribution, within what the reference had."""
    OUTSIDE = "outside"
    """Values out of range, or categories never seen."""
    MISSING = "missing"
    OUTCOME = "outcome"
    """The classes that the model predicts, or predicts where the label says another."""


class Finding(msgspec.Struct, frozen=True):
    """One stream that has used up the false-alarm budget."""

    place: Place
    watched: str
    """`features`, `pairs`, `predicted`, `agreement`, `answers` or `confusion`: the family without its scope."""
    kind: Kind
    stream: str
    """What is watched, as people read it: `feature/src_bytes`, `pair/width~height`, `confusion/spam->ham`."""
    source: str | None
    labeler: str | None
    features: tuple[str, ...]
    """The features whose distribution it is, if it is one of features."""
    class_from: str | None
    class_to: str | None
    trigger: tuple[str, ...]
    """Features in which most unexpected answers of a source have one and the same rare value."""
    log_e: float
    """Evidence in nats: the logarithm of the weighted statistic, not above that of the budget for long."""
    observed: float
    bound: float
    """What `observed` would have been allowed to be: standard deviations for a body, a change of correlation for a
    pair, else a share of events."""
    shift: float
    """Size of the change in standard deviations of what is watched, so that streams can be compared."""
    alone: float
    """How sure it is, in nats, that only this source or labeler is otherwise than usual; 0 for everybody."""
    alarmed_index: int
    onset: Onset

    @property
    def evidence(self) -> Evidence:
        """This finding as an incident carries it."""
        who = f"source/{self.source}/" if self.source else f"labeler/{self.labeler}/" if self.labeler else ""
        family = FAMILIES[self.watched]
        return Evidence(family, who + self.stream, round(self.log_e, 2), round(self.observed, 4), round(self.bound, 4))


def find(bank: Bank, changed: Container[Place] | None = None) -> list[Finding]:
    """What alarms now, the earliest alarm first.

    Args:
        bank: what is watched.
        changed: streams that have changed since the last call, if there was one. Of the inputs of single sources only
            these are told of: they are many, and what they say is not held against anything.
    """
    found = [
        _finding(bank, place, excursion)
        for place, excursion in bank.alarming()
        if changed is None or place in changed or place.family != "features/source"
    ]
    return sorted(found, key=lambda finding: (finding.alarmed_index, finding.place))


def again(first: Finding | None, now: Finding, budget: float) -> Finding:
    """The finding of a stream that was found before in the same episode: as it is now, but since it was found first.

    Values that cannot be stay the kind of the finding: as they become few among the rest, another bet may lead. And
    what fades stays what it was: its counts have begun to tell of what came after it.
    """
    if first is None:
        return now
    if (now.kind is Kind.BODY and first.kind in (Kind.OUTSIDE, Kind.MISSING)) or now.log_e < math.log(budget):
        return first
    return msgspec.structs.replace(now, onset=first.onset, alarmed_index=first.alarmed_index)


class _What(NamedTuple):
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


def _finding(bank: Bank, place: Place, excursion: Excursion) -> Finding:
    watched, _, scope = place.family.partition("/")
    question = bank.questions.get(place.family)
    slot, kind = divmod(place.key, question.kinds if question else 1)
    family = bank.families[place.family]
    bet = family.leading_bet(place.key, place.stream)
    if watched == "features":
        what = _feature(bank, bank.columns.names[place.stream], bet, excursion.counts)
    elif watched == "pairs":
        what = _pair(bank, place.stream, excursion.counts)
    elif question is None:
        change, observed, bound, shift = _feature_change(_residual(bank), bet, excursion.counts)
        what = _What(watched, change, "residual", observed, bound, shift)
    elif watched == "answers":
        what = _answer(bank, question, slot, bet, excursion.counts)
    else:
        what = _confused(bank, place.family, question, kind, bet, excursion.counts)
    onset = _onset(excursion, family.threshold, float(family.weights[place.stream].sum()), bank.baseline.ended)
    return Finding(
        place=place,
        **what._asdict(),
        alone=_alone(bank, place, bet, excursion.counts, onset),
        source=_name(bank.columns.sources, slot, bank.everybody) if scope == "source" else None,
        labeler=_name(bank.columns.labelers, slot, bank.everybody) if scope == "labeler" else None,
        log_e=math.log(max(family.level(place.key, place.stream), 1e-9)),
        alarmed_index=excursion.alarmed_index or 0,
        onset=onset,
    )


def _alone(bank: Bank, place: Place, bet: int, counts: list[int], onset: Onset) -> float:
    """How sure it is that only this source or labeler is otherwise than usual since `onset`, nats; 0 for everybody."""
    watched, _, scope = place.family.partition("/")
    if not scope or watched == "features":
        return 0.0
    question = bank.questions.get(place.family)
    slot, kind = divmod(place.key, question.kinds if question else 1)
    everywhere = bank.families["agreement" if watched == "answers" else watched].excursions.values()
    since = min([onset.low, *(excursion.began_ts for excursion in everywhere)])
    if question is not None:
        before, wrong = question.references[kind], question.codes(kind, question.outcomes(kind, bet))
    else:
        before, wrong = _wrong_residuals(bank, bet, counts)
    _, usual, _ = _outcome_change(before, wrong, counts)
    rows = (bank.recent_answers if watched == "answers" else bank.recent_labels).since(since)
    rows = rows[rows[:, -2] == kind]
    return alone(rows[:, 1 if scope == "labeler" else 0] == slot, np.isin(rows[:, -1], wrong), usual)


def _residual(bank: Bank) -> FeatureReference:
    if bank.baseline.residual is None:
        raise TypeError("residuals are asked of a model that predicts classes")
    return bank.baseline.residual


def _wrong_residuals(bank: Bank, bet: int, counts: list[int]) -> tuple[Reference, tuple[int, ...]]:
    """The codes of a regression model's residual that have become more, and their reference."""
    residual = _residual(bank)
    regular = residual.cells.size - RESERVED
    change, observed, _, _ = _feature_change(residual, bet, counts)
    if change is not Kind.BODY:
        return residual.reference, tuple(range(regular, residual.cells.size))
    return residual.reference, tuple(range(regular // 2, regular) if observed > 0.0 else range(regular // 2))


def _name(slots: Slots, slot: int, everybody: frozenset[str]) -> str | None:
    """Who a slot stands for; None where that is nobody in particular, or everybody."""
    name = slots.name(slot)
    return None if slot == 0 or name in everybody else name


def _feature(bank: Bank, name: str, bet: int, counts: list[int]) -> _What:
    """A feature, or what the model predicts."""
    learnt = bank.baseline.features[name]
    kind, observed, bound, shift = _feature_change(learnt, bet, counts)
    if name != PREDICTION:
        return _What("features", kind, f"feature/{name}", observed, bound, shift, features=(name,))
    if bank.baseline.regression:
        return _What("predicted", kind, "predicted", observed, bound, shift)
    risen = _risen_class(learnt, counts)
    return _What("predicted", Kind.OUTCOME, f"predicted/{risen}", observed, bound, shift, class_to=risen)


def _pair(bank: Bank, stream: int, counts: list[int]) -> _What:
    """Two features go together otherwise than they did: by how much their correlation has changed."""
    pair = bank.baseline.pairs[stream]
    change = correlation(counts) - correlation(pair.reference.counts)
    usual = 3.0 / math.sqrt(sum(pair.reference.counts))
    name = f"pair/{pair.first}~{pair.second}"
    return _What("pairs", Kind.BODY, name, change, usual, abs(change), features=(pair.first, pair.second))


def _confused(bank: Bank, name: str, question: Question, kind: int, bet: int, counts: list[int]) -> _What:
    """One class is taken for another, by the labels (confusion) or by what the surrogate expects (agreement).

    Who labels is asked what he says where the model said something; the model, what it says where the truth is told.
    """
    classes = bank.baseline.classes
    watched, _, scope = name.partition("/")
    outcomes = question.outcomes(kind, bet)
    named = question.commonest(kind, outcomes, counts)
    truth, said = (named, kind) if scope else (kind, named)
    return _What(
        watched,
        Kind.OUTCOME,
        f"{watched}/{classes[truth]}->{classes[said]}",
        *_outcome_change(question.references[kind], question.codes(kind, outcomes), counts),
        class_from=classes[truth],
        class_to=classes[said],
    )


def _answer(bank: Bank, question: Question, source: int, bet: int, counts: list[int]) -> _What:
    """A source gets answers that the surrogate does not expect."""
    classes = bank.baseline.classes
    outcomes = question.outcomes(0, bet)
    named = classes[question.commonest(0, outcomes, counts) - 1]
    streams = [bank.columns.names[stream] for stream in bank.suspects.common(source)]
    others = [name for name in classes[:-1] if name != named]
    only = others[0] if len(others) == 1 else None
    return _What(
        "answers",
        Kind.OUTCOME,
        f"answers/{named}",
        *_outcome_change(question.references[0], question.codes(0, outcomes), counts),
        class_from=only,
        class_to=named,
        trigger=tuple(name for name in streams if name not in (PREDICTION, EXTRA)),
    )


def _feature_change(before: FeatureReference, bet: int, counts: list[int]) -> tuple[Kind, float, float, float]:
    """Kind, observed value, its bound and the shift of a feature whose leading bet is `bet`."""
    seen, held = np.asarray(counts, dtype=np.float64)[: before.cells.size], np.asarray(before.reference.counts)
    total, known = max(seen.sum(), 1.0), max(held.sum(), 1)
    regular = held.size - RESERVED
    if bet >= BODY_BETS:
        missing = bet - BODY_BETS >= len(SHARES)
        codes = [regular + MISSING] if missing else [regular + ABOVE, regular + BELOW]
        observed, bound, shift = _outcome_change(before.reference, tuple(codes), counts)
        # One number in the whole reference is a constant, and no range that a fault could leave.
        constant = isinstance(before.cells, NumericCells) and np.count_nonzero(held[:regular]) <= 1
        return (Kind.MISSING if missing else Kind.BODY if constant else Kind.OUTSIDE), observed, bound, shift
    if isinstance(before.cells, CategoryCells):
        categories, _ = category_hits(regular, bet)
        return (Kind.BODY, *_outcome_change(before.reference, categories, counts))
    scores = normal_scores(held[:regular].tolist())
    scores = np.concatenate([scores, [scores[-1], scores[0], 0.0, 0.0]]) if regular else np.zeros(RESERVED)
    observed = float(seen @ scores / total)
    return Kind.BODY, observed, 3.0 / math.sqrt(known), abs(observed)


def _outcome_change(before: Reference, outcomes: tuple[int, ...], counts: list[int]) -> tuple[float, float, float]:
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


def _onset(excursion: Excursion, threshold: float, weight: float, earliest: float) -> Onset:
    """Extrapolate the growth of the evidence, from QUIET to all of the threshold, back to where it began.

    Evidence grows at a steady rate after a change, so the excursion's own growth gives the rate. The interval is where
    the evidence for the onset would be INTERVAL nats less.
    """
    inside = math.log(1.0 / QUIET)
    before = max(math.log(QUIET * threshold / (weight * STEADY)), 0.0)
    per_nat = max(excursion.alarmed_ts - excursion.began_ts, 1.0) / inside
    onset = max(excursion.began_ts - before * per_nat, earliest)
    return Onset(
        ts=onset,
        low=max(onset - INTERVAL * per_nat, earliest),
        high=min(onset + INTERVAL * per_nat, max(excursion.alarmed_ts, onset)),
    )
