"""Grounds: what a verdict rests on, what speaks against it, and how sure that leaves one.

The budget says how seldom an alarm is chance; it says nothing about what the alarm means. So each thing that the next
best verdict would explain as well is an objection, with a weight, and a plain sentence for whoever has to decide. What
they leave is the confidence: DESIGN.md, "Confidence", has how often verdicts of which confidence were right.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from alerting.incident import Onset, Verdict
from alerting.message import clean, duration
from monitor.detection.changes import Kind
from monitor.detection.findings import ALONE, Finding

MOST = 0.95
"""How sure a verdict is that nothing speaks against; there is always something that nobody thought of."""
STRONG, WEAK = 0.5, 0.15
"""Weights: of what points to another verdict, and of what is only not there yet."""
MAX_AGAINST = 3
"""Objections that are told, the heaviest first; all of them count."""
LONG = 12 * 3600.0
"""Seconds that a version served before it began, from which on it hardly came with the version."""
MAX_FEATURES = 3
"""Features that a clause names."""
CLOSE = 0.6
"""Part of the largest change from which on another one is about as large."""
SURE = 9.2
"""Nats for one alone being otherwise than usual, 10,000 to 1, after which that is no question."""

ONE = frozenset({Verdict.LABEL_TAMPERING, Verdict.BACKDOOR, Verdict.CLEAN_LABEL})
"""Verdicts on what one source or labeler does."""
WHOEVER_ASKS = frozenset({Verdict.LABEL_FLIP, Verdict.SLOW_POISONING, Verdict.PERFORMANCE})
"""Verdicts on the model itself: if one source or labeler shows it first, that is chance."""
PLANTED = frozenset({Verdict.LABEL_FLIP, Verdict.SLOW_POISONING, Verdict.BACKDOOR, Verdict.CLEAN_LABEL})
"""Verdicts that say that a model was poisoned."""

_NAME = 60


class Objection(NamedTuple):
    """One thing that speaks against a verdict, as a clause."""

    weight: float
    """How likely it alone makes another verdict, in (0, 1)."""
    clause: str


class Case(NamedTuple):
    """A verdict, and what it was found from."""

    verdict: Verdict
    reasons: Sequence[Finding]
    """The findings that the verdict rests on."""
    findings: Sequence[Finding]
    """All that there are."""
    versions: Mapping[str, float]
    """When each version was first seen after the baseline, epoch seconds."""
    onset: Onset
    version: str | None
    """The version that is blamed."""

    @property
    def wrong(self) -> list[Finding]:
        """What says that answers or labels are wrong."""
        return [each for each in self.findings if each.watched in ("confusion", "agreement", "answers")]

    @property
    def labels(self) -> list[Finding]:
        """Of these, what labels say."""
        return [each for each in self.findings if each.watched == "confusion"]

    @property
    def confirmed(self) -> bool:
        """Whether labels say so, too: by what was found of them, or by a look at those of whose inputs have changed."""
        return bool(self.labels) or any(each.watched == "features" and each.alone >= ALONE for each in self.reasons)

    @property
    def unlabelled(self) -> bool:
        """Whether it is about labels that stay away."""
        return all(each.watched == "labels" for each in self.reasons)

    @property
    def named(self) -> list[str]:
        """The sources and labelers that what is wrong is about; empty if any of it is about everybody."""
        whose = [each.source or each.labeler for each in self.wrong]
        return [] if None in whose else list(dict.fromkeys(name for name in whose if name is not None))

    def everybody(self, *watched: str) -> list[Finding]:
        """What is found of everybody's."""
        return [each for each in self.findings if each.watched in watched and not (each.source or each.labeler)]


def objections(case: Case) -> list[Objection]:
    """What speaks against a verdict, the heaviest first."""
    if case.unlabelled:
        own = _against_dues(case)
    elif case.verdict in ONE:
        own = _against_one(case)
    elif case.verdict in WHOEVER_ASKS:
        own = _against_all(case)
    else:
        own = _against_change(case)
    return sorted([*_in_general(case), *own], key=lambda objection: -objection.weight)


def confidence(found: Iterable[Objection]) -> float:
    """How sure a verdict is, in (0, 1), as if what speaks against it were independent."""
    return round(MOST * math.prod(1.0 - objection.weight for objection in found), 2)


def _in_general(case: Case) -> Iterator[Objection]:
    """What has not been seen of whatever it is."""
    if len(case.findings) == 1:
        yield Objection(WEAK, "one stream alone says so yet")
    if case.verdict in PLANTED:
        if not case.confirmed:
            yield Objection(WEAK, "labels do not confirm it yet")
        if not case.versions:
            yield Objection(WEAK, "no version has been new since the baseline")
        # What one source does to a feature shows in everybody's as well.
        odd = {name for each in case.reasons for name in (*each.trigger, *each.features)}
        if any(not odd.issuperset(each.features) for each in case.everybody("features")):
            weight = WEAK if case.labels else STRONG
            yield Objection(weight, "inputs of everybody have changed as well, which its surrogate does not know")


def _against_dues(case: Case) -> Iterator[Objection]:
    """Labels stay away: do they by accident, and of all answers?"""
    answers = {each.class_to for each in case.reasons}
    if case.verdict is Verdict.LABEL_TAMPERING:
        yield Objection(STRONG, "a fault that delays labels of these answers alone would look the same")
    elif None not in answers and len(answers) == 1:
        yield Objection(STRONG, f"only answers {_shown(answers.pop())} show it, as where somebody hides them")


def _against_one(case: Case) -> Iterator[Objection]:
    """One source or labeler is named: is it really that one alone?"""
    own = {each.source or each.labeler for each in case.reasons}
    name = _shown(next(iter(own - {None}), None))
    alone = max((each.alone for each in case.wrong if (each.source or each.labeler) in own), default=0.0)
    if alone < SURE:
        yield Objection(WEAK, f"that it is {name} alone is not beyond doubt yet")
    kinds = {each.place.family for each in case.reasons}
    others = [each for each in case.wrong if (each.source or each.labeler) not in own and each.place.family in kinds]
    other = max(others, key=lambda each: each.alone, default=None)
    if other is not None and other.alone > 0.0:
        what = "labels contradict the model" if other.watched == "confusion" else "answers are unexpected"
        yield Objection(WEAK, f"{what} for {_shown(other.source or other.labeler)} too")
    if case.verdict is Verdict.BACKDOOR and not any(each.trigger for each in case.reasons):
        yield Objection(WEAK, "its unexpected answers have no rare value in common")
    if case.verdict is Verdict.CLEAN_LABEL:
        yield Objection(WEAK, "a trigger that is no rare value would look the same")


def _against_all(case: Case) -> Iterator[Objection]:
    """The model itself is accused: is it not just somebody's labels, or something that came without a version?"""
    if case.named:
        names = " and ".join(map(_shown, case.named[:2]))
        more = f" and {len(case.named) - 2} more" if len(case.named) > 2 else ""
        yield Objection(STRONG, f"what is wrong is only known of {names}{more}")
    if case.verdict is Verdict.PERFORMANCE:
        pairs = {(each.class_from, each.class_to) for each in case.reasons}
        if len(pairs) == 1 and None not in next(iter(pairs)):
            yield Objection(STRONG, "all of it goes one way, as in a poisoned model")
        return
    if not case.everybody("agreement"):
        yield Objection(WEAK, "labels alone say so: the answers have hardly changed")
    began = case.versions.get(case.version or "")
    if case.verdict is Verdict.LABEL_FLIP and began is not None and case.onset.ts - began > LONG:
        before = duration(case.onset.ts - began)
        yield Objection(STRONG, f"version {_shown(case.version)} had served for {before} before it began")


def _against_change(case: Case) -> Iterator[Objection]:
    """Inputs are said to be broken, or the world to have changed: or is it somebody, or something else?"""
    sources = {each.source for each in case.reasons}
    if None not in sources and len(sources) == 1:
        yield Objection(STRONG, f"only {_shown(sources.pop())} shows it, as with somebody who tries a trigger")
    if case.wrong:
        who = "labels contradict the model" if case.labels else "some answers are unexpected"
        yield Objection(WEAK, f"{who} as well")
    if all(each.watched == "confusion" for each in case.reasons):
        yield Objection(STRONG, "only labels say so: the mix of answers has hardly changed")
    inputs, answers = (
        max((each.shift for each in case.everybody(watched)), default=0.0) for watched in ("features", "predicted")
    )
    if case.verdict is Verdict.COVARIATE_DRIFT and answers >= CLOSE * inputs > 0.0:
        yield Objection(STRONG, "the mix of answers has changed about as much, and that changes inputs too")
    if case.verdict is Verdict.PRIOR_SHIFT and inputs >= CLOSE * answers > 0.0:
        yield Objection(WEAK, "inputs have changed about as much as the mix of answers")


def because(case: Case) -> str:
    """What the verdict rests on, as a clause."""
    if case.unlabelled:
        return _because_due(case)
    if all(each.watched == "sources" for each in case.reasons):
        who = " and ".join(_shown(each.source) if each.source else "others" for each in case.reasons)
        return f"more is asked by {who} than before, and nothing else has changed"
    everyone = {each.source or each.labeler for each in case.reasons}
    own = _shown(everyone.pop()) if len(everyone) == 1 else "everybody"
    odd = _listed(case.reasons)
    gone = all(each.kind is Kind.MISSING for each in case.reasons)
    gets = (
        "unexpected answers" if any(each in case.wrong for each in case.reasons) else "answers that labels contradict"
    )
    mixed = "labels of" if all(each.watched == "confusion" for each in case.reasons) else "answers to"
    clauses = {
        Verdict.LABEL_TAMPERING: f"labels of {own} alone contradict the model",
        Verdict.BACKDOOR: f"{own} alone gets {gets}" + (f", to inputs with odd {odd}" if odd else ""),
        Verdict.CLEAN_LABEL: f"{own} alone gets {gets}, to inputs like any other",
        Verdict.DATA_FAULT: f"values of {own} are {'missing' if gone else 'impossible'} in {odd}",
        Verdict.COVARIATE_DRIFT: f"inputs of {own} have changed in {odd}",
        Verdict.PRIOR_SHIFT: f"{mixed} {own} have another mix of classes",
    }
    return clauses[case.verdict] if case.verdict in clauses else _because_wrong(case)


def _because_due(case: Case) -> str:
    """Which labels stay away, and how."""
    of = " and ".join(dict.fromkeys("all answers" if f.class_to is None else _shown(f.class_to) for f in case.reasons))
    how = " or ".join(what for what in ("late", "missing") if any(f"labels/{what}" in f.stream for f in case.reasons))
    alone = " alone" if case.verdict is Verdict.LABEL_TAMPERING else ""
    return f"labels of {of}{alone} are {how} more often"


def _because_wrong(case: Case) -> str:
    """What says that the model itself is wrong."""
    what = "labels contradict the model" if case.labels else "answers are unexpected"
    classes = {each.class_from for each in case.reasons}
    way = "in several ways" if len(classes) > 1 or None in classes else "in one direction"
    return f"{what}, whoever asks, {way}" + (f", since version {_shown(case.version)}" if case.version else "")


def _listed(findings: Iterable[Finding]) -> str:
    """The first of the features that findings are about."""
    names = dict.fromkeys(name for each in findings for name in (*each.trigger, *each.features))
    return ", ".join(clean(name, _NAME) for name in list(names)[:MAX_FEATURES])


def _shown(name: str | None) -> str:
    return "everybody" if name is None else clean(name, _NAME)
