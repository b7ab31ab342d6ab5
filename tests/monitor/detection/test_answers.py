"""Counts of what versions have answered: exact, bounded, and the same after a restart."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from monitor.detection.answers import EVERY, MAX_CLASSES, MAX_FEATURES, MAX_NAMES, MAX_VERSIONS, NOBODY, OTHERS, Answers
from monitor.intake.events import Prediction
from monitor.intake.join import Joined

names = st.none() | st.sampled_from(["a", "b", "c"])
classes = st.sampled_from(["x", "y", 1, 1.0, True])
events = st.lists(st.tuples(st.sampled_from(["1", "2", "3"]), names, names, classes, classes, st.floats(0, 99)))


def told(rows: list[Any], answers: Answers | None = None) -> Answers:
    answers = answers or Answers()
    for version, source, labeler, predicted, label, ts in rows:
        answers.take(version, source, predicted, ts)
        answers.take_label(version, source, labeler, predicted, label)
    return answers


@given(rows=events)
def test_every_event_is_counted_once_for_each_kind_of_witness(rows: list[Any]) -> None:
    answers = told(rows)
    for version in {row[0] for row in rows}:
        found, own = answers.of(version), [row for row in rows if row[0] == version]
        assert found is not None
        assert (found.predictions, found.labels) == (len(own), len(own))
        assert (found.first, found.last) == (own[0][-1], max(row[-1] for row in own))
        assert sum(sum(counts.values()) for counts in found.predicted.values()) == len(own)
        for kind in ("source", "labeler"):
            cells = [n for counts in found.contradictions(kind).values() for by in counts.values() for n in by.values()]
            assert sum(cells) == len(own)


@given(rows=events, cut=st.integers(0, 30))
def test_it_goes_on_where_it_stopped(rows: list[Any], cut: int) -> None:
    restarted = told(rows[cut:], Answers(told(rows[:cut]).dump()))
    assert restarted.dump() == told(rows).dump()


@given(rows=events, cuts=st.lists(st.integers(0, 60), max_size=4), known=st.booleans())
def test_counted_together_is_counted_one_by_one(rows: list[Any], cuts: list[int], known: bool) -> None:
    """Also where answers have places already, so that they are counted by what is told of them."""
    one, together = told(rows * known), told(rows * known)
    stream: list[tuple[float, Any]] = []
    for number, (version, source, labeler, predicted, label, ts) in enumerate(rows * 2):
        features = {"x": 1.0} if number % 3 else {}
        one.take(version, source, predicted, ts, features)
        stream.append((ts, Prediction(str(number), ts, "m", version, features, predicted, source)))
        if number % 2:
            one.take_label(version, source, labeler, predicted, label)
            stream.append((ts, Joined("m", version, source, predicted, ts, label, labeler, ts)))
    for low, high in pairwise([0, *sorted(cuts), len(stream)]):
        part = stream[low:high]
        together.take_all([event for _, event in part], [ts for ts, _ in part])
    assert together.dump() == one.dump()


def test_what_most_answers_were_made_from_is_known_and_a_few_odd_ones_decide_nothing() -> None:
    answers = Answers()
    assert answers.carried() is None
    answers.take("1", "s", "x", 0.0)
    assert answers.carried() is None
    for number in range(40 * EVERY):
        odd = number % (3 * EVERY) == 0
        features = {"shoe": 1.0} if odd else {"age": 1.0, "size": None, "often": 1.0 if number % 64 else None}
        answers.take("2", "s", "x", float(number), features)
    assert answers.carried() == {"age"}
    assert Answers(answers.dump()).carried() == {"age"}
    answers.take("3", "s", "x", 1e6, {f"f{number}": 1.0 for number in range(2 * MAX_FEATURES)})
    assert len(answers.carried() or ()) == MAX_FEATURES


def test_one_and_1_0_are_the_same_class() -> None:
    answers = told([("1", "s", "l", 1, 1.0, 0.0), ("1", "s", "l", "1", 2, 0.0)])
    found = answers.of("1")
    assert found is not None
    assert (found.wrong, found.predicted) == (1, {"s": {"1": 2}})


def test_a_flood_of_names_classes_and_versions_stays_bounded() -> None:
    answers = Answers()
    for number in range(3000):
        answers.take("1", f"s{number}", f"class {number}", float(number))
        answers.take_label("1", f"s{number}", f"l{number}", f"class {number}", "class 0")
    found = answers.of("1")
    assert found is not None
    assert len(found.predicted) == MAX_NAMES + 1
    assert len({name for counts in found.predicted.values() for name in counts}) == MAX_CLASSES + 1
    assert found.predicted[OTHERS][OTHERS] == 3000 - MAX_NAMES
    for number in range(100):
        answers.take(f"v{number}", None, "x", 0.0)
    assert [answered.version for answered in answers] == [f"v{number}" for number in range(100 - MAX_VERSIONS, 100)]
    answers.take_label("1", None, None, "x", "x")  # a label for a version that is forgotten
    assert len(answers.dump()) < 100_000


def test_events_without_names_are_nobodys() -> None:
    found = told([("1", None, None, "x", "y", 5.0)]).of("1")
    assert found is not None
    assert (found.sources, found.labelers) == ({NOBODY: {"y": {"x": 1}}}, {NOBODY: {"y": {"x": 1}}})
