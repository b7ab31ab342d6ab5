"""From a known cause to the verdict and who is named; and each question of the judge by itself."""

from functools import cache
from typing import Any

import pytest

from alerting.incident import Attribution, Change, Incident, Onset, Severity, Verdict
from monitor.detection.changes import Kind
from monitor.detection.findings import ALONE, Finding
from monitor.detection.verdict import ATTACKS, MAX_EVIDENCE, MAX_FEATURES, SLOW_VERSIONS, judge
from tests.kit.findings import feature, finding
from tests.kit.served import (
    Cause,
    World,
    backdoor,
    bad_labeler,
    bad_source,
    covariate_drift,
    label_flip,
    nulls,
    prior_shift,
    retrained,
    transitions,
    unit_fault,
    worse_everywhere,
)

SEEDS = range(6)
WANTED: dict[Cause, tuple[Verdict, Attribution]] = {
    label_flip: (Verdict.LABEL_FLIP, Attribution(class_from="spam", class_to="ham", version="2.0.0")),
    bad_labeler: (Verdict.LABEL_TAMPERING, Attribution(labeler="lab-2", class_from="ham", class_to="spam")),
    bad_source: (Verdict.LABEL_TAMPERING, Attribution(source="src-1", class_from="ham", class_to="spam")),
    unit_fault: (Verdict.DATA_FAULT, Attribution(features=("size",))),
    nulls: (Verdict.DATA_FAULT, Attribution(features=("score",))),
    prior_shift: (Verdict.PRIOR_SHIFT, Attribution(class_to="spam")),
    covariate_drift: (Verdict.COVARIATE_DRIFT, Attribution(features=("score",))),
    backdoor: (Verdict.BACKDOOR, Attribution(source="src-3", features=("size",), class_from="spam", class_to="ham")),
}


def worlds(cause: Cause) -> list[World]:
    return [World(seed=seed, cause=cause, onset=1700, predictions=2500) for seed in SEEDS]


@cache
def outcomes(cause: Cause) -> list[tuple[World, Incident | None]]:
    """Each world, with the first incident after its onset as it stood last."""
    found: list[tuple[World, Incident | None]] = []
    for world in worlds(cause):
        steps = transitions(world, budget=20_000.0)
        opened = [step.incident for step in steps if step.change is Change.OPENED]
        assert all(incident.opened_at >= world.onset_ts for incident in opened)
        last = [step.incident for step in steps if opened and step.incident.id == opened[0].id]
        found.append((world, last[-1] if last else None))
    return found


def most(found: list[bool]) -> bool:
    """All but one."""
    return sum(found) >= len(found) - 1


@pytest.mark.parametrize("cause", WANTED, ids=lambda cause: cause.__name__)
def test_a_cause_is_called_by_its_name(cause: Cause) -> None:
    verdict, _ = WANTED[cause]
    assert most([incident is not None and incident.verdict is verdict for _, incident in outcomes(cause)])


@pytest.mark.parametrize("cause", WANTED, ids=lambda cause: cause.__name__)
def test_who_and_what_is_named(cause: Cause) -> None:
    _, attribution = WANTED[cause]
    found = [incident is not None and incident.attribution == attribution for _, incident in outcomes(cause)]
    assert sum(found) >= len(found) - 2


@pytest.mark.parametrize("cause", WANTED, ids=lambda cause: cause.__name__)
def test_the_onset_is_within_its_interval_for_most(cause: Cause) -> None:
    found = [
        incident is not None and incident.onset.low <= world.onset_ts <= incident.onset.high
        for world, incident in outcomes(cause)
    ]
    assert sum(found) >= len(found) / 2


@pytest.mark.parametrize("cause", WANTED, ids=lambda cause: cause.__name__)
def test_an_onset_is_in_order_and_before_anybody_was_told(cause: Cause) -> None:
    for _, incident in outcomes(cause):
        if incident is not None:
            onset = incident.onset
            assert onset.low <= onset.ts <= onset.high
            assert onset.ts <= incident.opened_at


def test_a_model_that_errs_more_everywhere_was_not_attacked() -> None:
    verdicts = [incident.verdict for _, incident in outcomes(worse_everywhere) if incident is not None]
    assert len(verdicts) == len(SEEDS)
    assert set(verdicts) == {Verdict.PERFORMANCE}


def test_a_new_version_alone_is_nothing() -> None:
    assert most([incident is None for _, incident in outcomes(retrained)])


FIRST_VERSION = {"2.0.0": 990.0}


def impossible(source: str, name: str = "x", observed: float = 0.9) -> Finding:
    return feature(name, kind=Kind.OUTSIDE, source=source, observed=observed)


IMPOSSIBLE = [impossible("s1"), impossible("s2")]


@pytest.mark.parametrize(
    ("findings", "versions", "verdict"),
    [
        ([finding()], {}, Verdict.PERFORMANCE),
        ([finding()], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding(), finding(class_from="ham", class_to="spam")], FIRST_VERSION, Verdict.PERFORMANCE),
        ([finding()], {f"2.{n}": 990.0 + n for n in range(SLOW_VERSIONS)}, Verdict.SLOW_POISONING),
        ([finding()], {f"2.{n}": 900.0 + n for n in range(SLOW_VERSIONS)}, Verdict.LABEL_FLIP),
        ([finding(class_from=None, class_to=None)], FIRST_VERSION, Verdict.PERFORMANCE),
        ([finding(labeler="lab-1")], {}, Verdict.LABEL_TAMPERING),
        ([finding(labeler="lab-1"), finding()], FIRST_VERSION, Verdict.LABEL_TAMPERING),
        ([finding(), finding(labeler="lab-1")], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding(), finding(labeler="lab-1", alone=2 * ALONE)], FIRST_VERSION, Verdict.LABEL_TAMPERING),
        ([finding(labeler="lab-1"), finding(labeler="lab-2")], {}, Verdict.PERFORMANCE),
        ([finding(source="s1")], {}, Verdict.LABEL_TAMPERING),
        ([finding(source="s1"), feature(source="s1", shift=2.0)], {}, Verdict.BACKDOOR),
        ([finding(source="s1"), feature(kind=Kind.OUTSIDE, source="s1")], {}, Verdict.BACKDOOR),
        ([finding(source="s1"), *(feature(name, source="s1") for name in "abc")], {}, Verdict.CLEAN_LABEL),
        ([finding(source="s1"), feature()], {}, Verdict.LABEL_TAMPERING),
        ([feature()], {}, Verdict.COVARIATE_DRIFT),
        ([feature(kind=Kind.OUTSIDE)], {}, Verdict.DATA_FAULT),
        ([feature(kind=Kind.MISSING)], {}, Verdict.DATA_FAULT),
        ([feature(kind=Kind.OUTSIDE, source="s1", observed=0.1)], {}, Verdict.COVARIATE_DRIFT),
        ([feature(kind=Kind.OUTSIDE, source="s1", observed=0.9)], {}, Verdict.DATA_FAULT),
        ([feature(kind=Kind.MISSING, source=s, observed=0.1) for s in ("s1", "s2")], {}, Verdict.DATA_FAULT),
        ([finding("predicted")], {}, Verdict.PRIOR_SHIFT),
        ([finding("predicted", shift=2.0), feature(shift=1.0)], {}, Verdict.PRIOR_SHIFT),
        ([finding("predicted", shift=1.0), feature(shift=2.0)], {}, Verdict.COVARIATE_DRIFT),
        ([finding("predicted", source="s1"), feature(source="s1", shift=2.0)], {}, Verdict.BACKDOOR),
        ([finding("predicted", source="s1"), *(feature(n, source="s1") for n in "abc")], {}, Verdict.CLEAN_LABEL),
        ([finding("answers", source="s1", trigger=("x",))], {}, Verdict.BACKDOOR),
        ([finding("answers", source="s1")], {}, Verdict.CLEAN_LABEL),
        ([finding("answers", source="s1"), finding(source="s1")], {}, Verdict.CLEAN_LABEL),
        ([finding("agreement")], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding("agreement")], {}, Verdict.PRIOR_SHIFT),
        ([finding("agreement"), feature()], {}, Verdict.COVARIATE_DRIFT),
        ([feature(at=900), finding("agreement")], FIRST_VERSION, Verdict.COVARIATE_DRIFT),
        ([finding("agreement"), finding("answers", source="s1")], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding("agreement", at=200), finding("answers", source="s1")], FIRST_VERSION, Verdict.CLEAN_LABEL),
        ([finding("agreement"), finding("answers", source="s1", alone=2 * ALONE)], FIRST_VERSION, Verdict.CLEAN_LABEL),
        ([finding("answers", source=name) for name in ("s1", "s2")], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding("answers", source="s1", alone=0.5)], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding(source="s1", alone=0.5)], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding(labeler="lab-1", alone=0.5)], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding(labeler="lab-1", alone=0.5), finding()], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding(source="s1", alone=-5.0, one_way=True)], FIRST_VERSION, Verdict.PRIOR_SHIFT),
        ([finding(labeler="lab-1", alone=-5.0, one_way=True), feature()], FIRST_VERSION, Verdict.COVARIATE_DRIFT),
        ([finding(source="s1", one_way=True)], FIRST_VERSION, Verdict.LABEL_TAMPERING),
        ([finding(one_way=True)], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([finding(one_way=True), feature(at=200)], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([feature(at=50), finding(one_way=True)], FIRST_VERSION, Verdict.COVARIATE_DRIFT),
        ([feature(at=50), finding()], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([feature(at=50), finding(one_way=True), finding("agreement")], FIRST_VERSION, Verdict.LABEL_FLIP),
        ([feature(source="s1", shift=2.0, alone=ALONE)], {}, Verdict.BACKDOOR),
        ([feature(source="s1", alone=ALONE)], {}, Verdict.CLEAN_LABEL),
        ([feature(source="s1", alone=ALONE), feature("y")], {}, Verdict.COVARIATE_DRIFT),
        ([finding("answers", source="s1"), *IMPOSSIBLE], FIRST_VERSION, Verdict.DATA_FAULT),
        ([finding("answers", source="s1", alone=2 * ALONE), finding(), *IMPOSSIBLE], {}, Verdict.DATA_FAULT),
        ([finding("answers", source="s1"), impossible("s1")], FIRST_VERSION, Verdict.BACKDOOR),
        ([finding("answers", source="s1"), impossible("s1"), impossible("s2", "y")], FIRST_VERSION, Verdict.BACKDOOR),
        ([finding("answers", source="s1"), impossible("s1"), impossible("s2", observed=0.3)], {}, Verdict.BACKDOOR),
    ],
)
def test_one_question_after_the_other(findings: list[Finding], versions: dict[str, float], verdict: Verdict) -> None:
    judgement = judge(findings, versions)
    assert judgement.verdict is verdict
    attack = verdict in ATTACKS
    assert (judgement.severity is Severity.CRITICAL) == attack
    assert judgement.evidence


def test_severities() -> None:
    assert judge([finding("predicted")], {}).severity is Severity.INFO
    assert judge([feature()], {}).severity is Severity.WARNING


@pytest.mark.parametrize(
    ("found", "severity"),
    [
        (finding(observed=0.6), Severity.CRITICAL),
        (finding(observed=0.49), Severity.WARNING),
        (feature(kind=Kind.MISSING, observed=0.9), Severity.CRITICAL),
        (feature(kind=Kind.MISSING, source="s1", observed=0.9), Severity.WARNING),
        (feature(observed=5.0), Severity.WARNING),
        (finding("predicted", observed=0.9), Severity.WARNING),
    ],
)
def test_a_large_change_for_everybody_is_more_severe(found: Finding, severity: Severity) -> None:
    assert judge([found], {}).severity is severity


def test_the_version_to_blame_is_the_last_one_before_the_onset_was_over() -> None:
    versions = {"2.0.0": 500.0, "2.1.0": 1049.0, "2.2.0": 1051.0}
    assert judge([finding()], versions).attribution.version == "2.1.0"
    assert judge([finding(since=300.0)], versions).attribution.version is None
    assert judge([finding(labeler="lab-1")], versions).attribution.version is None


def test_several_sources_are_nobody_in_particular() -> None:
    missing = [feature(kind=Kind.MISSING, source=source) for source in ("s1", "s2")]
    assert judge(missing, {}).attribution.source is None
    assert judge(missing[:1], {}).attribution.source == "s1"


def test_only_so_many_features_and_pieces_of_evidence_are_named_the_strongest_first() -> None:
    findings = [feature(f"f{n:02d}", log_e=float(n)) for n in range(20)]
    judgement = judge(findings, {})
    assert judgement.attribution.features == tuple(f"f{n:02d}" for n in range(MAX_FEATURES))
    assert [evidence.log_e for evidence in judgement.evidence] == [19.0 - n for n in range(MAX_EVIDENCE)]


def test_the_onset_is_the_earliest_of_the_reasons() -> None:
    judgement = judge([finding(since=1000.0), finding(since=800.0), feature(since=10.0)], {})
    assert judgement.onset == Onset(800.0, 750.0, 850.0)


def test_the_only_source_and_the_only_labeler_are_everybody() -> None:
    """Of them cannot be asked whether it is one or all: the model is to blame, not who happens to send all there is."""

    def one_of_each(row: dict[str, Any], rng: Any) -> None:
        row["source"], row["labeler"] = "gateway", "desk"
        if row["ts"] >= World(seed=0, onset=1700).onset_ts:
            label_flip(row, rng)

    found = []
    for seed in SEEDS:
        steps = transitions(World(seed=seed, cause=one_of_each, onset=0, predictions=2500), budget=20_000.0)
        found.append(bool(steps) and steps[-1].incident.verdict is Verdict.LABEL_FLIP)
        assert all(step.incident.attribution.source is None for step in steps)
        assert all(step.incident.attribution.labeler is None for step in steps)
    assert most(found)


def test_who_is_hit_first_by_chance_is_not_named() -> None:
    """Of many sources one always comes first; what has not been seen from the others is no evidence against it."""

    def flip_everywhere(row: dict[str, Any], rng: Any) -> None:
        row["source"] = f"source-{rng.integers(6)}"
        row["truth"] = row["prediction"] = "spam" if row["features"]["score"] > 0 else "ham"
        if row["ts"] >= World(seed=0, onset=1700).onset_ts:
            label_flip(row, rng)

    told = [
        step.incident.attribution
        for seed in SEEDS
        for step in transitions(World(seed=seed, cause=flip_everywhere, onset=0, predictions=2500), budget=20_000.0)
    ]
    assert len(told) >= len(SEEDS)
    assert [who.source for who in told if who.source is not None] == []
    assert [who.labeler for who in told if who.labeler is not None] == []
