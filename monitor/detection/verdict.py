"""Verdicts: from findings to what is going on, who is behind it, and since when.

One question after the other: is the model wrong, by its labels or by its surrogate? for one labeler or source, or for
all? in one class, or in many? with a version, or without? Benign change must not be called poison, and a verdict may
change openly as evidence comes.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import msgspec

from alerting.incident import Attribution, Judgement, Onset, Radius, Severity, Verdict
from monitor.detection.changes import Kind
from monitor.detection.findings import ALONE, Finding
from monitor.detection.grounds import MAX_AGAINST, WHOEVER_ASKS, Case, because, confidence, objections

ATTACKS = frozenset(
    {
        Verdict.LABEL_FLIP,
        Verdict.BACKDOOR,
        Verdict.CLEAN_LABEL,
        Verdict.LABEL_TAMPERING,
        Verdict.SLOW_POISONING,
    }
)
CHANGES = frozenset({Verdict.COVARIATE_DRIFT, Verdict.PRIOR_SHIFT})
"""Verdicts on what is asked: whoever asks far more than before is behind it."""
FAULT_SHARE = 0.5
"""A source with more than this share of impossible values has a fault; an attacker's trigger is rarer."""
UNNATURAL = 1.0
"""Standard deviations by which natural rows among a source's events do not move the mean of a feature: rows from the
bulk are within two, and they are not all that it sends. A trigger sets values that are rare, or were never seen."""
SLOW_VERSIONS = 3
"""Versions since the onset that make a poisoning a slow one."""
SERIOUS = 0.4
"""By how much a share of events has risen where a verdict is one step more severe than usual."""
MAX_TOUCHED = 20
"""Sources, classes and features that a radius names."""
MAX_EVIDENCE = 10
MAX_FEATURES = 5


def judge(findings: Sequence[Finding], versions: Mapping[str, float]) -> Judgement:
    """Judge what alarms now (at least one finding, earliest first).

    Args:
        findings: everything that alarms.
        versions: when each version was first seen after the baseline, epoch seconds, in order.
    """
    verdict, reasons = _cause(findings, versions)
    onset = min((reason.onset for reason in reasons), key=lambda onset: onset.ts)
    attribution = _attribute(verdict, reasons, findings, versions, onset)
    case = Case(verdict, reasons, findings, versions, onset, attribution.version)
    against = objections(case)
    return Judgement(
        verdict=verdict,
        severity=_severity(verdict, reasons),
        onset=onset,
        attribution=attribution,
        evidence=tuple(finding.evidence for finding in sorted(findings, key=lambda f: -f.log_e)[:MAX_EVIDENCE]),
        confidence=confidence(against),
        against=tuple(objection.clause for objection in against[:MAX_AGAINST]),
        because=because(case),
        radius=_touched(findings),
    )


def _touched(findings: Sequence[Finding]) -> Radius:
    """What of the model anything was found of, the earliest first."""
    sources = (finding.source for finding in findings if finding.source is not None)
    classes = (name for finding in findings for name in (finding.class_from, finding.class_to) if name is not None)
    features = (name for finding in findings for name in (*finding.trigger, *finding.features))
    return Radius(_distinct(sources), _distinct(classes), _distinct(features))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))[:MAX_TOUCHED]


def _cause(findings: Sequence[Finding], versions: Mapping[str, float]) -> tuple[Verdict, list[Finding]]:
    """What is going on, and the findings that say so."""
    # How features go together changes along with whatever happens to them: that says something only where it is all.
    findings = [finding for finding in findings if finding.watched != "pairs"] or findings
    # Labels that stay away are a story of their own, where nothing else says that the model or its inputs have changed.
    due = [finding for finding in findings if finding.watched == "labels"]
    kept_back = _kept_back(due)
    # And who asks more than before is no problem by itself, but may say whose inputs have changed.
    floods = [finding for finding in findings if finding.watched == "sources"]
    aside = [*due, *floods]
    findings = [finding for finding in findings if finding not in aside and not _selected(finding, kept_back)]
    if not findings:
        return _judge_dues(due, kept_back) if due else (Verdict.COVARIATE_DRIFT, floods)
    confusion = [finding for finding in findings if finding.watched == "confusion"]
    excused = [finding for finding in confusion if _excused(finding, findings)]
    labels = [finding for finding in confusion if finding not in excused]
    answers = [finding for finding in findings if finding.watched in ("agreement", "answers")]
    wrong = sorted([*labels, *answers], key=lambda finding: finding.alarmed_index)
    asking = {finding.source for finding in floods}
    labeler = _only(finding.labeler for finding in _alone(wrong, asking))
    if labeler is not None:
        return Verdict.LABEL_TAMPERING, [finding for finding in labels if finding.labeler == labeler]
    source = _only(finding.source for finding in _alone(wrong, asking))
    if source is not None and _broken(source, findings):
        return _judge_features([finding for finding in findings if finding not in wrong])
    if source is not None:
        return _judge_source([finding for finding in findings if finding.source == source])
    if labels or (versions and findings[0] in answers):
        return _judge_model(labels or answers, versions)
    # No new version: the model is what it was, and its surrogate has met inputs or a mix of classes that are new to it.
    # And labels that contradict it one way only say that other things are asked, or what else there is says better.
    changed = [finding for finding in findings if finding not in answers and finding not in excused]
    return _judge_features(changed or [finding for finding in findings if finding not in excused] or _mix(excused))


def _alone(wrong: Sequence[Finding], asking: Container[str | None]) -> Iterator[Finding]:
    """What is found wrong, earliest first, of one source or labeler alone.

    After it was found of everybody, surely so; and of whoever is `asking` most, who is hit first by whatever it is.
    """
    bar = ALONE
    for finding in wrong:
        if finding.source is None and finding.labeler is None:
            bar = 2 * ALONE
        elif finding.alone >= (2 * ALONE if finding.source is not None and finding.source in asking else bar):
            yield finding


def _excused(finding: Finding, findings: Sequence[Finding]) -> bool:
    """Whether labels contradict the model because other things are asked, and not because either of them is wrong.

    They do so one way only, and whoever asks. That answers to a class are worse, and not those that are as sure, is
    believed only where inputs had changed before, and its surrogate does not say otherwise: a poisoned model is less
    sure, too.
    """
    if not finding.one_way:
        return False
    if finding.source is not None or finding.labeler is not None:
        return finding.alone < ALONE
    earlier = [each for each in findings if each.alarmed_index < finding.alarmed_index]
    moved = any(each.watched in ("features", "predicted") and each.source is None for each in earlier)
    return moved and not any(each.watched in ("agreement", "answers") for each in findings)


def _mix(excused: Sequence[Finding]) -> list[Finding]:
    """What labels say of one source's or labeler's answers alike, as what it is: a class has become more common."""
    return [
        msgspec.structs.replace(finding, source=None, labeler=None, class_from=None, class_to=finding.class_from)
        for finding in excused
    ]


def _broken(source: str, findings: Sequence[Finding]) -> bool:
    """Whether most values of a feature are impossible for this source, and for another one as well.

    No trigger is that common, and a model that is asked nonsense answers nonsense.
    """
    faults = [f for f in findings if f.kind in (Kind.OUTSIDE, Kind.MISSING) and f.observed >= FAULT_SHARE]
    own = {name for fault in faults if fault.source == source for name in fault.features}
    return any(not own.isdisjoint(fault.features) for fault in faults if fault.source not in (None, source))


def _judge_source(own: list[Finding]) -> tuple[Verdict, list[Finding]]:
    """One source is wrong: are its labels, or does it send what makes the model wrong?"""
    inputs = [finding for finding in own if finding.watched == "features"]
    if not inputs and not any(finding.watched == "answers" for finding in own):
        return Verdict.LABEL_TAMPERING, own
    natural = all(f.kind is Kind.BODY and abs(f.shift) < UNNATURAL for f in inputs)
    trigger = any(finding.trigger for finding in own) or not natural
    return (Verdict.BACKDOOR if trigger else Verdict.CLEAN_LABEL), own


def _kept_back(due: Sequence[Finding]) -> str | None:
    """The predicted class whose labels, and nobody else's, stay away: that hides what is wrong with it."""
    bar = 2 * ALONE if any(finding.class_to is None for finding in due) else ALONE
    return _only(f.class_to for f in due if f.alone >= bar and f.stream.startswith("labels/missing"))


def _selected(finding: Finding, kept_back: str | None) -> bool:
    """Whether errors in a class have risen only because the labels of the right answers are kept back."""
    everybody = finding.source is None and finding.labeler is None
    return kept_back is not None and finding.watched == "confusion" and everybody and finding.class_from == kept_back


def _judge_dues(due: Sequence[Finding], kept_back: str | None) -> tuple[Verdict, list[Finding]]:
    """Labels come late, or not at all."""
    if kept_back is not None:
        return Verdict.LABEL_TAMPERING, [finding for finding in due if finding.class_to == kept_back]
    return Verdict.DATA_FAULT, [finding for finding in due if finding.class_to is None] or list(due)


def _judge_model(wrong: Sequence[Finding], versions: Mapping[str, float]) -> tuple[Verdict, list[Finding]]:
    """The model is wrong whoever asks: in one direction, or altogether? At once, or step by step?"""
    everywhere = [finding for finding in wrong if finding.source is None and finding.labeler is None]
    reasons = everywhere or list(wrong)
    onset = min(finding.onset.low for finding in reasons)
    classes = {finding.class_from for finding in reasons}
    if len(classes) > 1 or None in classes or not versions:  # a regression model has no classes to flip
        return Verdict.PERFORMANCE, reasons
    slow = sum(seen >= onset for seen in versions.values()) >= SLOW_VERSIONS
    return (Verdict.SLOW_POISONING if slow else Verdict.LABEL_FLIP), reasons


def _judge_features(findings: Sequence[Finding]) -> tuple[Verdict, list[Finding]]:
    """Nothing says (yet) that the model is wrong: is it a fault, a change of classes, or a change of inputs?"""
    inputs = [finding for finding in findings if finding.watched == "features"]
    faults = [finding for finding in inputs if finding.kind in (Kind.OUTSIDE, Kind.MISSING)]
    everywhere = [finding for finding in findings if finding.source is None]
    sources = {finding.source for finding in findings} - {None}
    if faults and (any(f.source is None or f.observed >= FAULT_SHARE for f in faults) or len(sources) > 1):
        return Verdict.DATA_FAULT, faults
    odd = any(f.watched == "predicted" or f.alone >= ALONE for f in findings)
    if inputs and not everywhere and len(sources) == 1 and odd:
        return _judge_source(list(findings))
    strongest = max(everywhere or findings, key=lambda finding: finding.shift)
    same = [finding for finding in everywhere or findings if finding.watched == strongest.watched]
    return (Verdict.COVARIATE_DRIFT if strongest.watched in ("features", "pairs") else Verdict.PRIOR_SHIFT), same


def _severity(verdict: Verdict, reasons: Sequence[Finding] = ()) -> Severity:
    """By what it is; and where it changes much for everybody, one step more."""
    if verdict in ATTACKS:
        return Severity.CRITICAL
    if reasons and all(reason.watched == "sources" for reason in reasons):
        return Severity.INFO
    everybody = [each for each in reasons if each.source is None and each.labeler is None and each.watched != "labels"]
    serious = any(each.kind is not Kind.BODY and each.observed - each.bound >= SERIOUS for each in everybody)
    if verdict is Verdict.PRIOR_SHIFT:
        return Severity.WARNING if serious else Severity.INFO
    return Severity.CRITICAL if serious else Severity.WARNING


def _attribute(
    verdict: Verdict,
    reasons: Sequence[Finding],
    findings: Sequence[Finding],
    versions: Mapping[str, float],
    onset: Onset,
) -> Attribution:
    triggers = [name for finding in reasons for name in finding.trigger]
    # Labels that stay away say nothing about what else is wrong, nor the other way round.
    due = reasons[0].watched == "labels"
    others = [] if due else [finding for finding in findings if finding.watched != "labels"]
    pairs = [finding for finding in (*reasons, *others) if finding.class_to is not None]
    version = None
    if verdict in ATTACKS and verdict is not Verdict.LABEL_TAMPERING:
        version = max(
            (name for name, seen in versions.items() if seen <= onset.high), key=versions.__getitem__, default=None
        )
    floods = [finding for finding in findings if finding.watched == "sources"]
    blamed = () if verdict in WHOEVER_ASKS else [*reasons, *floods] if verdict in CHANGES else reasons
    return Attribution(
        source=_only(reason.source for reason in blamed),
        labeler=_only(reason.labeler for reason in blamed),
        features=tuple(dict.fromkeys([*triggers, *(name for f in reasons for name in f.features)]))[:MAX_FEATURES],
        class_from=pairs[0].class_from if pairs else None,
        class_to=pairs[0].class_to if pairs else None,
        version=version,
    )


def _only(names: Iterable[str | None]) -> str | None:
    """The one that is named; where several are, it is nobody in particular."""
    named = {name for name in names if name is not None}
    return named.pop() if len(named) == 1 else None
