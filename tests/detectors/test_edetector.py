"""The engine against a plain event-by-event reference of it; batches must not matter, and nothing may overflow."""

import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.bets import LARGEST, SMALLEST
from detectors.compiled import NotInstalledError, compiled
from detectors.edetector import LOOKS, OVERSHOOT, QUIET, Batch, Change, Excursion, Family, Turn
from detectors.walk import Walk, arrays

relaxed = settings(deadline=None, max_examples=80)


@dataclass
class Plain:
    """One number after the other: statistic, excursions and changes as the definitions say."""

    family: Family
    tables: np.ndarray
    divisors: dict[int, np.ndarray]
    statistic: dict[int, list[list[float]]] = field(default_factory=dict)
    excursions: dict[tuple[int, int], Excursion] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def feed(self, index: int, ts: float, key: int, codes: list[int]) -> None:
        family = self.family
        kinds = len(self.tables) // family.streams
        held = self.statistic.setdefault(key, [[1.0] * family.bets for _ in range(family.streams)])
        for stream, code in enumerate(codes):
            level = 0.0
            for bet in range(family.bets):
                factor = float(self.tables[key % kinds * family.streams + stream, code, bet])
                if key in self.divisors:
                    factor *= 1.0 / float(self.divisors[key][stream, bet])
                weight = float(family.weights[stream, bet])
                ceiling = 1.0 + OVERSHOOT * family.threshold / weight
                held[stream][bet] = min(held[stream][bet] * factor + 1.0, ceiling)
                level += (held[stream][bet] - 1.0) * weight
            self.follow(index, ts, key, stream, code, level)

    def follow(self, index: int, ts: float, key: int, stream: int, code: int, level: float) -> None:
        place = key, stream
        if level < QUIET * self.family.threshold:
            ended = self.excursions.pop(place, None)
            if ended is not None and ended.alarmed_index is not None:
                self.changes.append(Change(index, key, stream, Turn.OVER))
            return
        current = self.excursions.setdefault(place, Excursion(index, ts, [0] * self.family.codes))
        current.counts[code] += 1
        if current.alarmed_index is None:
            current.alarmed_ts = max(current.alarmed_ts, ts)
        if current.alarmed_index is None and level >= self.family.threshold:
            current.alarmed_index, current.alarmed_events = index, sum(current.counts)
            self.changes.append(Change(index, key, stream, Turn.ALARM))
        if sum(current.counts) in (current.alarmed_events << look for look in range(1, LOOKS + 1)):
            self.changes.append(Change(index, key, stream, Turn.GROWN))


@dataclass
class Case:
    """A family, the events for it, and where they are cut."""

    tables: np.ndarray
    weights: np.ndarray
    threshold: float
    divisors: dict[int, np.ndarray]
    batch: Batch
    cuts: list[int]

    def family(self, walk: Walk) -> Family:
        return Family(self.tables.copy(), self.weights, self.threshold, divisors=self.divisors, walk=walk)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    streams, kinds, codes, bets = (draw(st.integers(1, most)) for most in (3, 3, 5, 3))
    count = draw(st.integers(1, 120))
    wild = draw(st.sampled_from([0.1, 1.0, 4.0]))
    tables = np.clip(np.exp(wild * rng.normal(size=(kinds * streams, codes, bets))), SMALLEST, LARGEST)
    weights = rng.dirichlet(np.ones(streams * bets)).reshape(streams, bets)
    keys = rng.integers(0, draw(st.integers(1, 4)), count)
    # Phases in which one code rules make alarms begin and end.
    favourite = np.repeat(rng.integers(0, codes, (count // 10 + 1, streams)), 10, axis=0)[:count]
    drawn = np.where(rng.random((count, streams)) < 0.7, favourite, rng.integers(0, codes, (count, streams)))
    gaps = rng.integers(1, 4, count)
    # Labels come later than what they belong to, and not in its order.
    times = 1e9 + np.cumsum(gaps) * 0.5 + rng.integers(-10, 11, count)
    batch = Batch(np.cumsum(gaps), times, keys, drawn)
    divisors = {key: 1.0 + rng.random((streams, bets)) for key in range(4) if rng.random() < 0.4}
    cuts = sorted(draw(st.sets(st.integers(0, count), max_size=8)))
    return Case(tables, weights, draw(st.sampled_from([2.0, 50.0, 1000.0])), divisors, batch, cuts)


@pytest.fixture(scope="module", params=["arrays", "compiled"])
def walk(request: pytest.FixtureRequest) -> Walk:
    return arrays if request.param == "arrays" else compiled().walk


def run_in_parts(case: Case, walk: Walk) -> tuple[Family, list[Change]]:
    family, changes = case.family(walk), []
    for low, high in zip([0, *case.cuts], [*case.cuts, case.batch.index.size], strict=True):
        step = family.run(case.batch.rows(slice(low, high)))
        family.accept(step)
        changes += step.changes
    return family, changes


def state(family: Family) -> object:
    return {key: held.tobytes() for key, held in family.statistic.items()}, family.excursions


@relaxed
@given(case=cases())
def test_the_engine_does_what_the_definition_says(walk: Walk, case: Case) -> None:
    family, changes = run_in_parts(case, walk)
    plain = Plain(family, case.tables, case.divisors)
    for row in range(case.batch.index.size):
        plain.feed(
            int(case.batch.index[row]),
            float(case.batch.ts[row]),
            int(case.batch.keys[row]),
            case.batch.codes[row].tolist(),
        )
    assert {key: held.tolist() for key, held in family.statistic.items()} == plain.statistic
    assert family.excursions == plain.excursions
    assert changes == sorted(plain.changes)


@relaxed
@given(case=cases())
def test_how_events_are_cut_into_batches_does_not_matter(walk: Walk, case: Case) -> None:
    parts, changes = run_in_parts(case, walk)
    whole = case.family(walk)
    step = whole.run(case.batch)
    whole.accept(step)
    assert state(parts) == state(whole)
    assert changes == step.changes


@relaxed
@given(case=cases())
def test_one_walk_goes_on_where_another_has_stopped(walk: Walk, case: Case) -> None:
    whole, parts = case.family(arrays), case.family(arrays)
    others = case.family(walk)
    for turn, (low, high) in enumerate(zip([0, *case.cuts], [*case.cuts, case.batch.index.size], strict=True)):
        batch = case.batch.rows(slice(low, high))
        whole.accept(whole.run(batch))
        walking, waiting = (others, parts) if turn % 2 else (parts, others)
        walking.statistic, walking.excursions = waiting.statistic, waiting.excursions
        walking.accept(walking.run(batch))
        waiting.statistic, waiting.excursions = walking.statistic, walking.excursions
    assert state(whole) == state(parts)


def test_without_a_compiler_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(NotInstalledError, match=r"tocsin\[fast\]"):
        compiled.__wrapped__()


@relaxed
@given(case=cases())
def test_nothing_happens_until_a_step_is_accepted(walk: Walk, case: Case) -> None:
    family, _ = run_in_parts(case, walk)
    before = repr(state(family))
    later = Batch(case.batch.index + 10_000, case.batch.ts, case.batch.keys, case.batch.codes)
    first = family.run(later)
    assert repr(state(family)) == before
    assert repr(first) == repr(family.run(later))


@relaxed
@given(cases(), st.integers(0, 400))
def test_a_batch_is_cut_behind_an_index(case: Case, index: int) -> None:
    early, late = case.batch.until(index), case.batch.after(index)
    assert (early.index <= index).all()
    assert (late.index > index).all()
    assert np.concatenate([early.codes, late.codes]).tolist() == case.batch.codes.tolist()


def extreme(streams: int, weights: np.ndarray, threshold: float = 1e6, walk: Walk = arrays) -> Family:
    """Code 0 wins as much as a bet can, code 1 loses as much, code 2 is a little worse than fair."""
    factors = np.array([LARGEST, SMALLEST, 0.9])
    tables = np.tile(factors[np.newaxis, :, np.newaxis], (streams, 1, weights.shape[1]))
    return Family(tables, weights, threshold, walk=walk)


def feed(family: Family, codes: np.ndarray, start: int = 0, size: int = 500) -> list[Change]:
    changes = []
    index = np.arange(start, start + len(codes))
    everything = Batch(index, index.astype(float), np.zeros(len(codes), dtype=np.intp), codes)
    for low in range(0, len(codes), size):
        step = family.run(everything.rows(slice(low, low + size)))
        family.accept(step)
        changes += step.changes
    return changes


@pytest.mark.parametrize("weights", [np.full((2, 2), 0.25), np.array([[0.5, 1e-9], [0.5, 0.0]])])
def test_a_hundred_thousand_extreme_events_are_held_at_the_ceiling(walk: Walk, weights: np.ndarray) -> None:
    family = extreme(2, weights, walk=walk)
    codes = np.zeros((100_000, 2), dtype=np.intp)
    codes[:, 1] = np.arange(100_000) % 2
    changes = feed(family, codes)
    assert changes == [Change(changes[0].index, 0, 0, Turn.ALARM), *changes[1:]]
    assert np.isfinite(family.statistic[0]).all()
    bets = int((weights[0] > 0).sum())
    assert family.level(0, 0) == pytest.approx(bets * OVERSHOOT * family.threshold, rel=1e-6)
    assert family.statistic[0].min() >= 1.0


def test_an_alarm_is_over_soon_after_everything_is_well_again() -> None:
    family = extreme(1, np.ones((1, 1)))
    alarm = feed(family, np.zeros((1000, 1), dtype=np.intp))
    grown = [(2 * 2**look - 1, Turn.GROWN) for look in range(1, LOOKS + 1)]
    assert [(change.index, change.turn) for change in alarm] == [(1, Turn.ALARM), *grown]
    over = feed(family, np.full((300, 1), 2), start=1000)
    # From the ceiling down to QUIET of the threshold at 10 % an event.
    needed = np.log(OVERSHOOT / QUIET) / -np.log(0.9)
    assert [change.turn for change in over] == [Turn.OVER]
    assert over[0].index == pytest.approx(1000 + needed, abs=2)
    assert not family.excursions


def test_keys_do_not_touch_each_other() -> None:
    family = extreme(1, np.ones((1, 1)))
    codes = np.array([[0], [2]] * 50)
    step = family.run(Batch(np.arange(100), np.zeros(100), np.array([7, 3] * 50), codes))
    family.accept(step)
    assert {change.key for change in step.changes} == {7}
    assert family.level(3, 0) < 10.0
    assert family.level(99, 0) == 0.0


def test_each_kind_of_key_has_its_own_tables() -> None:
    tables = np.array([[[2.0]], [[0.5]]])
    family = Family(tables, np.ones((1, 1)), 1e6)
    family.accept(family.run(Batch(np.arange(4), np.zeros(4), np.arange(4), np.zeros((4, 1), dtype=np.intp))))
    assert [family.level(key, 0) for key in range(4)] == [2.0, 0.5, 2.0, 0.5]


def test_the_leading_bet_is_the_one_with_most_evidence() -> None:
    family = Family(np.array([[[2.0, 3.0, 0.1]]]), np.array([[0.5, 0.1, 0.4]]), 1e6)
    batch = Batch(np.arange(3), np.zeros(3), np.zeros(3, dtype=np.intp), np.zeros((3, 1), dtype=np.intp))
    family.accept(family.run(batch))
    assert family.leading_bet(0, 0) == 0
    for start in (3, 6, 9):
        family.accept(family.run(Batch(batch.index + start, batch.ts, batch.keys, batch.codes)))
    assert family.leading_bet(0, 0) == 1


def test_an_empty_batch_is_nothing() -> None:
    family = extreme(1, np.ones((1, 1)))
    nothing = Batch(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.intp), np.zeros((0, 1), np.intp))
    step = family.run(nothing)
    assert (step.statistic, step.excursions, step.changes) == ({}, {}, [])
