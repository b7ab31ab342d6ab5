"""Alphabets: whatever the reference was, every value has exactly one code, and the counts say how often."""

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.cells import (
    ABOVE,
    BELOW,
    MAX_CATEGORIES,
    MIN_COUNT,
    MISSING,
    RESERVED,
    SESSION,
    category_cells,
    normal_scores,
    numeric_cells,
)

relaxed = settings(deadline=None)

# Ties, constants, heavy tails, the ends of the doubles, and nothing at all.
pieces = st.one_of(
    st.lists(st.integers(-3, 3).map(float), max_size=60),
    st.lists(st.floats(), max_size=60),
    st.tuples(st.floats(allow_nan=False), st.integers(1, 60)).map(lambda pair: [pair[0]] * pair[1]),
    st.integers(0, 40).map(lambda count: [float("nan")] * count),
    st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).standard_cauchy(80).tolist()),
)
references = st.lists(pieces, min_size=1, max_size=4).map(lambda parts: np.array([*chain(*parts)], dtype=np.float64))
words = st.none() | st.sampled_from(["a", "b", "c", "", "ä"]) | st.text(max_size=3)


@relaxed
@given(references)
def test_the_counts_of_numeric_cells_are_those_of_their_own_codes(values: np.ndarray) -> None:
    cells = numeric_cells(values)
    assert np.bincount(cells.encode(values), minlength=cells.size).tolist() == list(cells.counts)
    assert len(cells.counts) == cells.size


@relaxed
@given(references)
def test_every_reference_number_has_a_regular_cell_and_every_cell_enough_of_them(values: np.ndarray) -> None:
    cells = numeric_cells(values)
    regular = cells.size - RESERVED
    codes = cells.encode(values)
    finite = np.isfinite(values)
    assert (codes[finite] < regular).all()
    assert (codes[~finite] >= regular).all()
    assert regular <= 1 or min(cells.counts[:regular]) >= MIN_COUNT
    assert all(low < high for low, high in pairwise(cells.uppers))


@relaxed
@given(references, st.lists(st.floats(), max_size=30))
def test_codes_of_any_number_are_in_order_and_in_the_alphabet(values: np.ndarray, asked: list[float]) -> None:
    cells = numeric_cells(values)
    regular = cells.size - RESERVED
    numbers = np.sort(np.array(asked, dtype=np.float64))
    codes = cells.encode(numbers)
    assert codes.shape == numbers.shape
    ranks = {regular + BELOW: -1, regular + ABOVE: regular, regular + MISSING: regular + 1}
    places = [ranks.get(code, code) for code in codes.tolist()]
    assert places == sorted(places)
    for number, code in zip(numbers.tolist(), codes.tolist(), strict=True):
        if np.isnan(number):
            assert code == regular + MISSING
        elif regular and number < cells.lowest:
            assert code == regular + BELOW
        elif regular and number > cells.uppers[-1]:
            assert code == regular + ABOVE
        elif regular:
            assert code == sum(upper < number for upper in cells.uppers)


def test_a_kept_encoder_does_what_encode_does() -> None:
    cells = numeric_cells(np.arange(200.0))
    values = np.array([-1.0, 0.0, 55.5, 199.0, 199.5, np.nan, np.inf, -np.inf])
    assert cells.encoder()(values).tolist() == cells.encode(values).tolist()


def test_ties_are_one_cell_and_a_constant_is_one_cell() -> None:
    values = np.repeat([0.0, 1.0, 5.0], [1000, 300, 20])
    cells = numeric_cells(values)
    assert cells.uppers == (0.0, 1.0, 5.0)
    assert cells.counts == (1000, 300, 20, 0, 0, 0, 0)
    assert numeric_cells(np.full(500, 7.0)).uppers == (7.0,)


def test_a_large_tie_is_not_swallowed_by_its_small_neighbours() -> None:
    values = np.concatenate([np.linspace(0, 1, 40), np.full(900, 2.0), np.linspace(3, 4, 40)])
    cells = numeric_cells(values)
    assert 2.0 in cells.uppers
    assert cells.counts[cells.uppers.index(2.0)] in range(900, 900 + MIN_COUNT)


@pytest.mark.parametrize("draw", ["normal", "lognormal", "cauchy", "spiked"])
def test_the_alphabet_stays_small(draw: str) -> None:
    rng = np.random.default_rng(5)
    values = {
        "normal": rng.normal(size=50_000),
        "lognormal": rng.lognormal(sigma=3, size=50_000),
        "cauchy": rng.standard_cauchy(50_000),
        # Wide cells alternate with large ties: as many cells as there can be.
        "spiked": np.concatenate([np.repeat(np.arange(100.0), 400), np.repeat(np.arange(99) + 0.5, 4)]),
    }[draw]
    assert 40 <= len(numeric_cells(values).uppers) <= 200


@relaxed
@given(st.lists(words, max_size=300))
def test_the_counts_of_categories_are_those_of_their_own_codes(values: list[str | None]) -> None:
    cells = category_cells(values)
    table = cells.table()
    codes = [table[value] for value in values]
    assert np.bincount(codes, minlength=cells.size).tolist() == list(cells.counts)
    assert table[None] == cells.size - RESERVED + MISSING
    assert cells.unseen == cells.size - RESERVED + ABOVE
    assert cells.unseen not in table.values()


@relaxed
@given(st.lists(words, max_size=300))
def test_frequent_categories_come_first_and_rare_ones_share_the_last_cell(values: list[str | None]) -> None:
    cells = category_cells(values)
    own = cells.counts[: len(cells.values)]
    assert list(own) == sorted(own, reverse=True)
    assert all(count >= MIN_COUNT for count in own)
    assert cells.size - RESERVED == len(cells.values) + bool(cells.rare) <= MAX_CATEGORIES
    assert not cells.rare & set(cells.values)
    assert category_cells(reversed(values)) == cells


def test_more_categories_than_cells_do_not_grow_the_alphabet() -> None:
    values = [f"c{number}" for number in range(500) for _ in range(10)]
    cells = category_cells(values)
    assert cells.size - RESERVED == MAX_CATEGORIES
    assert sum(cells.counts) == len(values)


@relaxed
@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=60))
def test_normal_scores_are_standardised_and_in_order(counts: list[int]) -> None:
    scores = normal_scores(counts)
    held = np.array(counts)
    assert all(low < high for low, high in pairwise(scores.tolist()))
    assert held @ scores / held.sum() == pytest.approx(0.0, abs=1e-9)
    assert held @ scores**2 / held.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("counts", [[], [5], [0, 0]])
def test_where_there_is_no_location_there_are_no_scores(counts: list[int]) -> None:
    assert normal_scores(counts).tolist() == [0.0] * len(counts)


def test_what_came_once_or_in_one_session_says_how_many_are_still_to_come() -> None:
    usual = ["a", "b"] * 2 * SESSION
    assert category_cells(usual).once == 0
    assert category_cells([*usual, "c", None]).once == 1
    assert category_cells([*usual, *["c"] * 5, *usual, "d"]).once == 6
    assert category_cells(["c", *usual, "c"]).once == 0
