"""Pairs: only how two features go together counts, and a change of that is found."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.bets import FADE, Caution, Reference
from detectors.cells import RESERVED, numeric_cells
from detectors.pairs import FOLDED, LIMIT, OCTILES, PAIR_CODES, UNKNOWN, correlation, octiles, pair_bets

EVENTS = 3000
Floats = npt.NDArray[np.float64]


def pair(rho: float, seed: int, events: int = EVENTS) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    first, second = random.standard_normal((2, events))
    return first, rho * first + np.sqrt(1.0 - rho**2) * second


def codes(first: Floats, second: Floats) -> npt.NDArray[np.intp]:
    """Codes of a pair in the alphabets that it itself is the reference for."""
    places = []
    for values in (first, second):
        cells = numeric_cells(values)
        places.append(octiles(cells.counts)[cells.encode(values)])
    return np.asarray(FOLDED[places[0], places[1]])


def counted(found: npt.NDArray[np.intp]) -> tuple[int, ...]:
    return tuple(np.bincount(found, minlength=PAIR_CODES).tolist())


def test_places_and_signs_do_not_matter_and_nothing_else_is_folded() -> None:
    squares = FOLDED[:OCTILES, :OCTILES]
    assert (squares == squares.T).all()
    assert (squares == squares[::-1, ::-1]).all()
    assert len(np.unique(squares)) == PAIR_CODES - 1 == 20
    assert (FOLDED[UNKNOWN] == PAIR_CODES - 1).all()
    assert (FOLDED[:, UNKNOWN] == PAIR_CODES - 1).all()


def test_octiles_hold_an_eighth_each_and_reserved_codes_have_their_place() -> None:
    cells = numeric_cells(np.random.default_rng(1).standard_normal(8000))
    places = octiles(cells.counts)
    held = np.bincount(places[:-RESERVED], weights=np.array(cells.counts[:-RESERVED]))
    assert held == pytest.approx(1000.0, abs=200.0)  # a cell lies in one of them as a whole
    assert places[-RESERVED:].tolist() == [OCTILES - 1, 0, UNKNOWN, UNKNOWN]


@given(rho=st.floats(-0.95, 0.95), seed=st.integers(0, 2**32 - 1))
def test_a_correlation_is_measured_whatever_the_scales(rho: float, seed: int) -> None:
    first, second = pair(rho, seed)
    found = correlation(counted(codes(np.exp(first), second**3)))
    assert found == pytest.approx(rho, abs=0.1)
    assert correlation(counted(codes(first, -second))) == pytest.approx(-found, abs=0.05)


def test_nothing_to_go_by_is_no_correlation_and_a_copy_is_the_limit() -> None:
    assert correlation((0,) * PAIR_CODES) == 0.0
    assert correlation((0,) * (PAIR_CODES - 1) + (9,)) == 0.0
    values, _ = pair(0.0, 1)
    assert correlation(counted(codes(values, values))) == LIMIT


@given(rho=st.floats(-1.0, 1.0), seed=st.integers(0, 2**32 - 1))
def test_in_the_reference_no_bet_wins_on_average(rho: float, seed: int) -> None:
    reference = Reference(counted(codes(*pair(rho, seed))), {})
    table = pair_bets(reference, Caution())
    counts = np.array(reference.counts)
    assert (counts @ table / counts.sum() <= 1.0 + 1e-12).all()  # but for rounding
    assert (table > 0.0).all()
    assert (table[-1] == FADE).all()


@pytest.mark.parametrize(
    ("before", "after"), [(0.0, 0.8), (0.0, -0.8), (0.8, 0.0), (0.9, 0.3), (-0.6, 0.2), (0.0, 0.4)]
)
def test_a_change_of_correlation_is_won_on(before: float, after: float) -> None:
    first, second = pair(before, seed=1)
    table = pair_bets(Reference(counted(codes(first, second)), {}), Caution())
    grown = np.log(table)[codes(*pair(after, seed=2))].mean(axis=0)
    up = (0, 2) if after > before else (1, 3)
    assert int(grown.argmax()) in up
    assert grown.max() > (0.25 if abs(after - before) > 0.5 else 0.04)
    assert np.log(table)[codes(*pair(before, seed=3))].mean(axis=0).max() < 0.0
