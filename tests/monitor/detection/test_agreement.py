"""Agreement of a model with its surrogate, from the baseline to codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.bets import Reference
from detectors.surrogate import LEVELS
from monitor.detection.agreement import AGREES, Agreement, pooled
from monitor.detection.columns import Columns
from monitor.detection.learning import build
from monitor.intake.events import ClassLabel, Features, Prediction

TS = 1_772_409_600.0
ANSWERS = {True: "high", False: "low"}


def prediction(number: int, x: float, answer: ClassLabel | None = None) -> Prediction:
    said = ANSWERS[x > 0] if answer is None else answer
    return Prediction(f"e{number}", TS + 60 * number, "m", "1", {"x": x, "y": 1.0}, said, source="s")


def reference(events: int = 400) -> list[Prediction]:
    values = np.random.default_rng(1).standard_normal(events)
    return [prediction(number, float(x)) for number, x in enumerate(values)]


BASELINE = build("m", reference(), [])


def answers(*events: Prediction | Features) -> tuple[list[int], list[str], list[int]]:
    """Rows judged, the class expected of each, and its unexpected answer."""
    surrogate = BASELINE.surrogate
    assert surrogate is not None
    columns = Columns(BASELINE).features([(at, TS, event) for at, event in enumerate(events)])
    found = Agreement(surrogate, BASELINE).of(columns.codes)
    expected = [BASELINE.classes[kind // LEVELS] for kind in found.kinds]
    return found.rows.tolist(), expected, found.unexpected.tolist()


def test_an_answer_is_held_against_what_the_surrogate_expects() -> None:
    rows, expected, unexpected = answers(prediction(0, 2.0), prediction(1, 2.0, "low"), prediction(2, -2.0))
    assert rows == [0, 1, 2]
    assert expected == ["high", "high", "low"]
    assert unexpected == [AGREES, 1 + BASELINE.classes.index("low"), AGREES]


def test_a_class_that_is_new_is_an_unexpected_answer() -> None:
    *_, unexpected = answers(prediction(0, 2.0, "enormous"))
    assert unexpected == [len(BASELINE.classes)]


def test_events_without_a_prediction_or_a_clear_answer_are_left_out() -> None:
    features = Features("f", TS, "m", {"x": 2.0, "y": 1.0})
    rows, *_ = answers(features, prediction(1, 2.0), prediction(2, 0.0))
    assert rows == [1]


def test_a_model_of_numbers_and_one_without_features_have_no_surrogate() -> None:
    numbers = [Prediction(f"e{n}", TS + n, "m", "1", {"x": float(n)}, n + 0.5) for n in range(60)]
    bare = [Prediction(f"e{n}", TS + n, "m", "1", {}, "a") for n in range(60)]
    for events in (numbers, bare):
        baseline = build("m", events, [])
        assert baseline.surrogate is None
        assert baseline.agreement == ()


def test_how_often_they_agree_is_learnt_for_each_kind() -> None:
    assert len(BASELINE.agreement) == len(BASELINE.classes) * LEVELS
    judged = sum(sum(kind.counts) for kind in BASELINE.agreement)
    agreed = sum(kind.counts[at // LEVELS] for at, kind in enumerate(BASELINE.agreement))
    assert judged > 300
    assert agreed / judged > 0.97


tables = st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3 * LEVELS, max_size=3 * LEVELS)


@given(tables)
def test_pooling_keeps_every_event(rows: list[list[int]]) -> None:
    kinds = [Reference(tuple(row), {"source": {"s": tuple(row)}} if sum(row) else {"source": {}}) for row in rows]
    levels = pooled(kinds)
    assert len(levels) == LEVELS
    for level, found in enumerate(levels):
        held = np.array(rows[level::LEVELS])
        assert found.counts[AGREES] == np.trace(held)
        assert sum(found.counts) == held.sum()
        assert found.groups["source"].get("s", found.counts) == found.counts


@pytest.mark.parametrize("size", [50, 2000])
def test_what_a_baseline_holds_does_not_grow_with_its_events(size: int) -> None:
    baseline = build("m", reference(size), [])
    assert baseline.surrogate is not None
    assert len(baseline.surrogate.weights) == 3 * len(baseline.classes)
