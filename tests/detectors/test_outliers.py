"""Outliers: shares that mean what they say, and events that are strange in one value or in none of them alone."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.cells import ABOVE, BELOW, RESERVED, NumericCells, numeric_cells
from detectors.outliers import LINKED, Outliers, Reach, Scorer, learn, lone_reach

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Draw = Callable[[np.random.Generator, int], Floats]


class Learnt(NamedTuple):
    cells: list[NumericCells]
    outliers: Outliers
    scorer: Scorer

    def coded(self, values: Floats) -> Codes:
        return np.column_stack([cell.encode(column) for cell, column in zip(self.cells, values.T, strict=True)])

    def scores(self, values: Floats) -> Floats:
        return self.scorer.scores(self.coded(values), Reach(self.cells).of(values))

    def shares(self, values: Floats) -> Floats:
        return self.scorer.shares(self.scores(values))


def learnt(values: Floats) -> Learnt:
    """What is learnt from a reference in which each value is a double: no two are the same but by construction."""
    cells = [numeric_cells(column) for column in values.T]
    codes = np.column_stack([cell.encode(column) for cell, column in zip(cells, values.T, strict=True)])
    left_out, outside = codes.copy(), np.zeros(len(values))
    for place, (cell, column) in enumerate(zip(cells, values.T, strict=True)):
        ordered = np.unique(column)
        for extreme, side in ((-1, ABOVE), (0, BELOW)):
            alone = np.flatnonzero(column == ordered[extreme])
            if alone.size == 1 and ordered.size > 1:
                left_out[alone, place] = cell.size - RESERVED + side
                outside[alone] += lone_reach(cell, side, ordered[-2 if extreme else 1])
    counts = [cell.counts for cell in cells]
    found = learn(cells, counts, codes, left_out, outside)
    return Learnt(cells, found, Scorer(found, cells, counts))


def together(random: np.random.Generator, rows: int) -> Floats:
    common = random.standard_normal((rows, 1))
    return 0.9 * common + 0.3 * random.standard_normal((rows, 6))


def heavy(random: np.random.Generator, rows: int) -> Floats:
    return random.standard_t(2, (rows, 6))


def switches(random: np.random.Generator, rows: int) -> Floats:
    return (random.random((rows, 12)) < 0.04).astype(np.float64)


def counted(random: np.random.Generator, rows: int) -> Floats:
    return random.poisson(2.0, (rows, 6)).astype(np.float64)


@pytest.mark.parametrize("draw", [together, heavy, switches, counted])
def test_of_clean_events_no_more_have_a_share_than_it_says(draw: Draw) -> None:
    random = np.random.default_rng(7)
    found = []
    for _ in range(8):
        reference = learnt(draw(random, 2_000))
        found.append(reference.shares(draw(random, 3_000)))
    shares = np.concatenate(found)
    for share in (0.001, 0.01, 0.05):
        assert (shares <= share).mean() <= 1.35 * share


def test_a_usual_combination_of_usual_values_is_not_strange_and_an_unusual_one_is() -> None:
    reference = learnt(together(np.random.default_rng(1), 3_000))
    usual, unusual = np.full((1, 6), 1.5), np.array([[1.5, -1.5, 1.5, 1.5, 1.5, 1.5]])
    assert reference.shares(usual) > 0.05
    assert reference.shares(unusual) <= 1 / 3_000


@pytest.mark.parametrize("draw", [together, heavy])
def test_one_value_far_outside_is_strange_among_any_others(draw: Draw) -> None:
    random = np.random.default_rng(2)
    reference, events = learnt(draw(random, 3_000)), draw(random, 200)
    events[:, 2] = 1e6
    assert reference.shares(events).max() <= 1 / 3_000


FAR = learnt(together(np.random.default_rng(3), 500))


@given(st.floats(0, 1e300), st.floats(0, 1e300), st.booleans())
def test_the_farther_outside_the_stranger(one: float, other: float, below: bool) -> None:
    events = np.zeros((2, 6))
    events[:, 4] = np.array([min(one, other), max(one, other)]) + FAR.cells[4].uppers[-1] - FAR.cells[4].lowest
    near, far = FAR.scores(-events if below else events)
    assert near <= far


@given(st.lists(st.integers(1, 60), max_size=6), st.integers(0, 1000))
def test_scores_do_not_depend_on_how_a_batch_was_cut(cuts: list[int], seed: int) -> None:
    events = together(np.random.default_rng(seed), 60)
    parts = [part for part in np.split(events, sorted(cuts)) if len(part)]
    assert np.concatenate([FAR.scores(part) for part in parts]).tolist() == FAR.scores(events).tolist()


@given(st.lists(st.floats(0, 50), min_size=2, max_size=20))
def test_a_share_is_in_its_bounds_and_falls_with_the_score(scores: list[float]) -> None:
    shares = FAR.scorer.shares(np.sort(scores))
    assert (np.diff(shares) <= 0).all()
    assert shares.min() >= 1 / 501
    assert shares.max() <= 1


def test_an_event_as_strange_as_one_of_the_reference_is_no_stranger_than_it() -> None:
    strangest = FAR.outliers.tail[0]
    assert FAR.scorer.shares(np.array([strangest - 1e-6, strangest, strangest + 1e-6])).tolist() == [
        2 / 501,
        2 / 501,
        1 / 501,
    ]


def test_what_is_missing_is_as_rare_as_it_was_and_not_outside() -> None:
    values = heavy(np.random.default_rng(4), 2_000)
    values[::3, 0] = np.nan
    reference = learnt(values)
    often, never = np.zeros((2, 1, 6))
    often[0, 0], never[0, 1] = np.nan, np.nan
    assert Reach(reference.cells).of(np.concatenate([often, never])).tolist() == [0.0, 0.0]
    assert reference.shares(often) > 0.1
    assert reference.scores(never) > reference.scores(often)


def test_how_far_depends_on_how_the_reference_falls_off() -> None:
    random = np.random.default_rng(5)
    light, broad = numeric_cells(random.standard_normal(2_000)), numeric_cells(random.standard_t(1, 2_000))
    ends = [3 * light.uppers[-1], 3 * broad.uppers[-1]]
    of_light, of_broad = (
        Reach([cell]).of(np.array([[end]]))[0] for cell, end in zip((light, broad), ends, strict=True)
    )
    assert of_light > 4 * of_broad > 0
    assert of_broad == pytest.approx(np.log(3), rel=0.35)  # a Cauchy's tail falls off with the distance itself


def test_a_value_that_alone_is_far_out_would_be_far_outside_of_the_others() -> None:
    cells = numeric_cells(np.array([*np.linspace(-2.0, 2.0, 101), 1_000.0]))
    assert lone_reach(cells, ABOVE, 2.0) == pytest.approx(np.log(500) * Reach([cells])._rise[0], rel=0.02)
    flat = numeric_cells(np.array([*np.zeros(100), 9.0]))
    assert lone_reach(flat, ABOVE, 0.0) == pytest.approx(np.log(10))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30, unique=True))
def test_whatever_doubles_the_reference_has_what_is_learnt_is_finite(values: list[float]) -> None:
    reference = learnt(np.array(values)[:, np.newaxis])
    assert np.isfinite([*reference.outliers.tail, *reference.outliers.units, *reference.outliers.links]).all()
    far = reference.scores(np.array([[1.7e308], [-1.7e308], [0.0]]))
    assert (far >= 0).all()


@pytest.mark.parametrize("rows", [1, 2, 60])
def test_a_reference_that_says_little_is_learnt_from(rows: int) -> None:
    values = np.zeros((rows, 3))
    values[:, 1] = np.nan
    values[:, 2] = np.arange(rows)
    reference = learnt(values)
    shares = reference.shares(np.array([[0.0, np.nan, 0.0], [7.0, 1.0, 1e9]]))
    assert ((shares > 0) & (shares <= 1)).all()
    assert shares[1] == pytest.approx(1 / (rows + 1))


def test_of_many_features_those_that_go_together_are_known() -> None:
    random = np.random.default_rng(6)
    values = random.standard_normal((400, LINKED + 40))
    values[:, 90:] = values[:, :1] + 0.1 * random.standard_normal((400, values.shape[1] - 90))
    reference = learnt(values)
    assert len(reference.outliers.linked) == LINKED
    assert set(range(90, values.shape[1])) < set(reference.outliers.linked)
