"""Bets: fair or worse while all is well, whatever the reference looked like, and worth something when it is not."""

import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, poisson

from detectors.bets import (
    BODY_BETS,
    DECIDED,
    FEATURE_WEIGHTS,
    LARGEST,
    RUN,
    SMALLEST,
    Caution,
    Reference,
    among,
    dispersion,
    excuses,
    feature_bets,
    natural_spread,
    rise,
    rise_bound,
    upper_share,
)
from detectors.cells import ABOVE, MISSING, RESERVED, Cells, category_cells, numeric_cells
from detectors.outcomes import RISES, outcome_bets, outcome_hits

relaxed = settings(deadline=None, max_examples=60)

pieces = st.one_of(
    st.lists(st.integers(-3, 3).map(float), max_size=80),
    st.lists(st.floats(allow_infinity=False), max_size=60),
    st.tuples(st.floats(-9, 9), st.integers(1, 200)).map(lambda pair: [pair[0]] * pair[1]),
    st.integers(0, 200).map(lambda count: [float("nan")] * count),
    st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).standard_cauchy(150).tolist()),
)
numbers = st.lists(pieces, min_size=1, max_size=3).map(lambda parts: [*chain(*parts)]).filter(len)
words = st.lists(
    st.tuples(st.none() | st.sampled_from("abcdefghijklmnop"), st.integers(1, 90)), min_size=1, max_size=20
).map(lambda pairs: [word for word, count in pairs for _ in range(count)])


@st.composite
def learnt(draw: st.DrawFn) -> tuple[Cells, Reference]:
    """Cells of any reference, with what its groups and its order may add."""
    if draw(st.booleans()):
        values = np.array(draw(numbers))
        cells: Cells = numeric_cells(values)
        codes = cells.encode(values)
    else:
        texts = draw(words)
        cells = category_cells(texts)
        table = cells.table()
        codes = np.array([table[text] for text in texts])
    owners = np.random.default_rng(draw(st.integers(0, 99))).integers(0, draw(st.integers(1, 4)), codes.size)
    if draw(st.booleans()):
        owners = np.sort(owners)  # groups as different as the order of the values makes them
    groups = {
        str(owner): tuple(np.bincount(codes[owners == owner], minlength=cells.size).tolist())
        for owner in np.unique(owners).tolist()
    }
    counts = tuple(np.bincount(codes, minlength=cells.size).tolist())
    return cells, Reference(counts, {"source": groups}, draw(st.sampled_from([1.0, 1.3, 7.0, 60.0])))


def shares_of(reference: Reference) -> np.ndarray:
    return np.array(reference.counts) / sum(reference.counts)


def normal_reference(count: int = 2000, seed: int = 1) -> tuple[Cells, Reference]:
    cells = numeric_cells(np.random.default_rng(seed).normal(size=count))
    return cells, Reference(cells.counts, {})


@relaxed
@given(learnt())
def test_a_feature_bet_is_never_better_than_fair_while_all_is_well(case: tuple[Cells, Reference]) -> None:
    cells, reference = case
    table = feature_bets(cells, reference, Caution())
    assert table.shape == (cells.size, FEATURE_WEIGHTS.size)
    assert (shares_of(reference) @ table <= 1.0 + 1e-9).all()


@relaxed
@given(learnt())
def test_a_feature_bet_fades_while_all_is_well_and_never_ends_the_statistic(case: tuple[Cells, Reference]) -> None:
    """The statistic grows by 1 an event, so a bet that stood still would reach any budget with nothing to show."""
    cells, reference = case
    table = feature_bets(cells, reference, Caution())
    assert (table >= SMALLEST).all()
    assert (table <= LARGEST).all()
    assert (shares_of(reference) @ np.log(table) < -1e-5).all()


@relaxed
@given(st.lists(st.integers(0, 3000), min_size=2, max_size=12), st.data())
def test_an_outcome_bet_is_never_better_than_fair_while_all_is_well(counts: list[int], data: st.DataObject) -> None:
    expected = data.draw(st.integers(0, len(counts) - 1))
    table = outcome_bets(Reference(tuple(counts), {}), expected, Caution())
    assert table.shape == (len(counts), len(outcome_hits(len(counts), expected)) * len(RISES))
    assert (table >= SMALLEST).all()
    assert (table <= LARGEST).all()
    if sum(counts):
        shares = np.array(counts) / sum(counts)
        assert (shares @ table <= 1.0 + 1e-9).all()
        assert (shares @ np.log(table) < 0.0).all()


def test_all_sets_of_wrong_outcomes_are_bet_on() -> None:
    assert outcome_hits(2, 0) == [(1,)]
    assert outcome_hits(3, 1) == [(0, 2)]
    assert outcome_hits(4, 1) == [(0,), (2,), (0, 2, 3)]
    assert [len(outcome_hits(6, expected)) for expected in range(6)] == [5] * 6


@relaxed
@given(st.integers(0, 500), st.integers(1, 2000), st.sampled_from([1e-3, 0.02, 0.2]))
def test_an_upper_share_is_the_exact_poisson_bound(count: int, total: int, tail: float) -> None:
    bound = float(upper_share(count, total, Caution(tail=tail)))
    assert min(count / total, 1.0) <= bound <= 1.0
    if bound < 1.0:
        assert poisson.cdf(count, bound * total) == pytest.approx(tail, rel=1e-6)


@relaxed
@given(st.integers(0, 500), st.integers(1, 2000), st.sampled_from([0.05, 0.15, 0.4]))
def test_what_a_rise_is_held_against_is_between_the_estimate_and_the_upper_bound(
    count: int, total: int, step: float
) -> None:
    bound = rise_bound(count, total, step, Caution())
    assert min(count / total, 1.0) <= bound <= float(upper_share(count, total, Caution())) + 1e-12


def test_a_large_rise_is_held_against_less_than_a_small_one() -> None:
    bounds = [rise_bound(20, 500, step, Caution()) for step in (0.05, 0.15, 0.4, 0.7)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] < bounds[0]


def test_over_what_is_not_known_of_a_share_the_evidence_does_not_grow() -> None:
    """Over the posterior of the share, the mean of the evidence after the events that decide it is at most 1."""
    count, total, step = 20, 500, 0.4
    bound = rise_bound(count, total, step, Caution())
    shares = np.random.default_rng(1).gamma(count + 0.5, 1.0 / total, 100_000)
    raised = bound + step * (1.0 - bound)
    factor = 1.0 + (shares - bound) * (raised - bound) / (bound * (1.0 - bound))
    events = DECIDED / (raised * np.log(raised / bound) + (1 - raised) * np.log((1 - raised) / (1 - bound)))
    assert (factor**events).mean() <= 1.05


def test_a_rise_is_a_likelihood_ratio() -> None:
    hit = np.array([True, False, False])
    bound = rise_bound(10, 100, 0.2, Caution())
    factors = rise(10, 100, 0.2, hit, Caution())
    share = bound + 0.2 * (1.0 - bound)
    assert factors.tolist() == pytest.approx([share / bound, *[(1.0 - share) / (1.0 - bound)] * 2])


def test_where_a_share_cannot_rise_every_event_loses() -> None:
    assert (rise(10, 10, 0.3, np.array([True, False]), Caution()) < 1.0).all()


@pytest.mark.parametrize(("shift", "scale"), [(0.3, 1.0), (-0.3, 1.0), (1.0, 1.0), (-1.0, 1.0), (0.0, 0.7), (0.0, 1.4)])
def test_some_bet_gains_when_location_or_scale_has_changed(shift: float, scale: float) -> None:
    cells, reference = normal_reference()
    table = feature_bets(cells, reference, Caution())
    drawn = cells.encode(norm.ppf(np.linspace(0.0005, 0.9995, 1000)) * scale + shift)
    growth = np.log(table)[drawn].mean(axis=0)
    assert growth[:BODY_BETS].max() > 0.02


@pytest.mark.parametrize(("reserved", "first"), [(ABOVE, BODY_BETS), (MISSING, BODY_BETS + 2)])
def test_values_that_the_reference_hardly_had_are_bet_on_by_themselves(reserved: int, first: int) -> None:
    cells, reference = normal_reference()
    table = feature_bets(cells, reference, Caution())
    shares = 0.8 * shares_of(reference)
    shares[cells.size - RESERVED + reserved] = 0.2
    growth = shares @ np.log(table)
    assert growth[first : first + 2].max() > 0.2
    other = (first - BODY_BETS + 2) % 4 + BODY_BETS
    assert growth[other : other + 2].max() < 0.0


def test_every_category_has_a_bet_on_its_rise() -> None:
    cells = category_cells([f"c{number:02d}" for number in range(40) for _ in range(50)])
    table = feature_bets(cells, Reference(cells.counts, {}), Caution())
    shares = np.array(cells.counts) / sum(cells.counts)
    for code in range(40):
        risen = 0.5 * shares
        risen[code] += 0.5
        assert (risen @ np.log(table)).max() > 0.05


def test_where_many_bounds_must_hold_each_is_more_careful() -> None:
    given = [among(streams, Caution()).z for streams in (0, 1, 10, 100, 1000)]
    assert given[:3] == [1.0, 1.0, 1.0]
    assert 1.0 < given[3] < given[4] < 2.0
    assert among(1000, Caution(z=3.0)).z == 3.0


def test_a_larger_reference_allows_bolder_bets() -> None:
    factors = [feature_bets(*normal_reference(count), Caution()) for count in (100, 1000, 10_000)]
    best = [float(np.log(table[-RESERVED + MISSING]).max()) for table in factors]
    assert best == sorted(best)
    assert best[0] < best[-1]


def test_natural_spread_is_what_groups_differ_by_beyond_chance() -> None:
    rng = np.random.default_rng(3)
    table = np.array([[0.0], [1.0]])
    alike = {str(group): tuple(rng.multinomial(400, [0.7, 0.3]).tolist()) for group in range(20)}
    chances = np.clip(rng.normal(0.3, 0.1, 200), 0, 1)
    unlike = {str(group): tuple(rng.multinomial(400, [1 - p, p]).tolist()) for group, p in enumerate(chances)}
    assert natural_spread(table, alike).tolist() == [0.0]
    assert natural_spread(table, unlike)[0] == pytest.approx(0.1, rel=0.2)
    assert natural_spread(table, {"only": (70, 30)}).tolist() == [0.0]
    assert natural_spread(table, {}).tolist() == [0.0]


def test_luck_in_a_short_reference_allows_hardly_anything() -> None:
    """What luck allows hides changes of its size: a reference of four days, by day quarters, of a steady stream."""
    rng = np.random.default_rng(5)
    table = np.array([[0.0], [1.0]])
    steady = rng.multinomial(500, [0.7, 0.3], size=(400, 4)).tolist()
    allowed = np.array([natural_spread(table, {str(n): group for n, group in enumerate(four)})[0] for four in steady])
    error = math.sqrt(0.7 * 0.3 / 500)
    assert (allowed > 0).mean() < 0.03
    assert (allowed > error).mean() < 0.01


def test_what_varies_between_blocks_of_the_reference_makes_bets_more_careful() -> None:
    cells, calm = normal_reference()
    day, night = (
        tuple(np.bincount(cells.encode(v), minlength=cells.size)) for v in (np.full(99, 1.0), np.full(99, -1.0))
    )
    restless = Reference(calm.counts, {"hour": {"00": tuple(map(int, night)), "12": tuple(map(int, day))}})
    bold, careful = (feature_bets(cells, reference, Caution()) for reference in (calm, restless))
    assert (shares_of(calm) @ careful < shares_of(calm) @ bold)[:6].all()


def test_dispersion_is_1_without_autocorrelation_and_the_length_of_repeats_with_it() -> None:
    rng = np.random.default_rng(4)
    independent = [dispersion(rng.normal(size=4000)) for _ in range(50)]
    assert np.mean(independent) < 1.1
    repeated = np.repeat(rng.normal(size=400), RUN)
    assert dispersion(repeated) == pytest.approx(RUN, rel=0.3)
    assert dispersion(np.full(4000, 2.0)) == 1.0
    assert dispersion(rng.normal(size=100)) == 1.0


def test_dispersion_tempers_bets() -> None:
    cells, reference = normal_reference()
    plain, tempered = (
        feature_bets(cells, Reference(reference.counts, {}, factor), Caution())[: cells.size - RESERVED, :BODY_BETS]
        for factor in (1.0, 10.0)
    )
    assert np.abs(np.log(tempered)).max() < np.abs(np.log(plain)).max() / 2


def test_nobody_is_excused_where_groups_are_alike() -> None:
    cells, reference = normal_reference()
    table = feature_bets(cells, reference, Caution())
    rng = np.random.default_rng(5)
    groups = {str(group): tuple(rng.multinomial(200, shares_of(reference)).tolist()) for group in range(5)}
    assert excuses(table, groups) == {}


def test_a_group_that_was_always_different_is_held_to_its_own_mean() -> None:
    cells, reference = normal_reference()
    table = feature_bets(cells, reference, Caution())
    odd = np.bincount(cells.encode(np.random.default_rng(6).normal(1.0, 1.0, 300)), minlength=cells.size)
    usual = tuple(np.random.default_rng(7).multinomial(300, shares_of(reference)).tolist())
    found = excuses(table, {"odd": tuple(odd.tolist()), "usual": usual, "also": usual})
    assert (found["odd"] >= 1.0).all()
    assert found["odd"].max() > 1.5
    assert (odd / odd.sum() @ (table / found["odd"]) <= 1.0 + 1e-9).all()
    assert found["usual"].max() < found["odd"].max()
