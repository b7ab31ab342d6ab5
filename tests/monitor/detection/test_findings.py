"""Findings: which stream, what about it, how much, and since when."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from alerting.incident import Evidence, Onset
from detectors.bets import Caution
from detectors.edetector import Excursion
from monitor.detection.bank import Bank, Moment, Place
from monitor.detection.baseline import EXTRA
from monitor.detection.changes import Kind
from monitor.detection.findings import Finding, _onset, again, find
from monitor.detection.learning import build
from monitor.intake.events import Features, Prediction
from monitor.intake.join import Joined
from tests.kit.served import (
    Cause,
    Row,
    World,
    bad_labeler,
    covariate_drift,
    label_flip,
    nulls,
    prior_shift,
    unit_fault,
)

BUDGET = 20_000.0


def parts(world: World) -> tuple[list[Prediction], list[Joined]]:
    names = ("event_id", "ts", "model", "version", "features", "prediction", "source")
    rows = list(world.rows())
    joins = [
        Joined("mail", "1", row["source"], row["prediction"], row["ts"], row["truth"], row["labeler"], row["ts"] + 1)
        for row in rows
    ]
    return [Prediction(**{name: row[name] for name in names}) for row in rows], joins


def first_findings(cause: Cause, *, regression: bool = False) -> tuple[Bank, Moment, list[Finding]]:
    """What is found when the first stream alarms, against a reference of 1,500 events."""
    bank = Bank(build("mail", *parts(World(seed=1, predictions=1500, regression=regression))), BUDGET, Caution())
    predictions, joins = parts(World(seed=2, predictions=1000, onset=0, cause=cause, regression=regression))
    features = bank.columns.features([(2 * n, event.epoch, event) for n, event in enumerate(predictions)])
    labels = bank.columns.labels([(2 * n + 1, join) for n, join in enumerate(joins)])
    for moment in bank.update(features, labels):
        return bank, moment, find(bank)
    raise AssertionError("nothing was found")


def new_feature(row: Row, _rng: np.random.Generator) -> None:
    row["features"]["ip"] = 1


def new_category(row: Row, rng: np.random.Generator) -> None:
    if rng.random() < 0.4:
        row["features"]["lang"] = "eo"


def more_german(row: Row, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        row["features"]["lang"] = "de"


def biased(row: Row, _rng: np.random.Generator) -> None:
    row["prediction"] += 0.3


def downwards(row: Row, _rng: np.random.Generator) -> None:
    row["features"]["score"] -= 0.8


@pytest.mark.parametrize(
    ("cause", "regression", "watched", "kind", "stream"),
    [
        (covariate_drift, False, "features", Kind.BODY, "feature/score"),
        (covariate_drift, True, "features", Kind.BODY, "feature/score"),
        (downwards, False, "features", Kind.BODY, "feature/score"),
        (unit_fault, False, "features", Kind.OUTSIDE, "feature/size"),
        (nulls, False, "features", Kind.MISSING, "feature/score"),
        (new_category, False, "features", Kind.OUTSIDE, "feature/lang"),
        (more_german, False, "features", Kind.BODY, "feature/lang"),
        (new_feature, False, "features", Kind.OUTSIDE, f"feature/{EXTRA}"),
        (prior_shift, False, "predicted", Kind.OUTCOME, "predicted/spam"),
        (label_flip, False, "confusion", Kind.OUTCOME, "confusion/spam->ham"),
        (biased, True, "confusion", Kind.BODY, "residual"),
    ],
)
def test_a_finding_says_what_about_which_stream(
    cause: Cause, regression: bool, watched: str, kind: Kind, stream: str
) -> None:
    _, moment, found = first_findings(cause, regression=regression)
    first = found[0]
    assert (first.watched, first.kind, first.stream) == (watched, kind, stream)
    assert first.alarmed_index == moment.index
    assert first.log_e >= math.log(BUDGET)
    assert first.shift > 0.0


def test_a_finding_about_a_labeler_names_it() -> None:
    _, _, found = first_findings(bad_labeler)
    assert ("lab-2", "ham", "spam") in {(f.labeler, f.class_from, f.class_to) for f in found}
    assert all(f.source is None or f.labeler is None for f in found)


def test_of_a_body_the_mean_score_is_observed_with_its_sign() -> None:
    up, down = (first_findings(cause)[2][0] for cause in (covariate_drift, downwards))
    assert 0.4 < up.observed < 1.6
    assert -1.4 < down.observed < -0.3
    assert up.shift == pytest.approx(abs(up.observed))
    assert up.bound == down.bound == pytest.approx(3 / math.sqrt(1500))


@pytest.mark.parametrize(("cause", "share"), [(nulls, 0.5), (new_category, 0.4), (label_flip, 0.4)])
def test_of_values_and_outcomes_a_share_is_observed(cause: Cause, share: float) -> None:
    _, _, found = first_findings(cause)
    assert found[0].bound < found[0].observed <= 1.0
    # Too high if anything: it is measured over the very events that raised the alarm.
    assert found[0].observed > 0.6 * share
    assert found[0].bound < 0.06


def test_findings_are_in_the_order_of_their_alarms() -> None:
    bank = Bank(build("mail", *parts(World(seed=1, predictions=1500))), 500.0, Caution())
    predictions, _ = parts(World(seed=2, predictions=600, onset=0, cause=unit_fault))
    features = bank.columns.features([(n, event.epoch, event) for n, event in enumerate(predictions)])
    list(bank.update(features, bank.columns.labels([])))
    found = find(bank)
    assert len(found) > 2
    assert [f.alarmed_index for f in found] == sorted(f.alarmed_index for f in found)
    assert {f.place for f in found} == {place for place, _ in bank.alarming()}


def test_features_alone_are_found_out_too() -> None:
    bank = Bank(build("mail", *parts(World(seed=1, predictions=1500))), BUDGET, Caution())
    rows = [(n, 2e9 + n, Features(f"f{n}", 2e9 + n, "mail", {"size": 1.0})) for n in range(200)]
    next(bank.update(bank.columns.features(rows), bank.columns.labels([])))
    assert {f.kind for f in find(bank)} == {Kind.MISSING}


BUDGET = 1e5
"""Its logarithm is 11.5."""


def finding(**changes: Any) -> Finding:
    plain = Finding(
        place=Place("features/source", 1, 2),
        watched="features",
        kind=Kind.OUTSIDE,
        stream="feature/size",
        source="src-1",
        labeler=None,
        features=("size",),
        class_from=None,
        class_to=None,
        trigger=(),
        log_e=12.3456,
        observed=0.123456,
        bound=0.001234,
        shift=2.0,
        alone=0.0,
        alarmed_index=7,
        onset=Onset(10.0, 5.0, 15.0),
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(
    ("changes", "family", "stream"),
    [
        ({}, "features", "source/src-1/feature/size"),
        ({"source": None}, "features", "feature/size"),
        ({"watched": "predicted", "stream": "predicted/spam", "source": None}, "predictions", "predicted/spam"),
        (
            {"watched": "confusion", "stream": "confusion/a->b", "source": None, "labeler": "l"},
            "performance",
            "labeler/l/confusion/a->b",
        ),
    ],
)
def test_evidence_is_rounded_and_says_whose_it_is(changes: dict[str, Any], family: str, stream: str) -> None:
    assert finding(**changes).evidence == Evidence(family, stream, 12.35, 0.1235, 0.0012)


def test_a_stream_found_again_is_as_it_is_now_but_since_then() -> None:
    later = finding(kind=Kind.MISSING, alarmed_index=99, onset=Onset(80.0, 70.0, 90.0), observed=0.7)
    assert again(None, later, BUDGET) is later
    both = again(finding(), later, BUDGET)
    assert (both.onset, both.alarmed_index) == (finding().onset, 7)
    assert (both.kind, both.observed) == (Kind.MISSING, 0.7)


@pytest.mark.parametrize(
    ("then", "now", "believed"), [(6.0, 2.9, 6.0), (6.0, 7.0, 7.0), (6.0, -0.1, -0.1), (0.0, 3.0, 3.0)]
)
def test_that_somebody_is_alone_is_believed_until_it_is_likelier_that_he_is_not(
    then: float, now: float, believed: float
) -> None:
    assert again(finding(alone=then), finding(alone=now), BUDGET).alone == believed


def test_each_time_that_it_had_to_be_taken_back_it_counts_half() -> None:
    held, believed = finding(alone=10.0), []
    for now in (-1.0, 10.0, -2.0, 10.0, -0.5, 40.0):
        held = again(held, finding(alone=now), BUDGET)
        believed.append(held.alone)
    assert believed == [-1.0, 5.0, -2.0, 2.5, -0.5, 10.0]  # 2.5 was no belief, so it was not taken back


@pytest.mark.parametrize("kind", [Kind.OUTSIDE, Kind.MISSING])
def test_values_that_cannot_be_stay_the_kind_of_a_finding(kind: Kind) -> None:
    first, later = finding(kind=kind), finding(kind=Kind.BODY, observed=1.5)
    assert again(first, later, BUDGET) is first
    assert again(later, first, BUDGET).kind is kind


def test_what_fades_stays_what_it_was() -> None:
    """Its counts are those of good events more and more."""
    assert again(finding(), finding(observed=0.05, log_e=11.0), BUDGET) == finding()
    assert again(finding(), finding(observed=0.05, log_e=11.6), BUDGET).observed == 0.05


@pytest.mark.parametrize(
    ("began", "alarmed"), [(1000.0, 1100.0), (1000.0, 1000.0), (1000.0, 900.0), (1000.0, 90_000.0), (100.0, 101.0)]
)
@pytest.mark.parametrize("threshold", [100.0, 1e5, 1e7])
def test_an_onset_is_in_order_not_before_the_reference_ended(began: float, alarmed: float, threshold: float) -> None:
    excursion = Excursion(5, began, [1, 2], 9, alarmed)
    onset = _onset(excursion, threshold, 0.05, 100.0)
    assert 100.0 <= onset.low <= onset.ts <= onset.high
    assert onset.ts <= began
    assert onset.high <= max(alarmed, onset.ts)


def test_evidence_that_grew_slowly_began_long_ago() -> None:
    fast, slow = (_onset(Excursion(5, 1e6, [1], 9, 1e6 + took), 1e5, 0.05, 0.0) for took in (100.0, 10_000.0))
    assert 1e6 - slow.ts == pytest.approx(100 * (1e6 - fast.ts))
    assert slow.high - slow.low > 50 * (fast.high - fast.low)
