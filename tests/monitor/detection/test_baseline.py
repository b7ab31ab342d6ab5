"""Baselines: learnt the same way twice, frozen, and refused if anything in them was changed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.bets import Caution
from detectors.cells import CategoryCells, NumericCells
from monitor.detection.bank import Bank
from monitor.detection.baseline import (
    EXTRA,
    FORMAT,
    OTHER,
    PREDICTION,
    Baseline,
    BaselineError,
    canonical,
    decode,
    describe,
    load,
    save,
)
from monitor.detection.learning import MAX_CLASSES, MAX_GROUPS, MIN_PREDICTIONS, build
from monitor.intake.events import ClassLabel, Prediction, class_name
from monitor.intake.join import Joined

TS = 1_772_409_600.0


def prediction(number: int, output: ClassLabel = "a", source: str | None = None, **features: Any) -> Prediction:
    return Prediction(f"e{number}", TS + number * 60, "m", f"1.{number % 2}", features, output, source=source)


def joined(number: int, output: ClassLabel, label: ClassLabel, labeler: str | None = None) -> Joined:
    return Joined("m", "1.0", None, output, TS + number * 60, label, labeler, TS + number * 60 + 5)


texts = st.text(max_size=3)
outputs = st.sampled_from([("a", "b"), ("a", "a"), (1, 2), (True, False), (0.5, 2.25), ("x", OTHER)])
columns = st.sampled_from(
    [
        lambda n: n % 7,
        lambda n: None,  # noqa: ARG005 - a feature that is always missing
        lambda n: 3.5,  # noqa: ARG005 - a constant one
        lambda n: n % 3 == 0,
        lambda n: "abc"[n % 3],
        lambda n: f"c{n}",
        lambda n: [1, "1", None][n % 3],
        lambda n: 10.0 ** (n % 300),
        lambda n: ... if n % 2 else n,
    ]
)


@st.composite
def baselines(draw: st.DrawFn) -> Baseline:
    count = draw(st.integers(MIN_PREDICTIONS, 120))
    names = draw(st.dictionaries(st.sampled_from(["x", "y", "", EXTRA, PREDICTION, "ü"]), columns, max_size=5))
    classes = draw(outputs)
    labels = draw(st.integers(0, count))

    def features(number: int) -> dict[str, Any]:
        row = {name: column(number) for name, column in names.items()}
        return {name: value for name, value in row.items() if value is not ...}

    found = [prediction(n, classes[n % 2], [None, "s1", "s2"][n % 3], **features(n)) for n in range(count)]
    return build("m", found, [joined(n, classes[n % 2], classes[n % 3 % 2], "lab") for n in range(labels)])


@settings(deadline=None, max_examples=60)
@given(baselines())
def test_a_baseline_is_the_same_after_it_was_written(baseline: Baseline) -> None:
    again = decode(canonical(baseline))
    assert again == baseline
    assert again.digest == baseline.digest
    # The order of keys too: it is the order of columns.
    assert list(again.features) == list(baseline.features)
    assert repr(again) == repr(baseline)


@settings(deadline=None, max_examples=60)
@given(baselines())
def test_groups_are_parts_of_the_whole(baseline: Baseline) -> None:
    for feature in baseline.features.values():
        assert sum(feature.reference.counts) == baseline.predictions
        assert len(feature.reference.counts) == feature.cells.size
        for groups in feature.reference.groups.values():
            sums = [sum(group) for group in zip(*groups.values(), strict=True)]
            assert all(part <= whole for part, whole in zip(sums, feature.reference.counts, strict=True) if groups)
        for partition in ("time", "hour"):
            sums = [sum(group) for group in zip(*feature.reference.groups[partition].values(), strict=True)]
            assert tuple(sums) == feature.reference.counts
    confused = sum(sum(reference.counts) for reference in baseline.confusion.values())
    assert confused == (0 if baseline.regression else baseline.labels)


@settings(deadline=None, max_examples=30)
@given(baselines())
def test_a_bank_can_be_built_on_any_baseline(baseline: Baseline) -> None:
    bank = Bank(baseline, 1000.0, Caution())
    assert bank.digest == baseline.digest


def test_too_few_predictions_are_no_baseline() -> None:
    with pytest.raises(BaselineError, match="m: 49 predictions in the reference, at least 50 needed"):
        build("m", [prediction(n) for n in range(49)], [])


def learnt(**more: Any) -> Baseline:
    found = [prediction(n, "ab"[n % 2], f"s{n % 3}", x=n * 1.5, kind="uvw"[n % 3], **more) for n in range(100)]
    return build("m", found, [joined(n, "ab"[n % 2], "ab"[n % 5 % 2], f"l{n % 2}") for n in range(80)])


def test_what_was_learnt() -> None:
    baseline = learnt()
    assert (baseline.model, baseline.versions, baseline.classes) == ("m", ("1.0", "1.1"), ("a", "b", OTHER))
    assert (baseline.predictions, baseline.labels, baseline.regression) == (100, 80, False)
    assert (baseline.began, baseline.ended) == (TS, TS + 99 * 60)
    assert list(baseline.features) == [EXTRA, PREDICTION, "kind", "x"]
    assert isinstance(baseline.features["x"].cells, NumericCells)
    assert isinstance(baseline.features["kind"].cells, CategoryCells)
    assert (baseline.sources, baseline.labelers) == (("s0", "s1", "s2"), ("l0", "l1"))


def test_a_class_of_predictions_or_labels_only_is_a_class() -> None:
    found = build("m", [prediction(n, "a") for n in range(60)], [joined(n, "a", "b") for n in range(10)])
    assert found.classes == ("a", "b", OTHER)
    assert found.confusion["b"].counts == (10, 0, 0)


def test_many_classes_are_cut_to_the_frequent_ones() -> None:
    baseline = build("m", [prediction(n, f"c{n % 50:02d}") for n in range(320)], [])
    assert len(baseline.classes) == MAX_CLASSES + 1
    assert "c00" in baseline.classes
    assert "c49" not in baseline.classes


def test_a_class_that_is_called_as_the_rest_is_part_of_the_rest() -> None:
    found = [prediction(n, [OTHER, "a"][n % 2]) for n in range(60)]
    baseline = build("m", found, [joined(n, "a", OTHER) for n in range(10)])
    assert baseline.classes == ("a", OTHER)
    assert baseline.confusion[OTHER].counts == (10, 0)


def test_many_sources_are_cut_to_the_frequent_ones() -> None:
    baseline = build("m", [prediction(n, source=f"s{n % 100 if n % 2 else 7}") for n in range(400)], [])
    assert len(baseline.sources) == MAX_GROUPS
    assert baseline.sources[0] == "s7"


def test_one_fraction_among_the_outputs_makes_a_regression_model() -> None:
    numbers = [prediction(n, n) for n in range(60)]
    assert not build("m", numbers, []).regression
    baseline = build("m", [*numbers, prediction(60, 0.5)], [joined(n, n, n + 0.25) for n in range(60)])
    assert baseline.regression
    assert baseline.classes == (OTHER,)
    assert baseline.residual is not None
    assert sum(baseline.residual.reference.counts) == 60


@pytest.mark.parametrize(
    ("value", "name"),
    [(1, "1"), (1.0, "1"), ("1", "1"), (True, "True"), (1.5, "1.5"), ("", ""), (1e300, str(int(1e300)))],
)
def test_spellings_of_a_class(value: ClassLabel, name: str) -> None:
    assert class_name(value) == name


def test_a_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    save(learnt(), path)
    assert load(path) == learnt()
    assert json.loads(path.read_text(encoding="utf-8"))["digest"] == learnt().digest


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    save(learnt(), path)
    original = json.loads(path.read_text(encoding="utf-8"))
    for change in (
        {"predictions": 101},
        {"began": 0.0},
        {"classes": ["b", "a", OTHER]},
        {"sources": []},
        {"features": {**original["baseline"]["features"], "x": original["baseline"]["features"]["kind"]}},
    ):
        path.write_text(json.dumps({**original, "baseline": {**original["baseline"], **change}}), encoding="utf-8")
        with pytest.raises(BaselineError, match=r"does not match its digest sha256:.*changed after freezing"):
            load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a baseline"),
        (b"\xff\xfe", "not a baseline"),
        (b"{}", "not a baseline: Object missing required field `digest`"),
        (b'{"digest":"sha256:0","baseline":[]}', "not a baseline"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(BaselineError, match=f"m.json: {message}"):
        load(path)


def test_a_file_of_another_format_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    save(learnt(), path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["baseline"]["format"] = 99
    del content["baseline"]["pairs"]  # what another version did not have
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BaselineError, match=f"format 99, this version reads {FORMAT}"):
        load(path)
    with pytest.raises(BaselineError, match="No such file"):
        load(tmp_path / "none.json")


def test_a_description_has_sizes_and_names_and_no_values() -> None:
    found = describe(learnt(secret="hunter2"))
    assert found["features"] == {"numeric": 1, "categorical": 2}
    assert (found["from"], found["until"]) == ("2026-03-02T00:00:00+00:00", "2026-03-02T01:39:00+00:00")
    assert (found["classes"], found["sources"], found["labelers"]) == (["a", "b"], 3, 2)
    assert "hunter2" not in json.dumps(found)
