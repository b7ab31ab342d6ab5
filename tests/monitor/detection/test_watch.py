"""A watch from its first event on: learning, watching, and whatever producers may send."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from alerting.incident import Judgement, Verdict
from detectors.bets import Caution
from monitor.detection.companions import CompanionConfig, Companions
from monitor.detection.learning import MIN_PREDICTIONS
from monitor.detection.lessons import Until
from monitor.detection.versions import MAX_VERSIONS
from monitor.detection.watch import Watch
from monitor.intake.events import Features, Prediction
from monitor.intake.join import Joined
from tests.kit.served import BEGAN, EVERY, Row, World, covariate_drift, other

LEARNT = 1200
"""Events of the reference: 600 predictions, each with its label right behind it."""


def make(budget: float = 2000.0, until: Until | None = None, companions: Iterable[CompanionConfig] = ()) -> Watch:
    return Watch(
        "mail",
        budget=budget,
        baseline=None,
        until=until or Until(events=LEARNT),
        caution=Caution(),
        companions=Companions(companions),
    )


def prediction(number: int, **changes: Any) -> Prediction:
    return msgspec.structs.replace(
        Prediction(f"e{number}", BEGAN + number, "mail", "1.0.0", {"x": float(number % 10)}, "ham"), **changes
    )


def feed(watch: Watch, rows: Iterable[Row], *, labelled: bool = True) -> None:
    names = ("event_id", "ts", "model", "version", "features", "prediction", "source")
    for row in rows:
        watch.take(Prediction(**{name: row.get(name) for name in names}), row["ts"])
        if labelled:
            who = row["version"], row.get("source"), row["prediction"], row["ts"]
            joined = Joined("mail", *who, row["truth"], row.get("labeler"), row["ts"] + 1)
            watch.take(joined, joined.labelled_at)


def watched(world: World, **more: Any) -> tuple[Watch, list[Judgement]]:
    """A watch that has learnt from the first 500 predictions of a world and seen the rest, and its judgements."""
    watch = make(until=Until(ts=BEGAN + 500 * EVERY))
    feed(watch, world.rows(), **more)
    return watch, [judgement for _, judgement in watch.update() if judgement is not None]


def verdicts(judgements: Sequence[Judgement]) -> set[Verdict]:
    return {judgement.verdict for judgement in judgements}


def test_the_reference_ends_after_so_many_events() -> None:
    watch = make()
    feed(watch, World(predictions=600).rows())
    assert list(watch.update()) == []
    assert watch.bank is None
    feed(watch, World(predictions=601).rows(), labelled=False)
    assert list(watch.update()) == []
    assert watch.bank is not None
    baseline = watch.bank.baseline
    assert (baseline.predictions, baseline.labels) == (600, 600)


def test_the_reference_ends_before_the_first_event_at_a_time() -> None:
    watch = make(until=Until(ts=BEGAN + 100 * EVERY))
    feed(watch, World(predictions=101).rows(), labelled=False)
    assert list(watch.update()) == []
    assert watch.bank is not None
    assert (watch.bank.baseline.predictions, watch.bank.baseline.ended) == (100, BEGAN + 99 * EVERY)
    assert watch.bank.highest()["features"] > 0.0  # of the one after them


@pytest.mark.parametrize("until", [Until(events=1), Until(ts=BEGAN)])
def test_no_reference_has_fewer_predictions_than_a_baseline_needs(until: Until) -> None:
    watch = make(until=until)
    feed(watch, World(predictions=MIN_PREDICTIONS).rows(), labelled=False)
    assert list(watch.update()) == []
    assert watch.bank is None
    watch.take(prediction(MIN_PREDICTIONS), BEGAN)
    assert list(watch.update()) == []
    assert watch.bank is not None


def test_a_model_of_features_alone_has_nothing_to_learn_and_stays_small() -> None:
    watch = make(until=Until(events=10))
    for number in range(1000):
        watch.take(Features(f"f{number}", BEGAN, "mail", {"x": 1.0}), BEGAN)
    assert list(watch.update()) == []
    assert (watch.bank, watch.events, len(watch._rows)) == (None, 1000, 0)
    assert watch.take_lesson() is None


def test_features_alone_are_watched_once_a_baseline_is_there() -> None:
    watch, _ = watched(World(seed=1, predictions=600))
    for number in range(300):
        features = {"size": 1.0, "links": 2, "score": 9.0, "age": 0.0, "lang": "en"}
        watch.take(Features(f"f{number}", BEGAN + 99999, "mail", features), BEGAN + 99999 + number)
    found = [judgement for _, judgement in watch.update() if judgement is not None]
    assert "score" in found[-1].attribution.features
    assert found[-1].attribution.class_to is None


def test_nothing_is_judged_while_all_is_well() -> None:
    watch, judgements = watched(World(seed=2, predictions=1500))
    assert judgements == []
    assert not watch.alarming


def test_a_drift_that_ends_is_over_at_some_event() -> None:
    watch = make(budget=50_000.0, until=Until(events=800))
    feed(watch, World(seed=3, predictions=4000, onset=800, end=900, cause=covariate_drift).rows(), labelled=False)
    found = list(watch.update())
    assert found[0][1] is not None
    assert found[0][1].verdict is Verdict.COVARIATE_DRIFT
    assert found[-1][1] is None
    assert not watch.alarming


def drop(row: Row, _rng: np.random.Generator) -> None:
    del row["features"]["score"]


def rename(row: Row, _rng: np.random.Generator) -> None:
    row["features"]["Score"] = row["features"].pop("score")


def add(row: Row, _rng: np.random.Generator) -> None:
    row["features"]["ip"] = "10.0.0.1"


def to_text(row: Row, _rng: np.random.Generator) -> None:
    row["features"]["score"] = str(row["features"]["score"])


def to_number(row: Row, _rng: np.random.Generator) -> None:
    row["features"]["lang"] = 7


def to_nothing(row: Row, _rng: np.random.Generator) -> None:
    row["features"] = {}


@pytest.mark.parametrize(
    ("cause", "feature"),
    [
        (drop, "score"),
        (rename, "score"),
        (add, "(extra features)"),
        (to_text, "score"),
        (to_number, "lang"),
        (to_nothing, "size"),
    ],
)
@pytest.mark.parametrize("regression", [False, True])
def test_a_schema_that_changed_for_good_is_a_data_fault(cause: Any, feature: str, regression: bool) -> None:
    world = World(seed=4, predictions=900, onset=700, cause=cause, regression=regression)
    watch, judgements = watched(world, labelled=False)
    assert verdicts(judgements) == {Verdict.DATA_FAULT}
    assert feature in judgements[-1].attribution.features
    missing = {drop: 1, rename: 1, to_text: 1, to_nothing: 5}.get(cause, 0)
    assert watch.invalid == 200 * missing


@pytest.mark.parametrize("cause", [drop, add, to_text, to_number, to_nothing])
def test_one_event_of_another_schema_is_nothing(cause: Any) -> None:
    _, judgements = watched(World(seed=5, predictions=900, onset=700, end=701, cause=cause))
    assert judgements == []


def test_a_regression_model_that_is_off_is_found_by_its_residuals() -> None:
    def off(row: Row, _rng: np.random.Generator) -> None:
        row["prediction"] += 0.5

    _, judgements = watched(World(seed=6, predictions=1200, onset=700, cause=off, regression=True))
    assert judgements[-1].verdict is Verdict.PERFORMANCE
    assert "residual" in {evidence.stream for evidence in judgements[-1].evidence}


def test_a_regression_model_that_starts_to_give_text_is_no_crash() -> None:
    def text(row: Row, _rng: np.random.Generator) -> None:
        row["prediction"] = "high"

    _, judgements = watched(World(seed=7, predictions=900, onset=700, cause=text, regression=True))
    assert judgements


def test_a_model_without_labels_is_watched_by_its_features() -> None:
    watch, judgements = watched(World(seed=8, predictions=1500, onset=1200, cause=covariate_drift), labelled=False)
    assert watch.bank is not None
    assert watch.bank.baseline.labels == 0
    assert verdicts(judgements) == {Verdict.COVARIATE_DRIFT}


def test_labels_that_only_come_after_the_reference_are_no_crash() -> None:
    watch = make(until=Until(events=600))
    rows = list(World(seed=9, predictions=1000).rows())
    feed(watch, rows[:600], labelled=False)
    feed(watch, rows[600:])
    assert watch.bank is not None
    assert [judgement for _, judgement in watch.update() if judgement is not None] == []


def one_class(row: Row, _rng: np.random.Generator) -> None:
    row["truth"] = row["prediction"] = "ham"


def test_a_model_with_a_single_class_is_well_until_there_is_another() -> None:
    watch, judgements = watched(World(seed=10, predictions=1500, onset=0, cause=one_class))
    assert judgements == []
    for number in range(300):
        watch.take(prediction(number, ts=BEGAN + 1e6 + number, prediction="spam"), BEGAN + 1e6 + number)
    assert any(judgement is not None for _, judgement in watch.update())


def test_events_without_source_or_labeler_are_watched_as_a_whole() -> None:
    def anonymous(row: Row, rng: np.random.Generator) -> None:
        row["source"] = row["labeler"] = None
        if row["ts"] >= BEGAN + 800 * EVERY:
            row["version"] = "2.0.0"
            if row["truth"] == "spam" and rng.random() < 0.5:
                row["prediction"] = other("spam")

    _, judgements = watched(World(seed=11, predictions=1500, onset=0, cause=anonymous))
    assert judgements[-1].verdict is Verdict.LABEL_FLIP
    assert judgements[-1].attribution.source is None
    assert judgements[-1].attribution.labeler is None
    assert judgements[-1].attribution.version == "2.0.0"


def test_versions_are_told_by_when_they_came_and_bounded() -> None:
    watch, _ = watched(World(seed=12, predictions=600), labelled=False)
    assert watch.version_at(600) == "1.0.0"
    first = watch.events
    for number in range(first, first + 3 * MAX_VERSIONS):
        watch.take(prediction(number, version=f"2.{(number - first) // 2}"), BEGAN + 1e6 + number)
    list(watch.update())
    assert len(watch._versions.seen) == MAX_VERSIONS
    last = first + 3 * MAX_VERSIONS - 1
    assert watch.version_at(last) == f"2.{3 * MAX_VERSIONS // 2 - 1}"
    assert watch.version_at(last - 2) == f"2.{3 * MAX_VERSIONS // 2 - 2}"


def test_companions_watch_beside_it_once_the_reference_is_there() -> None:
    watch = make(until=Until(events=1000), companions=[CompanionConfig(detector="adwin", signal="feature/score")])
    feed(watch, World(seed=13, predictions=2000, onset=1500, cause=covariate_drift).rows(), labelled=False)
    assert watch.companions.detections["adwin", "feature/score"] >= 1


def test_what_was_learnt_is_handed_over_once() -> None:
    watch = make(until=Until(events=500))
    feed(watch, World(predictions=200).rows())
    list(watch.update())
    lesson = watch.take_lesson()
    assert lesson is not None
    assert watch.take_lesson() is None
    restored = make(until=Until(events=500))
    assert restored.restore(watch.dump(), None, [lesson])
    rest = list(World(predictions=600).rows())[200:]
    for each in (watch, restored):
        feed(each, rest)
    assert watch.bank is not None
    assert restored.bank is not None
    assert restored.bank.digest == watch.bank.digest
    assert restored.events == watch.events
    assert list(restored.update()) == list(watch.update())
