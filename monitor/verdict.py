"""Verdicts: from findings to what is going on, who is behind it, and since when.

One question after the other: labels or features? one labeler or source, or all? one class, or many? with a version, or
without? Benign change must not be called poison, and a verdict may change openly as evidence comes.
"""

from collections.abc import Iterable, Mapping, Sequence

from alerting.incident import Attribution, Judgement, Onset, Severity, Verdict
from monitor.findings import Finding, Kind

ATTACKS = frozenset(
    {
        Verdict.LABEL_FLIP,
        Verdict.BACKDOOR,
        Verdict.CLEAN_LABEL,
        Verdict.LABEL_TAMPERING,
        Verdict.SLOW_POISONING,
    }
)
FAULT_SHARE = 0.5
"""A source with more than this share of impossible values has a fault; an attacker's trigger is rarer."""
SLOW_VERSIONS = 3
"""Versions since the onset that make a poisoning a slow one."""
SERIOUS = 0.4
"""By how much a share of events has risen where a verdict is one step more severe than usual."""
MAX_EVIDENCE = 10
MAX_FEATURES = 5


def judge(findings: Sequence[Finding], versions: Mapping[str, float]) -> Judgement:
    """Judge what alarms now (at least one finding, earliest first).

    Args:
        findings: everything that alarms.
        versions: when each version was first seen after the baseline, epoch seconds, in order.
    """
    labels = [finding for finding in findings if finding.watched == "confusion"]
    verdict, reasons = _judge_labels(labels, findings, versions) if labels else _judge_features(findings)
    onset = min((reason.onset for reason in reasons), key=lambda onset: onset.ts)
    return Judgement(
        verdict=verdict,
        severity=_severity(verdict, reasons),
        onset=onset,
        attribution=_attribute(verdict, reasons, findings, versions, onset),
        evidence=tuple(finding.evidence for finding in sorted(findings, key=lambda f: -f.log_e)[:MAX_EVIDENCE]),
    )


def _judge_labels(
    labels: Sequence[Finding], findings: Sequence[Finding], versions: Mapping[str, float]
) -> tuple[Verdict, list[Finding]]:
    """Predictions and labels disagree: is it a labeler, a source, or the model?"""
    first = labels[0]
    everywhere = [finding for finding in labels if finding.source is None and finding.labeler is None]
    if first.labeler is not None and len({f.labeler for f in labels if f.labeler is not None}) == 1:
        return Verdict.LABEL_TAMPERING, [f for f in labels if f.labeler == first.labeler]
    if first.source is not None and len({f.source for f in labels if f.source is not None}) == 1:
        own = [finding for finding in findings if finding.source == first.source]
        inputs = [finding for finding in own if finding.watched == "features"]
        if not inputs:
            return Verdict.LABEL_TAMPERING, own
        return (Verdict.BACKDOOR if _is_trigger(inputs) else Verdict.CLEAN_LABEL), own
    reasons = everywhere or list(labels)
    onset = min(finding.onset.low for finding in reasons)
    classes = {finding.class_from for finding in reasons}
    if len(classes) > 1 or None in classes or not versions:  # a regression model has no classes to flip
        return Verdict.PERFORMANCE, reasons
    slow = sum(seen >= onset for seen in versions.values()) >= SLOW_VERSIONS
    return (Verdict.SLOW_POISONING if slow else Verdict.LABEL_FLIP), reasons


def _judge_features(findings: Sequence[Finding]) -> tuple[Verdict, list[Finding]]:
    """Labels say nothing (yet): is it a fault, a change of classes, a change of inputs, or one source's trigger?"""
    inputs = [finding for finding in findings if finding.watched == "features"]
    faults = [finding for finding in inputs if finding.kind in (Kind.OUTSIDE, Kind.MISSING)]
    everywhere = [finding for finding in findings if finding.source is None]
    sources = {finding.source for finding in findings} - {None}
    if faults and (any(f.source is None or f.observed >= FAULT_SHARE for f in faults) or len(sources) > 1):
        return Verdict.DATA_FAULT, faults
    if inputs and not everywhere and len(sources) == 1 and any(f.watched == "predicted" for f in findings):
        return (Verdict.BACKDOOR if _is_trigger(inputs) else Verdict.CLEAN_LABEL), list(findings)
    strongest = max(everywhere or findings, key=lambda finding: finding.shift)
    same = [finding for finding in everywhere or findings if finding.watched == strongest.watched]
    return (Verdict.PRIOR_SHIFT if strongest.watched == "predicted" else Verdict.COVARIATE_DRIFT), same


def _is_trigger(inputs: Sequence[Finding]) -> bool:
    """Values out of the ordinary in a few features are a trigger; a cluster of natural rows moves many together."""
    return any(finding.kind is Kind.OUTSIDE for finding in inputs) or len(inputs) <= 2


def _severity(verdict: Verdict, reasons: Sequence[Finding] = ()) -> Severity:
    """By what it is; and where it changes much for everybody, one step more."""
    if verdict in ATTACKS:
        return Severity.CRITICAL
    everybody = [reason for reason in reasons if reason.source is None and reason.labeler is None]
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
    pairs = [finding for finding in (*reasons, *findings) if finding.class_to is not None]
    version = None
    if verdict in ATTACKS and verdict is not Verdict.LABEL_TAMPERING:
        version = max(
            (name for name, seen in versions.items() if seen <= onset.high), key=versions.__getitem__, default=None
        )
    return Attribution(
        source=_only(reason.source for reason in reasons),
        labeler=_only(reason.labeler for reason in reasons),
        features=tuple(dict.fromkeys(f.feature for f in reasons if f.feature is not None))[:MAX_FEATURES],
        class_from=pairs[0].class_from if pairs else None,
        class_to=pairs[0].class_to if pairs else None,
        version=version,
    )


def _only(names: Iterable[str | None]) -> str | None:
    """The one that is named; where several are, it is nobody in particular."""
    named = {name for name in names if name is not None}
    return named.pop() if len(named) == 1 else None
