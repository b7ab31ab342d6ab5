"""Columns: every event has codes, whatever is in it; and a batch has those that its events have one by one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.cells import ABOVE, ABSENT, BELOW, MISSING, RESERVED
from monitor.detection.baseline import EXTRA, PREDICTION, Baseline
from monitor.detection.columns import Columns, FeatureColumns
from monitor.detection.learning import build
from monitor.intake.events import Features, Prediction
from monitor.intake.join import Joined
from tests.kit.served import BEGAN, World

relaxed = settings(deadline=None, max_examples=60)


def predictions(world: World) -> list[Prediction]:
    names = ("event_id", "ts", "model", "version", "features", "prediction", "source")
    return [Prediction(**{name: row[name] for name in names}) for row in world.rows()]


def joins(world: World) -> list[Joined]:
    return [
        Joined(
            "mail", "1.0.0", row["source"], row["prediction"], row["ts"], row["truth"], row["labeler"], row["ts"] + 9
        )
        for row in world.rows()
    ]


SERVED = World(seed=1, predictions=400)
BASELINE = build("mail", predictions(SERVED), joins(SERVED))
NUMBERS = World(seed=2, predictions=400, regression=True)
REGRESSION = build("mail", predictions(NUMBERS), joins(NUMBERS))

values = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | st.text(max_size=4)
features = st.dictionaries(st.sampled_from([*BASELINE.features, "new"]), values, max_size=8)
events = st.builds(
    Prediction,
    event_id=st.just("e"),
    ts=st.just(BEGAN),
    model=st.just("mail"),
    version=st.just("1"),
    features=features,
    prediction=st.sampled_from(["ham", "spam", "eggs", "(other)", "", 1, 1.0, 2.5, True]),
    source=st.none() | st.sampled_from(["src-1", "src-9"]),
) | st.builds(Features, event_id=st.just("e"), ts=st.just(BEGAN), model=st.just("mail"), features=features)


def encode(columns: Columns, found: Sequence[Prediction | Features], start: int = 0) -> FeatureColumns:
    return columns.features([(index, event.epoch, event) for index, event in enumerate(found, start)])


def served(**changes: Any) -> Prediction:
    """An ordinary prediction with some features changed; `...` takes one away."""
    usual = {"size": 1.0, "links": 2, "score": 0.0, "age": 0.1, "lang": "en"} | changes
    kept = {name: value for name, value in usual.items() if value is not ...}
    return Prediction("e", BEGAN, "mail", "1.0.0", kept, "ham", source="src-1")


def reserved(baseline: Baseline, event: Prediction | Features, name: str) -> int:
    """Which reserved code a feature has; negative if it has a regular one."""
    found = encode(Columns(baseline), [event])
    column = list(baseline.features).index(name)
    return int(found.codes[0, column]) - (baseline.features[name].cells.size - RESERVED)


@pytest.mark.parametrize("baseline", [BASELINE, REGRESSION], ids=["classes", "numbers"])
@relaxed
@given(found=st.lists(events, max_size=12))
def test_a_batch_has_the_codes_of_its_events(baseline: Baseline, found: list[Prediction | Features]) -> None:
    together = encode(Columns(baseline), found)
    apart, columns = [], Columns(baseline)
    for number, event in enumerate(found):
        apart.append(encode(columns, [event], number))
    assert together.codes.shape == (len(found), len(baseline.features))
    assert together.codes.tolist() == [single.codes[0].tolist() for single in apart]
    assert together.sources.tolist() == [int(single.sources[0]) for single in apart]
    assert together.index.tolist() == [int(single.index[0]) for single in apart]
    assert together.invalid == sum(single.invalid for single in apart)


@pytest.mark.parametrize("baseline", [BASELINE, REGRESSION], ids=["classes", "numbers"])
@relaxed
@given(found=st.lists(events, min_size=1, max_size=12))
def test_every_code_is_in_its_alphabet(baseline: Baseline, found: list[Prediction | Features]) -> None:
    codes = encode(Columns(baseline), found).codes
    sizes = [feature.cells.size for feature in baseline.features.values()]
    assert (codes >= 0).all()
    assert (codes < np.array(sizes)).all()


@pytest.mark.parametrize(("baseline", "world"), [(BASELINE, SERVED), (REGRESSION, NUMBERS)], ids=["classes", "numbers"])
def test_the_reference_encoded_again_is_the_reference(baseline: Baseline, world: World) -> None:
    columns = Columns(baseline)
    codes = encode(columns, predictions(world)).codes
    for column, feature in enumerate(baseline.features.values()):
        counts = np.bincount(codes[:, column], minlength=feature.cells.size)
        assert tuple(counts.tolist()) == feature.reference.counts
    labels = columns.labels(list(enumerate(joins(world))))
    if baseline.residual is not None:
        assert (
            tuple(np.bincount(labels.outcomes).tolist())
            == baseline.residual.reference.counts[: max(labels.outcomes) + 1]
        )
        assert not labels.labels.any()
    else:
        for code, name in enumerate(baseline.classes):
            counts = np.bincount(labels.outcomes[labels.labels == code], minlength=len(baseline.classes))
            assert tuple(counts.tolist()) == baseline.confusion[name].counts


@pytest.mark.parametrize(
    ("event", "name", "code"),
    [
        (served(), "size", None),
        (served(size=...), "size", MISSING),
        (served(size=None), "size", MISSING),
        (served(size="1.0"), "size", MISSING),
        (served(size=1e300), "size", ABOVE),
        (served(size=-5), "size", BELOW),
        (served(links=True), "links", None),
        (served(lang=...), "lang", MISSING),
        (served(lang=None), "lang", MISSING),
        (served(lang="eo"), "lang", ABOVE),
        (served(lang=7), "lang", ABOVE),
        (served(), EXTRA, None),
        (served(new=1), EXTRA, ABOVE),
        (served(**{EXTRA: 1}), EXTRA, ABOVE),
        (served(size=..., new=1), EXTRA, ABOVE),
        (served(size=...), EXTRA, None),
        (Features("f", BEGAN, "mail", {}), PREDICTION, ABSENT),
        (served(), PREDICTION, None),
    ],
)
def test_new_missing_and_retyped_features_have_reserved_codes(event: Any, name: str, code: int | None) -> None:
    found = reserved(BASELINE, event, name)
    assert found < 0 if code is None else found == code


def test_what_is_missing_or_of_another_type_is_counted() -> None:
    found = encode(Columns(BASELINE), [served(), served(size="big", lang=None), served(age=...), served(new=1)])
    assert found.invalid == 3


def test_features_alone_say_nothing_about_the_output_of_a_regression_model() -> None:
    assert reserved(REGRESSION, Features("f", BEGAN, "mail", {"size": 1.0}), PREDICTION) == ABSENT
    assert reserved(REGRESSION, Prediction("e", BEGAN, "mail", "1", {}, "high"), PREDICTION) == MISSING


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("kind", [float, str])
def test_few_features_of_one_kind(count: int, kind: type) -> None:
    def rows(number: int) -> dict[str, Any]:
        return {f"f{place}": kind(number % 5) for place in range(count)}

    found = [Prediction(f"e{n}", BEGAN + n, "mail", "1", rows(n), "ham") for n in range(60)]
    baseline = build("mail", found, [])
    codes = encode(Columns(baseline), [*found, Prediction("x", BEGAN, "mail", "1", {}, "ham")])
    assert codes.invalid == count
    assert codes.codes.shape == (61, count + 2)


def test_no_events_are_no_rows() -> None:
    columns = Columns(BASELINE)
    assert encode(columns, []).codes.shape == (0, len(BASELINE.features))
    assert columns.labels([]).outcomes.shape == (0,)


def test_labels_are_coded_with_who_gave_them() -> None:
    columns = Columns(BASELINE)
    given_ = [
        Joined("mail", "1", "src-2", "spam", 10.0, "ham", "lab-3", 20.0),
        Joined("mail", "1", None, "eggs", 11.0, "bacon", None, 19.0),
    ]
    found = columns.labels([(5, given_[0]), (9, given_[1])])
    ham, spam, rest = (columns.class_code(name) for name in ("ham", "spam", "(other)"))
    assert BASELINE.classes == ("ham", "spam", "(other)")
    assert (found.labels.tolist(), found.outcomes.tolist()) == ([ham, rest], [spam, rest])
    assert (found.index.tolist(), found.ts.tolist(), found.predicted_at.tolist()) == (
        [5, 9],
        [20.0, 19.0],
        [10.0, 11.0],
    )
    assert [columns.sources.name(slot) for slot in found.sources] == ["src-2", "(none)"]
    assert [columns.labelers.name(slot) for slot in found.labelers] == ["lab-3", "(none)"]


def test_residuals_of_text_are_missing() -> None:
    columns = Columns(REGRESSION)
    assert REGRESSION.residual is not None
    found = columns.labels([(0, Joined("mail", "1", None, 1.0, 10.0, "many", None, 20.0))])
    assert found.outcomes.tolist() == [REGRESSION.residual.cells.size - RESERVED + MISSING]
