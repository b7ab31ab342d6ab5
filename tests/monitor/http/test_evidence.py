"""What is kept with an incident: it shows what changed, and it stays small whatever comes."""

import msgspec
import numpy as np
import pytest

from alerting.incident import Incident, Verdict
from monitor.detection.lately import POINTS, STRIDE, WINDOW, Lately
from monitor.detection.lessons import Until
from monitor.http.evidence import CLASSES, FEATURES, SOURCES, gather
from monitor.pictures.drawing import Box, Path, Text
from monitor.pictures.exhibit import Compared, Exhibit, drawings
from tests.kit.exhibits import exhibited
from tests.kit.served import (
    Cause,
    World,
    backdoor,
    bad_labeler,
    label_flip,
    make_pipeline,
    prior_shift,
    records,
    unit_fault,
)


@pytest.mark.parametrize("cause", [label_flip, bad_labeler, backdoor, unit_fault, prior_shift])
def test_an_exhibit_is_whole_and_small(cause: Cause) -> None:
    incident, exhibit = exhibited(cause)
    assert len(msgspec.msgpack.encode(exhibit)) < 40_000
    assert len(exhibit.features) <= FEATURES
    for compared in (*exhibit.features, *([exhibit.sources] if exhibit.sources else [])):
        assert len(compared.names) == len(compared.before) == len(compared.after)
    for compared in exhibit.features:
        assert sum(compared.before) == pytest.approx(1.0)
        assert sum(compared.after) == pytest.approx(1.0)
    assert max(level for _, points in exhibit.curves for _, level in points) >= exhibit.threshold
    for drawing in drawings(exhibit, incident):
        for mark in drawing.marks:
            assert_within(mark, drawing.width, drawing.height)


def assert_within(mark: Box | Path | Text, width: int, height: int) -> None:
    places = mark.points if isinstance(mark, Path) else [(mark.x, mark.y)]
    if isinstance(mark, Box):
        places = [(mark.x, mark.y), (mark.x + mark.width, mark.y + mark.height)]
    for x, y in places:
        assert -1 <= x <= width + 1
        assert -1 <= y <= height + 1


def share(compared: Compared, name: str) -> tuple[float, float]:
    place = compared.names.index(name)
    return compared.before[place], compared.after[place]


def test_the_pictures_show_what_happened() -> None:
    incident, exhibit = exhibited(backdoor)
    assert incident.verdict is Verdict.BACKDOOR
    triggered = exhibit.features[0]
    assert triggered.title == "feature size, source src-3"
    before, after = share(triggered, "above")
    assert (before, after > 0.2) == (0.0, True)


def test_the_labeler_who_lies_is_the_one_that_is_shown() -> None:
    _, exhibit = exhibited(bad_labeler)
    assert exhibit.confused is not None
    assert exhibit.confused.title == "What each true class is taken for, labeler lab-2"
    ham, spam = map(exhibit.confused.classes.index, ("ham", "spam"))
    assert exhibit.confused.before[ham][spam] < 0.1
    assert exhibit.confused.after[ham][spam] > 0.4


def test_a_model_that_predicts_numbers_has_no_confusion() -> None:
    world = World(seed=2, predictions=3000, onset=2000, cause=unit_fault, regression=True)
    pipeline = make_pipeline(until=Until(events=2800))
    pipeline.process(records(world.events()))
    exhibit = gather(pipeline.watches["mail"])
    assert exhibit is not None
    assert exhibit.confused is None


def test_there_is_nothing_to_show_while_learning() -> None:
    pipeline = make_pipeline(until=Until(events=10_000))
    pipeline.process(records(World(seed=2, predictions=100).events()))
    assert gather(pipeline.watches["mail"]) is None


def test_a_flood_of_sources_and_classes_stays_small() -> None:
    world = World(seed=3, predictions=2500, onset=1800, cause=flood)
    pipeline = make_pipeline(until=Until(events=2000), budget=500.0)
    (incident, exhibit), *_ = [
        (step.incident, found)
        for step in pipeline.process(records(world.events()))
        if (found := gather(pipeline.watches["mail"])) is not None
    ]
    assert isinstance(incident, Incident)
    assert exhibit.sources is not None
    assert len(exhibit.sources.names) <= SOURCES
    assert exhibit.confused is None or len(exhibit.confused.classes) <= CLASSES
    assert len(msgspec.msgpack.encode(exhibit)) < 40_000


def flood(row: dict[str, object], rng: np.random.Generator) -> None:
    """Names without number, all of them long."""
    row["source"] = f"{rng.integers(10**9)}" + "x" * 200
    row["prediction"] = f"class-{rng.integers(10**6)}" + "<b>" * 30


def test_what_happened_lately_is_bounded_and_fades() -> None:
    _, exhibit = exhibited(label_flip)
    assert isinstance(exhibit, Exhibit)
    lately = Lately(2)
    for number in range(POINTS * 3):
        lately._since = STRIDE
        lately.point(float(number), lambda: {"features": 1.0})
    assert len(lately.curves["features"]) == POINTS
    assert lately.curves["features"][-1] == (POINTS * 3 - 1.0, 1.0)
    lately.point(0.0, lambda: {"features": 9.0})
    assert lately.curves["features"][-1][1] == 1.0  # too soon
    lately.point(0.0, lambda: {"features": 9.0}, now=True)
    assert lately.curves["features"][-1][1] == 9.0
    lately.confusion[:] = WINDOW
    lately._fade(lately.confusion)
    assert lately.confusion.sum() == 2 * WINDOW
