"""The drill: a fault that is found, and one that cannot be."""

from collections.abc import Iterator

import pytest

from detectors.bets import Caution
from monitor.detection.baseline import Baseline
from monitor.detection.companions import Companions
from monitor.detection.drill import AGAIN, LIMIT, STRANGE, Drills, drill
from monitor.detection.learning import build
from monitor.detection.watch import Until, Watch
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


def test_the_fault_is_found_within_a_few_predictions(baseline: Baseline) -> None:
    found = drill(baseline, 1e6)
    assert found is not None
    assert found < 100 < LIMIT


def test_a_fault_that_looks_normal_is_not_found() -> None:
    assert drill(deaf(), 1e5) is None


def test_each_baseline_has_its_turn_and_then_rests() -> None:
    now = 1000.0
    told: list[tuple[str, float]] = []
    pipeline = make_pipeline()
    pipeline.process(records(World().events()))
    watched = [pipeline.watches["mail"], watch(deaf())]

    def everything() -> Iterator[Watch]:
        yield from watched

    drills = Drills(everything, lambda model, events: told.append((model, events)), lambda: now)
    for _ in range(4):
        drills.run_once()
    assert [model for model, _ in told] == ["mail", "deaf"]
    assert told[0][1] < LIMIT
    assert told[1][1] == float("inf")
    now += AGAIN
    drills.run_once()
    assert [model for model, _ in told] == ["mail", "deaf", "mail"]
    now += 1
    watched[:] = []
    drills.run_once()
    assert len(told) == 3
