"""Listing: outliers, one by one, the same however events were cut into batches."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.bets import Caution
from monitor.detection.baseline import Baseline
from monitor.detection.companions import Companions
from monitor.detection.doubts import Suspect
from monitor.detection.learning import build
from monitor.detection.lessons import Until
from monitor.detection.listing import NONE, Limits
from monitor.detection.watch import Watch
from monitor.intake.events import Features, Prediction, Value
from monitor.intake.join import Joined

LIMITS = Limits(share=0.002, per_hour=5)
EVERY = 60.0


def event(number: int, random: np.random.Generator, *, far: bool = False, embedded: bool = False) -> Prediction:
    one = float(random.standard_normal())
    values: dict[str, Value] = {
        "one": 1e4 if far and not embedded else one,
        "two": 0.9 * one + 0.3 * float(random.standard_normal()),
        "kind": str(random.choice(["a", "b"])),
    }
    size = (5.0 if far else 1.0) * random.standard_normal(12)
    embedding = size.tolist() if embedded else None
    return Prediction(f"e{number}", number * EVERY, "m", "1", values, "x" if one > 0 else "y", "s", embedding=embedding)


def learnt(*, embedded: bool = False) -> Baseline:
    random = np.random.default_rng(1)
    return build("m", [event(number, random, embedded=embedded) for number in range(2_000)], [])


BASELINE = learnt()


def watch(limits: Limits = LIMITS, baseline: Baseline = BASELINE) -> Watch:
    return Watch(
        "m",
        budget=1e4,
        baseline=baseline,
        until=Until(),
        caution=Caution(),
        companions=Companions(()),
        limits=limits,
    )


def listed(over: Watch, events: list[Prediction | Features]) -> list[Suspect]:
    for each in events:
        over.take(each, each.epoch)
    list(over.update())
    return over.listing.take("m", None)


def stream(seed: int, count: int) -> list[Prediction | Features]:
    random = np.random.default_rng(seed)
    return [event(number, random, far=bool(random.random() < 0.2)) for number in range(count)]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 50), st.lists(st.integers(0, 150), max_size=5), st.integers(0, 5))
def test_batches_and_restarts_change_nothing(seed: int, cuts: list[int], restart: int) -> None:
    events = stream(seed, 150)
    whole = watch()
    expected = listed(whole, events)
    over, found = watch(), list[Suspect]()
    for number, (start, end) in enumerate(zip([0, *sorted(cuts)], [*sorted(cuts), 150], strict=True)):
        found += listed(over, events[start:end])
        if number == restart:
            blob, over = over.dump(), watch()
            assert over.restore(blob, None, [])
    assert found == expected
    assert over.dump() == whole.dump()
    assert found


def test_an_hour_has_its_limit_and_the_clock_never_goes_back() -> None:
    over, random = watch(), np.random.default_rng(3)
    events: list[Prediction | Features] = [event(number, random, far=True) for number in range(120)]
    late = msgspec.structs.replace(event(200, random, far=True), ts=0.0)
    found = listed(over, [*events, late])
    assert [suspect.event_id for suspect in found] == [f"e{n}" for n in (*range(5), *range(60, 65))]
    assert over.listing.counted == {"listed": 10, "dropped": 111}


def test_what_is_no_prediction_is_not_listed() -> None:
    random = np.random.default_rng(4)
    other = event(1, random, far=True)
    alone = Features("f", 1.0, "m", other.features, "s")
    assert [suspect.event_id for suspect in listed(watch(), [alone, other])] == ["e1"]


def test_without_a_place_for_suspects_none_is_listed() -> None:
    over = watch(NONE)
    assert listed(over, stream(1, 100)) == []
    assert not over.listing.counted


def test_an_embedding_far_from_all_others_is_an_outlier() -> None:
    baseline = learnt(embedded=True)
    random = np.random.default_rng(5)
    events: list[Prediction | Features] = [event(n, random, far=n == 70, embedded=True) for n in range(100)]
    assert [suspect.event_id for suspect in listed(watch(baseline=baseline), events)] == ["e70"]


@pytest.mark.parametrize("values", [{}, {"kind": "a"}, {"flat": 1.0}])
def test_models_with_hardly_any_features_are_watched(values: dict[str, Value]) -> None:
    events = [Prediction(str(n), float(n), "m", "1", dict(values), "xy"[n % 2]) for n in range(1_500)]
    baseline = build("m", events, [])
    assert (baseline.outliers is None) == (not values)
    odd = Prediction("odd", 1.0, "m", "1", dict.fromkeys(values, 7.5), "x")
    expected = ["odd"] if values else []
    assert [suspect.event_id for suspect in listed(watch(baseline=baseline), [odd, *events[:100]])] == expected


def test_a_regression_model_has_outliers_too() -> None:
    random = np.random.default_rng(6)
    events = [msgspec.structs.replace(event(n, random), prediction=float(random.normal())) for n in range(2_000)]
    labels = [Joined("m", "1", "s", e.prediction, e.epoch, 0.5, None, e.epoch + 1) for e in events[:50]]
    baseline = build("m", events, labels)
    odd = msgspec.structs.replace(event(1, random, far=True), prediction=0.25)
    (suspect,) = listed(watch(baseline=baseline), [odd])
    assert (suspect.prediction, suspect.reason, suspect.incident) == ("0.25", "outlier", None)
