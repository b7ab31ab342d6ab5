"""Labels that are due: what became of them, found where they are late or missing, and silent where that is normal."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.incident import Incident, Severity, Transition, Verdict
from detectors.bets import Caution
from monitor.detection import dues
from monitor.detection.asked import Asked
from monitor.detection.baseline import Baseline
from monitor.detection.companions import Companions
from monitor.detection.dues import BEHIND, GONE, IN_TIME, LATE, MINUTE, MOST, Dues, learn
from monitor.detection.lessons import Until
from monitor.detection.watch import Watch
from monitor.intake.events import Prediction
from monitor.intake.join import Joined
from tests.kit.served import (
    BEGAN,
    Cause,
    Row,
    World,
    covariate_drift,
    label_flip,
    make_pipeline,
    prior_shift,
    records,
    transitions,
)

DAY = 86_400.0


def kept_back(row: Row, _rng: np.random.Generator) -> None:
    """Nobody says whether what is called spam is any."""
    if row["prediction"] == "spam":
        row["delay"] = None


def half_gone(row: Row, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        row["delay"] = None


def all_gone(row: Row, _rng: np.random.Generator) -> None:
    row["delay"] = None


def later(seconds: float) -> Cause:
    def cause(row: Row, _rng: np.random.Generator) -> None:
        if row["delay"] is not None:
            row["delay"] += seconds

    return cause


def last(found: list[Transition]) -> Incident:
    assert {step.incident.id for step in found} == {found[0].incident.id}
    return found[-1].incident


def streams(incident: Incident) -> set[str]:
    return {each.stream for each in incident.evidence if each.family == "labels"}


def in_batches(world: World, *, each: bool, every: float = 9.0) -> list[dict[str, Any]]:
    """Slower, with all labels of a day at once, two hours after it; each with its own time if `each`, in no order."""
    rng = np.random.default_rng(world.seed)
    found = []
    for row in world.rows():
        ts = BEGAN + (row.pop("ts") - BEGAN) * every
        truth, delay, labeler = row.pop("truth"), row.pop("delay"), row.pop("labeler")
        found.append((ts, {"kind": "prediction", **row, "ts": ts}))
        if delay is not None:
            at = BEGAN + ((ts - BEGAN) // DAY + 1) * DAY + 7200.0 + 600.0 * rng.random()
            label = {"event_id": row["event_id"], "ts": min(ts + delay, at) if each else at, "label": truth}
            found.append((at, {"kind": "label", "labeler": labeler, **label}))
    return [event for _, event in sorted(found, key=lambda event: event[0])]


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    pipeline = make_pipeline()
    pipeline.process(records(World(predictions=1_600).events()))
    bank = pipeline.watches["mail"].bank
    assert bank is not None
    return bank.baseline


# What is found.


def test_labels_of_one_class_that_stay_away_are_tampering_with_labels() -> None:
    found = transitions(World(predictions=3_000, cause=kept_back))
    incident = last(found)
    assert (incident.verdict, incident.severity) == (Verdict.LABEL_TAMPERING, Severity.CRITICAL)
    assert incident.attribution.class_to == "spam"
    assert incident.attribution.class_from is None
    assert "labels/missing/spam" in streams(incident)
    assert not any("late" in stream for stream in streams(incident))
    assert incident.because == "labels of spam alone are missing more often"
    assert incident.against[0] == "a fault that delays labels of these answers alone would look the same"
    onset = BEGAN + 2_000 * 20.0
    assert incident.onset.low <= onset <= incident.onset.high
    assert onset < incident.opened_at < onset + 2 * 3600.0


@pytest.mark.parametrize(("cause", "stream"), [(half_gone, "labels/missing"), (later(1800.0), "labels/late")])
def test_labels_of_all_classes_that_stay_away_or_come_late_are_a_fault(cause: Cause, stream: str) -> None:
    incident = last(transitions(World(predictions=3_000, cause=cause)))
    assert (incident.verdict, incident.severity) == (Verdict.DATA_FAULT, Severity.WARNING)
    assert stream in streams(incident)
    assert not incident.attribution.features
    assert incident.unlabelled
    assert incident.because == f"labels of all answers are {stream.partition('/')[2]} more often"


def test_labels_that_end_altogether_are_found_once_they_cannot_be_behind() -> None:
    found = transitions(World(predictions=8_000, cause=all_gone))
    incident = last(found)
    assert incident.verdict is Verdict.DATA_FAULT
    assert streams(incident) == {"labels/missing"}
    assert incident.opened_at > BEGAN + 2_000 * 20.0 + BEHIND
    assert incident.onset.ts < BEGAN + 2_100 * 20.0


@pytest.mark.parametrize("cause", [label_flip, prior_shift, covariate_drift])
def test_other_changes_are_not_put_down_to_labels(cause: Cause) -> None:
    for step in transitions(World(predictions=3_000, cause=cause)):
        assert not step.incident.unlabelled


def test_a_flip_whose_labels_are_kept_back_stays_a_flip() -> None:
    def hidden(row: Row, rng: np.random.Generator) -> None:
        label_flip(row, rng)
        if row["prediction"] == "ham" and rng.random() < 0.5:
            row["delay"] = None

    incident = last(transitions(World(predictions=3_000, cause=hidden)))
    assert incident.verdict is Verdict.LABEL_FLIP
    assert (incident.attribution.class_from, incident.attribution.class_to) == ("spam", "ham")


# What is normal.


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("labelled", [0.9, 0.3])
def test_while_all_is_well_nothing_is_said(seed: int, labelled: float) -> None:
    assert transitions(World(seed=seed, predictions=3_500, labelled=labelled), budget=1e5) == []


@pytest.mark.parametrize("each", [False, True], ids=["time of the batch", "time of each label"])
@pytest.mark.parametrize("seed", range(2))
def test_all_labels_of_a_day_at_once_are_normal_and_half_of_them_missing_is_found(seed: int, *, each: bool) -> None:
    for cause, wanted in ((None, set()), (half_gone, {Verdict.DATA_FAULT})):
        world = World(seed=seed, predictions=5_000, onset=3_000, cause=cause)
        pipeline = make_pipeline(until=Until(events=4_500), ttl=7 * DAY, budget=5e4)
        found = pipeline.process(records(in_batches(world, each=each)))
        assert {step.incident.verdict for step in found} == wanted


def test_labels_that_are_read_up_to_a_day_later_than_predictions_are_not_missing() -> None:
    events = World(predictions=4_000).events()
    reference, rest = events[:2_900], events[2_900:]
    behind = [*reference, *sorted(rest, key=lambda event: event["ts"] + 0.9 * DAY * (event["kind"] == "label"))]
    assert make_pipeline(ttl=7 * DAY).process(records(behind)) == []


def test_a_reference_with_few_labels_has_no_labels_that_are_due() -> None:
    pipeline = make_pipeline(until=Until(events=1_500))
    pipeline.process(records(World(predictions=2_000, labelled=0.05).events()))
    bank = pipeline.watches["mail"].bank
    assert bank is not None
    assert bank.baseline.dues is None
    assert not {"labels", "labels/class"} & bank.families.keys()


def test_numbers_have_labels_that_are_due_and_no_classes() -> None:
    pipeline = make_pipeline()
    found = pipeline.process(records(World(predictions=3_000, regression=True, cause=half_gone).events()))
    bank = pipeline.watches["mail"].bank
    assert bank is not None
    assert "labels" in bank.families
    assert "labels/class" not in bank.families
    assert [step.incident.verdict for step in found] == [Verdict.DATA_FAULT]


# What is learnt.


def reference(delays: list[float | None], every: float = 60.0) -> tuple[list[Prediction], list[Joined]]:
    predictions = [Prediction(str(n), n * every, "m", "1", {}, "ab"[n % 2]) for n in range(len(delays))]
    joined = [
        Joined("m", "1", None, "a", n * every, "a", None, n * every + delay, event_id=str(n))
        for n, delay in enumerate(delays)
        if delay is not None
    ]
    return predictions, sorted(joined, key=lambda join: join.labelled_at)


def test_only_predictions_that_are_old_enough_are_counted() -> None:
    delays = [None if n % 10 == 0 else 600.0 for n in range(1_000)]
    found = learn(*reference(delays), ("a", "b", "(other)"), ())
    assert found is not None
    assert found.late == 900.0
    assert found.gone == 1125.0
    assert (found.slack, found.share) == (0.0, 1.0)
    there, missing = np.sum([each.counts for each in found.absence], axis=0).tolist()
    assert there + missing == 1_000 - 1125 // 60 - 1
    assert missing == 99
    assert np.sum([each.counts for each in found.lateness], axis=0).tolist() == [there, 0]
    assert found.absence[2].counts == (0, 0)


def test_of_many_predictions_a_sample_waits() -> None:
    found = learn(*reference([600.0] * 5_000, every=0.2), ("a", "b", "(other)"), ())
    assert found is None  # a reference of 1,000 seconds has none that is 1,125 old
    found = learn(*reference([60.0] * 5_000, every=0.2), ("a", "b", "(other)"), ())
    assert found is not None
    assert found.share * found.gone / 0.2 == pytest.approx(dues.WAITING, rel=0.01)


def asked(*rows: tuple[int, float, str, int]) -> Asked:
    """Predictions by index, time, id and class."""
    found = Asked()
    for index, ts, event_id, said in rows:
        found.add([index], [ts], [Prediction(event_id, ts, "m", "1", {}, said)])
    return found


def test_what_became_of_a_label_is_decided_once_it_is_overdue() -> None:
    learnt = learn(*reference([600.0] * 1_000), ("a", "b", "(other)"), ())
    waiting = Dues(learnt, "digest", int)
    delays = {"in time": 100.0, "late": 1000.0, "gone": 2000.0, "never": None}
    labels = [
        (10 + number, Joined("m", "1", None, "a", number, "a", None, number + delay, event_id=name))
        for number, (name, delay) in enumerate(delays.items())
        if delay is not None
    ]
    waiting.take(asked(*((number, number, name, number % 2) for number, name in enumerate(delays))), labels)
    assert len(waiting.decided().index) == 0  # no prediction is as late as that, and labels alone decide nothing
    waiting.take(asked((20, 5000.0, "next", 0)), [])
    found = waiting.decided()
    assert found.outcomes.tolist() == [IN_TIME, LATE, GONE, GONE]
    assert found.classes.tolist() == [0, 1, 0, 1]
    assert found.ts.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found.index.tolist() == [20] * 4
    assert len(waiting) == 1


def test_however_many_predictions_come_the_state_is_bounded() -> None:
    learnt = learn(*reference([MINUTE] * 1_000), ("a", "b", "(other)"), ())
    waiting = Dues(learnt, "digest", int)
    waiting.take(asked(*((number, 0.001 * number, f"{number}" * 40, 0) for number in range(10 * MOST))), [])
    assert len(waiting) == MOST
    assert sum(map(len, (waiting.dump().places, waiting.dump().ts, waiting.dump().codes))) == 14 * MOST


# However events are cut, and after a restart.


def watch(baseline: Baseline) -> Watch:
    return Watch("mail", budget=500.0, baseline=baseline, until=Until(), caution=Caution(), companions=Companions(()))


def steps(watched: Watch) -> Iterator[str]:
    for moment, judgement in watched.update():
        yield repr((moment, judgement))


@settings(deadline=None, max_examples=5)
@given(cuts=st.lists(st.integers(0, 2_000), max_size=5), restarted=st.booleans())
def test_neither_cuts_nor_restarts_change_anything(baseline: Baseline, cuts: list[int], *, restarted: bool) -> None:
    names = ("event_id", "ts", "model", "version", "features", "prediction", "source")
    told: list[tuple[float, Prediction | Joined]] = []
    for row in World(seed=4, predictions=1_000, onset=300, cause=kept_back).rows():
        asked = Prediction(**{name: row[name] for name in names})
        told.append((asked.epoch, asked))
        if row["delay"] is not None:
            at = row["ts"] + row["delay"]
            who = ("mail", "1.0.0", row["source"], row["prediction"], row["ts"], row["truth"], row["labeler"], at)
            told.append((at, Joined(*who, event_id=row["event_id"])))
    told.sort(key=lambda pair: pair[0])

    def play(watched: Watch, low: int, high: int) -> list[str]:
        for ts, event in told[low:high]:
            watched.take(event, ts)
        return list(steps(watched))

    whole, parted = watch(baseline), watch(baseline)
    seen = play(whole, 0, len(told))
    assert any("labels/missing" in each for each in seen)
    found = []
    for low, high in pairwise([0, *sorted(cuts), len(told)]):
        found += play(parted, low, high)
        if restarted:
            blob, parted = parted.dump(), watch(baseline)
            assert parted.restore(blob, None, [])
    assert found == seen
    assert parted.dump() == whole.dump()
