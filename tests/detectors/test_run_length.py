"""The promise of the engine, measured: a budget of A events per false alarm is kept, and real changes are found fast.

Independent repeats, each with a reference of its own, are streams of one family, so that all of them run at once.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from detectors.bets import FEATURE_WEIGHTS, Caution, Reference, dispersion, feature_bets
from detectors.cells import RESERVED, normal_scores, numeric_cells
from detectors.edetector import Batch, Family, Turn

Draw = Callable[[np.random.Generator, int], np.ndarray]

BUDGET = 1000.0
REFERENCE = 2000
CHUNK = 200


def normal(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(size=count)


DRAWS: dict[str, Draw] = {
    "normal": normal,
    "ties": lambda rng, count: rng.poisson(2.0, size=count).astype(float),
    "heavy tails": lambda rng, count: rng.standard_cauchy(count),
    "mostly zero": lambda rng, count: rng.exponential(size=count) * (rng.random(count) < 0.2),
}


def learn(values: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """An encoder and the bets, learnt as a baseline learns them."""
    cells = numeric_cells(values)
    codes = cells.encode(values)
    scores = np.array([*normal_scores(cells.counts[:-RESERVED]), *[0.0] * RESERVED])
    return cells.encoder(), feature_bets(cells, Reference(cells.counts, {}, dispersion(scores[codes])), Caution())


def first_alarms(
    draw: Draw, repeats: int, features: int, events: int, *, seed: int, changed: Draw | None = None
) -> np.ndarray:
    """Events until the first alarm of each repeat, at most `events`; `changed` is how its first feature is drawn."""
    rng = np.random.default_rng(seed)
    learnt = [learn(draw(rng, REFERENCE)) for _ in range(repeats * features)]
    tables = np.ones((len(learnt), max(len(table) for _, table in learnt), FEATURE_WEIGHTS.size))
    for place, (_, table) in enumerate(learnt):
        tables[place, : len(table)] = table
    family = Family(tables, np.tile(FEATURE_WEIGHTS / features, (len(learnt), 1)), BUDGET)
    first = np.full(repeats, events)
    for start in range(0, events, CHUNK):
        columns = [
            encode((changed if changed and place % features == 0 else draw)(rng, CHUNK))
            for place, (encode, _) in enumerate(learnt)
        ]
        index = np.arange(start, start + CHUNK)
        step = family.run(Batch(index, np.zeros(CHUNK), np.zeros(CHUNK, dtype=np.intp), np.stack(columns, axis=1)))
        family.accept(step)
        for change in step.changes:
            if change.turn is Turn.ALARM:
                repeat = change.stream // features
                first[repeat] = min(first[repeat], change.index + 1)
        if (first <= start).all():
            break
    return first


# Runs are cut off, which can only make their mean smaller.
@pytest.mark.parametrize("name", DRAWS)
def test_one_feature_keeps_the_budget(name: str) -> None:
    assert first_alarms(DRAWS[name], 200, 1, 3000, seed=10).mean() >= BUDGET


@pytest.mark.parametrize("name", ["normal", "heavy tails"])
def test_twenty_features_keep_the_budget(name: str) -> None:
    assert first_alarms(DRAWS[name], 30, 20, 2000, seed=20).mean() >= BUDGET


@pytest.mark.slow
@pytest.mark.parametrize("features", [1, 20])
@pytest.mark.parametrize("name", DRAWS)
def test_the_budget_is_kept_over_many_runs(name: str, features: int) -> None:
    repeats = 1000 if features == 1 else 200
    lengths = first_alarms(DRAWS[name], repeats, features, 4000, seed=30)
    assert lengths.mean() >= BUDGET
    # A reference that happens to be unlucky must not cry wolf at once.
    assert (lengths < BUDGET / 20).mean() < 0.05


def shifted(rng: np.random.Generator, count: int, by: float) -> np.ndarray:
    return rng.normal(by, 1.0, size=count)


def every(period: float, repeats: int, rng: np.random.Generator) -> np.ndarray:
    return np.ceil(rng.random(repeats) * period)


def at_random(period: float, repeats: int, rng: np.random.Generator) -> np.ndarray:
    return rng.geometric(1.0 / period, repeats).astype(float)


def never(_period: float, repeats: int, _rng: np.random.Generator) -> np.ndarray:
    return np.full(repeats, np.inf)


@pytest.mark.parametrize(("by", "features", "within"), [(1.0, 1, 45), (-1.0, 1, 45), (0.5, 1, 130), (1.0, 20, 80)])
def test_a_shift_is_found_soon_and_not_by_chance(by: float, features: int, within: int) -> None:
    repeats = 200 if features == 1 else 20
    delays = first_alarms(normal, repeats, features, 200, seed=40, changed=partial(shifted, by=by))
    found = (delays <= within).mean()
    assert found >= 0.95
    # What knows nothing, at a run length that is shorter than ours, and so with more luck than it deserves:
    rng = np.random.default_rng(50)
    for ignorant in (every, at_random, never):
        assert (ignorant(BUDGET, 2000, rng) <= within).mean() < 0.2 < found


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_a_change_of_scale_is_found(ratio: float) -> None:
    delays = first_alarms(normal, 100, 1, 400, seed=60, changed=lambda rng, count: ratio * rng.normal(size=count))
    assert (delays <= 120).mean() >= 0.95


GOLDEN = {
    # (shift, scale, seed of the stream): events until the alarm, against the reference of seed 1; None is no alarm.
    (0.0, 1.0, 2): None,
    (0.0, 1.0, 3): None,
    (0.5, 1.0, 4): 64,
    (0.5, 1.0, 5): 75,
    (-0.5, 1.0, 6): 73,
    (1.0, 1.0, 7): 44,
    (1.0, 1.0, 8): 14,
    (-2.0, 1.0, 9): 7,
    (0.0, 1.6, 10): 56,
    (0.0, 0.5, 11): 45,
    (0.2, 1.2, 12): 60,
}


def alarm_of(shift: float, scale: float, seed: int) -> int | None:
    encode, table = learn(np.random.default_rng(1).normal(size=REFERENCE))
    family = Family(table[np.newaxis], FEATURE_WEIGHTS[np.newaxis], BUDGET)
    values = np.random.default_rng(seed).normal(shift, scale, 500)
    step = family.run(
        Batch(np.arange(1, 501), np.zeros(500), np.zeros(500, dtype=np.intp), encode(values)[:, np.newaxis])
    )
    alarms = [change.index for change in step.changes if change.turn is Turn.ALARM]
    return alarms[0] if alarms else None


def test_golden_detections() -> None:
    """A change of this table is a change of what users see: look at it, then copy it."""
    assert {case: alarm_of(*case) for case in GOLDEN} == GOLDEN
