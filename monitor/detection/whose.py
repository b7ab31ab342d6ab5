"""Whose: what the last labels and answers say of a finding, beyond the stream that it was found in.

The engine finds that something is wrong, within the budget. Whether it is one source's or everybody's, whether labels
confirm what inputs suggest, and whether they would say the same if they were counted the other way round, is looked up
only then, among the last events.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from alerting.incident import Onset
from detectors.bets import Reference
from monitor.detection.bank import Bank, Place
from monitor.detection.baseline import CERTAINTIES
from monitor.detection.changes import only_due, outcome_change, wrong_residuals
from monitor.detection.contrast import alone, surplus

Small = npt.NDArray[np.int16]
Flags = npt.NDArray[np.bool_]

NEEDED = 4.6
"""Nats by which labels contradict more than they would anyway, to say that they do so both ways."""


class Contradicted(NamedTuple):
    """How labels contradict the answers that one source gets."""

    alone: float = 0.0
    """How sure it is, in nats, that they contradict its answers otherwise than those of all others."""
    class_from: str | None = None
    """What most of them say instead of `class_to`."""
    class_to: str | None = None
    """The answer that they contradict most often."""


def only_one(bank: Bank, place: Place, bet: int, counts: list[int], onset: Onset) -> float:
    """How sure it is that only whom this is about is otherwise than usual since `onset`, nats; 0 for everybody."""
    watched, _, scope = place.family.partition("/")
    if not scope or watched == "features":
        return 0.0
    if watched == "labels":
        return only_due(bank, place.key, place.stream, onset.low)
    question = bank.questions.get(place.family)
    slot, kind = divmod(place.key, question.kinds if question else 1)
    everywhere = bank.families["agreement" if watched == "answers" else watched].excursions.values()
    since = min([onset.low, *(excursion.began_ts for excursion in everywhere)])
    if question is not None:
        before, wrong = question.references[kind], question.codes(kind, question.outcomes(kind, bet))
    else:
        before, wrong = wrong_residuals(bank, bet, counts)
    _, usual, _ = outcome_change(before, wrong, counts)
    rows = (bank.recent_answers if watched == "answers" else bank.recent_labels).since(since)
    rows = rows[rows[:, -2] == kind]
    return alone(rows[:, 1 if scope == "labeler" else 0] == slot, np.isin(rows[:, -1], wrong), usual)


def contradicted(bank: Bank, slot: int, since: float, said: str | None = None) -> Contradicted:
    """How labels contradict the answers of a source since `since`: an answer that is given, or that with most of them.

    A model that predicts numbers has no answer that could be contradicted most often.
    """
    rows = bank.recent_labels.since(since)
    if bank.baseline.regression or not rows.size:
        return Contradicted()
    classes = bank.baseline.classes
    own, answers, labels = rows[:, 0] == slot, rows[:, 2], rows[:, 3] % len(classes)
    if said is not None:
        answer = classes.index(said)
    else:
        answer = int(np.bincount(answers[own & (answers != labels)], minlength=len(classes)).argmax())
    wrong = (answers == answer) & (labels != answer)
    truths = np.bincount(labels[own & wrong], minlength=len(classes))
    truth = classes[int(truths.argmax())] if 2 * truths.max() > truths.sum() else None
    return Contradicted(alone(own, wrong, _usual(bank, answer)), truth, classes[answer])


def one_way(bank: Bank, place: Place, bet: int, onset: Onset) -> bool:
    """Whether labels contradict the model only as they are counted here, and not the other way round.

    Where a class becomes more common, more of the labels of any answer are of that class, and yet the model errs no
    more often in it. Where inputs move to where the model is less sure, it errs more often in a class, and yet its
    answers, as sure as they are, are as good as ever. Where the model or its labels are wrong, both have risen.
    """
    watched, _, scope = place.family.partition("/")
    question = bank.questions.get(place.family)
    if watched != "confusion" or question is None:
        return False
    kind = place.key % question.kinds
    outcomes = question.outcomes(kind, bet)
    rows = bank.recent_labels.since(onset.ts)
    answers, labels, certainty = rows[:, 2], rows[:, 3] % question.size, rows[:, 3] // question.size
    if scope:  # asked is what the labels of an answer are: so ask what the answers to a label are
        asked, hits = np.isin(labels, outcomes), answers == kind
        usual = np.array([_share(bank.baseline.confusion[name], kind) for name in bank.baseline.classes])[labels]
    else:
        asked, hits = np.isin(answers, outcomes), labels == kind
        held = np.array([_share(each, kind) for each in bank.baseline.labelled])
        usual = held[answers * CERTAINTIES + certainty]
    return surplus(int(hits[asked].sum()), float(usual[asked].sum())) < NEEDED


def _usual(bank: Bank, answer: int) -> float:
    """The share of all labels in the reference that contradict this answer."""
    seen = [bank.baseline.confusion[name].counts for name in bank.baseline.classes]
    wrong = sum(counts[answer] for label, counts in enumerate(seen) if label != answer and counts)
    return (wrong + 1) / (sum(map(sum, seen)) + 2)


def _share(reference: Reference, outcome: int) -> float:
    """The share of an outcome in a reference, by the rule of succession."""
    counts = reference.counts
    return (counts[outcome] + 1) / (sum(counts) + 2) if counts else 0.5
