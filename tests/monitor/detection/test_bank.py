"""The bank: one budget for all, however events are cut into batches, in bounded memory."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import edetector
from detectors.bets import Caution
from detectors.compiled import compiled
from monitor.detection.bank import Bank, Moment
from monitor.detection.baseline import Baseline
from monitor.detection.columns import FeatureColumns, LabelColumns
from monitor.detection.learning import build
from monitor.detection.slots import NAMED, SHARED
from monitor.intake.events import Prediction
from monitor.intake.join import Joined
from tests.kit.served import World, bad_labeler, label_flip, unit_fault, worse_everywhere

FEATURES = ("features", "features/source")
AGREEMENT = ("agreement", "answers/source")
LABELS = ("confusion", "confusion/source", "confusion/labeler")


def parts(world: World) -> tuple[list[Prediction], list[Joined]]:
    names = ("event_id", "ts", "model", "version", "features", "prediction", "source")
    rows = list(world.rows())
    return (
        [Prediction(**{name: row[name] for name in names}) for row in rows],
        [
            Joined(
                "mail", "1", row["source"], row["prediction"], row["ts"], row["truth"], row["labeler"], row["ts"] + 1
            )
            for row in rows
        ],
    )


def learnt(**more: Any) -> Baseline:
    return build("mail", *parts(World(seed=1, predictions=800, **more)))


BASELINES = {"classes": learnt(), "numbers": learnt(regression=True)}


def encoded(bank: Bank, world: World) -> tuple[FeatureColumns, LabelColumns]:
    """A world with each label right behind its prediction."""
    predictions, joins = parts(world)
    return (
        bank.columns.features([(2 * n, event.epoch, event) for n, event in enumerate(predictions)]),
        bank.columns.labels([(2 * n + 1, join) for n, join in enumerate(joins)]),
    )


def cut(columns: tuple[FeatureColumns, LabelColumns], low: int, high: int) -> tuple[FeatureColumns, LabelColumns]:
    """The part of both whose index is from `low` to before `high`."""
    features, labels = columns
    some, others = (slice(*np.searchsorted(part.index, [low, high])) for part in columns)
    return (
        FeatureColumns(
            *(getattr(features, name)[some] for name in ("index", "ts", "codes", "numbers", "sources")),
            features.invalid,
        ),
        LabelColumns(
            *(
                getattr(labels, name)[others]
                for name in ("index", "ts", "predicted_at", "labels", "outcomes", "certainty")
            ),
            labels.sources[others],
            labels.labelers[others],
        ),
    )


def watched(bank: Bank, features: FeatureColumns, labels: LabelColumns) -> Iterator[tuple[Moment, str]]:
    """Each moment, with what alarmed then."""
    for moment in bank.update(features, labels):
        yield moment, repr(bank.alarming())


@pytest.fixture(autouse=True, scope="module")
def _short_episodes() -> Iterator[None]:
    """With the small budgets of these tests alarms would hardly end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edetector, "QUIET", 0.1)
        yield


@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)
def test_on_each_clock_all_weights_together_are_one_budget(baseline: Baseline) -> None:
    bank = Bank(baseline, 1000.0, Caution())
    pairs = ("pairs",) if baseline.pairs else ()
    predictions = (*FEATURES, "sources", *pairs, *(() if baseline.regression else AGREEMENT))
    for clock in (predictions, LABELS):
        assert sum(bank.families[name].weights.sum() for name in clock) == pytest.approx(1.0)
    assert set(bank.families) == {*predictions, *LABELS}
    assert all((family.weights > 0).all() for family in bank.families.values())
    assert all(family.threshold == 1000.0 for family in bank.families.values())


@pytest.mark.parametrize("cause", [unit_fault, bad_labeler, label_flip])
@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)
@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(0, 800), max_size=6))
def test_how_events_are_cut_does_not_matter(baseline: Baseline, cause: Any, cuts: list[int]) -> None:
    world = World(seed=5, predictions=400, onset=150, end=250, cause=cause, regression=baseline.regression)
    whole, parted = Bank(baseline, 200.0, Caution()), Bank(baseline, 200.0, Caution())
    # Slots are given in the order of events, so both banks are shown the same columns.
    columns = encoded(whole, world)
    encoded(parted, world)
    seen = list(watched(whole, *columns))
    edges = [0, *sorted(cuts), 10_000]
    assert [found for ends in pairwise(edges) for found in watched(parted, *cut(columns, *ends))] == seen
    assert parted.dump() == whole.dump()
    if cause is unit_fault:
        assert seen


@pytest.mark.parametrize("cause", [unit_fault, bad_labeler, label_flip])
@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)
def test_the_compiled_engine_finds_the_same(baseline: Baseline, cause: Any) -> None:
    world = World(seed=5, predictions=400, onset=150, end=250, cause=cause, regression=baseline.regression)
    plain, fast = Bank(baseline, 200.0, Caution()), Bank(baseline, 200.0, Caution(), compiled())
    columns = encoded(plain, world)
    encoded(fast, world)
    assert list(watched(fast, *columns)) == list(watched(plain, *columns))
    assert fast.dump() == plain.dump()


def test_moments_are_in_order_and_each_is_an_event() -> None:
    bank = Bank(BASELINES["classes"], 200.0, Caution())
    columns = encoded(bank, World(seed=6, predictions=400, onset=100, end=200, cause=unit_fault))
    places = {int(i): float(t) for part in columns for i, t in zip(part.index, part.ts, strict=True)}
    moments = list(bank.update(*columns))
    assert [moment.index for moment in moments] == sorted({moment.index for moment in moments})
    assert all(places[moment.index] == moment.ts for moment in moments)
    assert len(moments) > 3


@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)
def test_a_restored_bank_is_the_bank(baseline: Baseline) -> None:
    world = World(seed=7, predictions=400, onset=100, cause=unit_fault, regression=baseline.regression)
    bank, other = Bank(baseline, 200.0, Caution()), Bank(baseline, 200.0, Caution())
    list(bank.update(*encoded(bank, world)))
    assert bank.alarming()
    assert other.restore(bank.dump())
    assert other.dump() == bank.dump()
    assert repr(other.alarming()) == repr(bank.alarming())
    assert other.highest() == bank.highest()
    assert other.streams() == bank.streams()


def test_the_state_of_another_baseline_is_refused_and_changes_nothing() -> None:
    bank, other = (
        Bank(BASELINES["classes"], 200.0, Caution()),
        Bank(learnt(labelled=0.5, accuracy=0.9), 200.0, Caution()),
    )
    list(bank.update(*encoded(bank, World(seed=8, predictions=50))))
    before = other.dump()
    assert not other.restore(bank.dump())
    assert other.dump() == before


def test_ten_thousand_sources_and_labelers_are_bounded() -> None:
    def invented(row: dict[str, Any], rng: np.random.Generator) -> None:
        row["source"], row["labeler"] = f"s{rng.integers(10**6)}", f"l{rng.integers(10**6)}"

    bank = Bank(BASELINES["classes"], 1e6, Caution())
    sizes = []
    for seed in (1, 2):
        world = World(seed=seed, predictions=10_000, onset=0, cause=invented)
        list(bank.update(*encoded(bank, world)))
        sizes.append(len(bank.dump()))
    slots = NAMED + SHARED
    assert len(bank.families["features/source"].statistic) <= slots
    assert len(bank.families["confusion/labeler"].statistic) <= slots * len(bank.baseline.classes)
    assert len(bank.columns.sources.names) == len(bank.columns.labelers.names) == NAMED
    assert sizes[1] < 1.2 * sizes[0]
    assert {place.family for place, _ in bank.alarming()} == {"sources"}


def test_highest_is_what_alarms_at_the_budget() -> None:
    bank = Bank(BASELINES["classes"], 500.0, Caution())
    assert bank.highest() == dict.fromkeys((*FEATURES, "sources", "pairs", *AGREEMENT, *LABELS), 0.0)
    columns = encoded(bank, World(seed=9, predictions=300, onset=100, cause=worse_everywhere))
    moment = next(bank.update(*columns))
    (place, excursion), *_ = bank.alarming()
    assert excursion.alarmed_index == moment.index
    assert bank.highest()[place.family] >= 500.0


def test_while_all_is_well_alarms_are_rarer_than_the_budget_says() -> None:
    """Over both clocks: at most one alarm in so many events; at 3,000 that is 7.6 of 12 runs of 2 x 1,500."""
    alarms = 0
    for seed in range(12):
        bank = Bank(build("mail", *parts(World(seed=100 + seed, predictions=1500))), 3000.0, Caution())
        alarms += any(
            bool(moment.changed) for moment in bank.update(*encoded(bank, World(seed=200 + seed, predictions=1500)))
        )
    assert alarms <= 4
