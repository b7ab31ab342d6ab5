"""Findings: what an alarming stream says, in words and numbers that a verdict can weigh."""

import math
from collections.abc import Container

import msgspec

from alerting.incident import Evidence, Onset
from detectors.edetector import QUIET, Excursion
from monitor.detection.askers import FLOODS
from monitor.detection.bank import Bank, Place
from monitor.detection.changes import (
    Kind,
    of_answers,
    of_askers,
    of_due,
    of_feature,
    of_outcomes,
    of_pair,
    of_residual,
)
from monitor.detection.slots import Slots
from monitor.detection.whose import contradicted, one_way, only_one

STEADY = 10.0
"""About where an unweighted statistic stands while all is well; from there the evidence began to grow."""
INTERVAL = 12.0
"""Nats of evidence that the ends of the onset's interval are away from its middle.

Where errors are rare, evidence comes in steps of 3 or 4 nats, at random, and it takes a while until the first one.
"""

ALONE = 4.6
"""Nats for one source or labeler alone being otherwise than usual, to name it: that it is found first may be chance."""

FAMILIES = {
    "features": "features",
    "pairs": "features",
    "predicted": "predictions",
    "agreement": "agreement",
    "answers": "agreement",
    "confusion": "performance",
    "labels": "labels",
    "sources": "sources",
}
"""What is watched, as evidence names it."""


class Finding(msgspec.Struct, frozen=True):
    """One stream that has used up the false-alarm budget."""

    place: Place
    watched: str
    """`features`, `pairs`, `predicted`, `agreement`, `answers`, `confusion`, `labels` or `sources`: no scope."""
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
    """How sure it is, in nats, that only this source, labeler or class is otherwise than usual; 0 for everybody."""
    alarmed_index: int
    onset: Onset
    taken_back: int = 0
    """How often it was surely alone, and then was not."""
    one_way: bool = False
    """Whether labels contradict the model in one way of counting only, as where the mix of classes or of inputs has
    changed; see `monitor.detection.whose`."""

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
    what fades stays what it was: its counts have begun to tell of what came after it. That somebody is alone is
    believed until it is likelier that he is not: where few events tell, sureness goes up and down with each of them.
    And each time that such a belief had to be taken back, sureness counts half of what it did: where the one is only
    somewhat worse than all, a verdict would change for as long as events come.
    """
    if first is None:
        return now
    if (now.kind is Kind.BODY and first.kind in (Kind.OUTSIDE, Kind.MISSING)) or now.log_e < math.log(budget):
        return first
    taken_back = first.taken_back + (first.alone >= ALONE and now.alone <= 0.0)
    alone = min(now.alone, now.alone * 0.5**taken_back)
    return msgspec.structs.replace(
        now,
        onset=first.onset,
        alarmed_index=first.alarmed_index,
        alone=first.alone if 0.0 < alone < first.alone else alone,
        taken_back=taken_back,
    )


def _finding(bank: Bank, place: Place, excursion: Excursion) -> Finding:
    watched, _, scope = place.family.partition("/")
    question = bank.questions.get(place.family)
    slot, kind = divmod(place.key, question.kinds if question else 1)
    family = bank.families[place.family]
    bet = family.leading_bet(place.key, place.stream)
    if watched == "features":
        what = of_feature(bank, bank.columns.names[place.stream], bet, excursion.counts)
    elif watched == "pairs":
        what = of_pair(bank, place.stream, excursion.counts)
    elif watched == "sources":
        what = of_askers(bank, bet, excursion.counts)
    elif watched == "labels":
        what = of_due(bank, place.family, place.key, place.stream, excursion.counts)
    elif question is None:
        what = of_residual(bank, watched, bet, excursion.counts)
    elif watched == "answers":
        what = of_answers(bank, question, slot, bet, excursion.counts)
    else:
        what = of_outcomes(bank, place.family, question, kind, bet, excursion.counts)
    onset = _onset(excursion, family.threshold, float(family.weights[place.stream].sum()), bank.baseline.ended)
    alone = only_one(bank, place, bet, excursion.counts, onset)
    if watched == "answers" and what.class_from is None:
        what = what._replace(class_from=contradicted(bank, slot, onset.low, what.class_to).class_from)
    elif watched == "features" and scope:
        told = contradicted(bank, slot, onset.low)
        alone = told.alone
        if alone >= ALONE:
            what = what._replace(class_from=told.class_from, class_to=told.class_to)
    return Finding(
        place=place,
        **what._asdict(),
        alone=alone,
        one_way=one_way(bank, place, bet, onset),
        source=_source(bank, place, slot, bet),
        labeler=_name(bank.columns.labelers, slot, bank.everybody) if scope == "labeler" else None,
        log_e=math.log(max(family.level(place.key, place.stream), 1e-9)),
        alarmed_index=excursion.alarmed_index or 0,
        onset=onset,
    )


def _source(bank: Bank, place: Place, slot: int, bet: int) -> str | None:
    """The source that a finding is about; None where it is about nobody in particular, or everybody."""
    if place.family == "sources":
        asker = bet // len(FLOODS)
        return bank.baseline.sources[asker] if asker < len(bank.baseline.sources) else None
    return _name(bank.columns.sources, slot, bank.everybody) if place.family.endswith("/source") else None


def _name(slots: Slots, slot: int, everybody: frozenset[str]) -> str | None:
    """Who a slot stands for; None where that is nobody in particular, or everybody."""
    name = slots.name(slot)
    return None if slot == 0 or name in everybody else name


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
