"""The drill: a fault that is found, and one that cannot be."""

from collections.abc import Iterator

import pytest

from detectors.bets import Caution
from monitor.detection.baseline import Baseline
from monitor.detection.companions import Companions
from monitor.detection.drill import AGAIN, KINDS, LIMIT, STRANGE, Drilled, Drills, drill, kinds
from monitor.detection.learning import build
from monitor.detection.lessons import Until
from monitor.detection.watch import Watch
from monitor.intake.events import Prediction
from tests.kit.served import World, make_pipeline, records


@pytest.fixture(params=[False, True], ids=["classes", "numbers"])
def baseline(request: pytest.FixtureRequest) -> Baseline:
    pipeline = make_pipeline()
    pipeline.process(records(World(regression=request.param).events()))
    bank = pipeline.watches["mail"].bank
    assert bank is not None
    return bank.baseline


def deaf() -> Baseline:
    """Of a model to which everything of the drill is normal."""
    return build(
        "deaf", [Prediction(str(number), 1e9 + number, "deaf", "", {}, STRANGE) for number in range(2_000)], []
    )


def watch(baseline: Baseline, budget: float = 1e5) -> Watch:
    return Watch(
        baseline.model,
        budget=budget,
        baseline=baseline,
        until=Until(),
        caution=Caution(),
        companions=Companions(()),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_is_found_within_a_few_events(baseline: Baseline, kind: str) -> None:
    found = drill(baseline, 1e6, kind)
    assert found is not None
    assert found < 100 < LIMIT


def test_a_fault_that_looks_normal_is_not_found() -> None:
    assert [drill(deaf(), 1e5, kind) for kind in ("inputs", "answers")] == [None, None]


def test_another_finding_does_not_stand_for_the_one_that_is_deaf(
    baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "labels", "features")
    assert drill(baseline, 1e6, "labels") is None
    assert drill(baseline, 1e6, "inputs") is not None


def test_labels_that_never_were_are_not_drilled(baseline: Baseline) -> None:
    assert kinds(baseline) == list(KINDS)
    assert kinds(deaf()) == ["inputs", "answers"]


def test_each_baseline_has_its_turn_and_then_rests() -> None:
    now = 1000.0
    told: list[Drilled] = []
    pipeline = make_pipeline()
    pipeline.process(records(World().events()))
    watched = [pipeline.watches["mail"], watch(deaf())]

    def everything() -> Iterator[Watch]:
        yield from watched

    drills = Drills(everything, told.append, lambda: now, lambda: 7.0)
    for _ in range(4):
        drills.run_once()
    mail, deaf_one = [("mail", kind) for kind in KINDS], [("deaf", "inputs"), ("deaf", "answers")]
    assert [(each.model, each.kind) for each in told] == [*mail, *deaf_one]
    assert all(each.events is not None and each.events < LIMIT for each in told[:3])
    assert [each.events for each in told[3:]] == [None, None]
    assert {each.at for each in told} == {7.0}
    assert drills.last() == sorted(told, key=lambda each: (each.model, each.kind))
    now += AGAIN
    drills.run_once()
    assert [(each.model, each.kind) for each in told[5:]] == mail
    now += 1
    watched[:] = []
    drills.run_once()
    assert len(told) == 8
    assert len(drills.last()) == 5
