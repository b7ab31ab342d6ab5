"""What speaks for a verdict and against it, and that a sure verdict is right more often than a doubtful one."""

import pytest

from alerting.incident import Change, Verdict
from monitor.detection.findings import Finding
from monitor.detection.grounds import LONG, MAX_AGAINST, MOST, STRONG, SURE, WEAK
from monitor.detection.verdict import judge
from tests.kit.findings import feature, finding
from tests.kit.served import World, backdoor, bad_labeler, bad_source, label_flip, prior_shift, transitions, unit_fault

NEW = {"2.0.0": 990.0}
CONFIRMED = [finding(), finding("agreement")]
"""The labels and the surrogate say the same of everybody."""


def test_a_verdict_that_nothing_speaks_against_is_not_certain() -> None:
    judgement = judge(CONFIRMED, NEW)
    assert (judgement.verdict, judgement.confidence, judgement.against) == (Verdict.LABEL_FLIP, MOST, ())
    assert judgement.because == "labels contradict the model, whoever asks, in one direction, since version 2.0.0"


@pytest.mark.parametrize(
    ("findings", "versions", "verdict", "weight", "clause"),
    [
        ([finding("agreement")] * 2, NEW, Verdict.LABEL_FLIP, WEAK, "labels do not confirm it yet"),
        ([finding()] * 2, NEW, Verdict.LABEL_FLIP, WEAK, "labels alone say so: the answers have hardly changed"),
        (
            CONFIRMED,
            {"2.0.0": 900.0 - LONG},
            Verdict.LABEL_FLIP,
            STRONG,
            "version 2.0.0 had served for 12 h 1 min before it began",
        ),
        (
            [*CONFIRMED, feature()],
            NEW,
            Verdict.LABEL_FLIP,
            WEAK,
            "inputs of everybody have changed as well, which its surrogate does not know",
        ),
        (
            [finding("answers", source=name, alone=0.5) for name in ("s1", "s2", "s3")],
            NEW,
            Verdict.LABEL_FLIP,
            STRONG,
            "what is wrong is only known of s1 and s2 and 1 more",
        ),
        ([finding()] * 2, {}, Verdict.PERFORMANCE, STRONG, "all of it goes one way, as in a poisoned model"),
        (
            [finding(labeler="lab-1"), finding()],
            {},
            Verdict.LABEL_TAMPERING,
            WEAK,
            "that it is lab-1 alone is not beyond doubt yet",
        ),
        (
            [finding(labeler="lab-1", alone=SURE), finding(labeler="lab-2", alone=1.0)],
            {},
            Verdict.LABEL_TAMPERING,
            WEAK,
            "labels contradict the model for lab-2 too",
        ),
        (
            [finding(source="s1", alone=SURE), finding("answers", source="s1", alone=SURE)],
            {},
            Verdict.CLEAN_LABEL,
            WEAK,
            "no version has been new since the baseline",
        ),
        (
            [finding(source="s1", alone=SURE), finding("answers", source="s1", alone=SURE)],
            NEW,
            Verdict.CLEAN_LABEL,
            WEAK,
            "a trigger that is no rare value would look the same",
        ),
        (
            [finding(source="s1", alone=SURE), feature(source="s1", shift=2.0)],
            NEW,
            Verdict.BACKDOOR,
            WEAK,
            "its unexpected answers have no rare value in common",
        ),
        ([feature()], {}, Verdict.COVARIATE_DRIFT, WEAK, "one stream alone says so yet"),
        (
            [feature(source="s1"), feature("y", source="s1")],
            {},
            Verdict.COVARIATE_DRIFT,
            STRONG,
            "only s1 shows it, as with somebody who tries a trigger",
        ),
        (
            [feature(shift=1.0), finding("predicted", shift=0.8)],
            {},
            Verdict.COVARIATE_DRIFT,
            STRONG,
            "the mix of answers has changed about as much, and that changes inputs too",
        ),
        (
            [feature(shift=0.8), finding("predicted", shift=1.0)],
            {},
            Verdict.PRIOR_SHIFT,
            WEAK,
            "inputs have changed about as much as the mix of answers",
        ),
        ([feature(), finding("agreement")], {}, Verdict.COVARIATE_DRIFT, WEAK, "some answers are unexpected as well"),
    ],
)
def test_what_another_verdict_would_explain_as_well_is_told_and_counts(
    findings: list[Finding], versions: dict[str, float], verdict: Verdict, weight: float, clause: str
) -> None:
    judgement = judge(findings, versions)
    assert judgement.verdict is verdict
    assert clause in judgement.against
    assert judgement.confidence is not None
    assert 0.0 < judgement.confidence <= round(MOST * (1 - weight), 2)


def test_what_one_source_does_to_a_feature_is_not_held_against_it_where_it_shows_in_everybodys() -> None:
    own = [finding(source="s1", alone=SURE), feature("x", source="s1", shift=2.0)]
    changed = "inputs of everybody have changed as well, which its surrogate does not know"
    assert changed not in judge([*own, feature("x")], NEW).against
    assert changed in judge([*own, feature("y")], NEW).against


def test_only_so_much_is_told_the_weightiest_first_and_names_are_cleaned() -> None:
    judgement = judge([finding("answers", source="s\u202e1\n" + "x" * 500, alone=0.5)], {"2": -1e6})
    assert len(judgement.against) == MAX_AGAINST
    assert judgement.against[0].startswith("what is wrong is only known of s1 xxx")
    assert all(clause.isprintable() and len(clause) < 160 for clause in (*judgement.against, judgement.because))


def test_a_changed_mind_is_told_with_what_it_was_and_why() -> None:
    steps = transitions(World(seed=1, cause=bad_labeler, onset=1700, predictions=2500), budget=200.0)
    changed = [step for step in steps if step.change is Change.UPDATED and step.incident.was is not None]
    assert changed
    assert all(step.incident.was is not step.incident.verdict and step.incident.because for step in changed)


def test_sure_verdicts_are_right_more_often_than_doubtful_ones() -> None:
    """At a budget so small that incidents open on little evidence, and change their verdict as more comes."""
    causes = {
        label_flip: {Verdict.LABEL_FLIP},
        bad_labeler: {Verdict.LABEL_TAMPERING},
        bad_source: {Verdict.LABEL_TAMPERING},
        unit_fault: {Verdict.DATA_FAULT},
        prior_shift: {Verdict.PRIOR_SHIFT},
        backdoor: {Verdict.BACKDOOR},
    }
    sure, doubtful = [], []
    for cause, wanted in causes.items():
        for seed in range(2):
            for step in transitions(World(seed=seed, cause=cause, onset=1700, predictions=2500), budget=500.0):
                confidence = step.incident.confidence
                assert confidence is not None
                if step.change in {Change.OPENED, Change.UPDATED} and step.incident.event_index >= 1700:
                    (sure if confidence >= 0.6 else doubtful).append(step.incident.verdict in wanted)
    assert len(doubtful) >= 5
    assert sum(sure) / len(sure) > sum(doubtful) / len(doubtful) + 0.3
