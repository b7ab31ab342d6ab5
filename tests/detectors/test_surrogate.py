"""The surrogate: it says what the model would have said, and says nothing where it does not know."""

import numpy as np
import numpy.typing as npt
import pytest

from detectors.cells import category_cells, numeric_cells
from detectors.surrogate import LEVELS, SURE, UNSURE, learn, score_tables

Floats = npt.NDArray[np.float64]


def served(events: int, seed: int, noise: float = 0.05) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Normal scores of four streams, and the answers of a model of three classes that looks at two of them."""
    random = np.random.default_rng(seed)
    scores = random.standard_normal((events, 4))
    answers = (scores[:, 0] > 0).astype(np.intp) + ((scores[:, 0] > 0) & (scores[:, 1] > 0))
    wrong = random.random(events) < noise
    return scores, np.where(wrong, random.integers(0, 3, events), answers).astype(np.intp)


def test_it_answers_new_events_as_the_model_does_where_it_is_sure() -> None:
    surrogate, _ = learn(*served(2_000, seed=1), 3)
    scores, answers = served(2_000, seed=2, noise=0.0)
    kinds = surrogate.kinds(scores)
    sure = kinds != UNSURE
    assert sure.mean() > 0.5
    assert (kinds[sure] // LEVELS == answers[sure]).mean() > 0.97


def test_what_it_says_of_the_reference_is_what_it_would_say_of_new_events() -> None:
    """Cross-fitted: in-sample the surrogate would agree more than it does later, and every model would seem changed."""
    scores, answers = served(600, seed=3)
    surrogate, kinds = learn(scores, answers, 3)
    later, said = served(20_000, seed=4)
    found = surrogate.kinds(later)

    def disagreement(kinds: npt.NDArray[np.intp], answers: npt.NDArray[np.intp]) -> float:
        return float((kinds // LEVELS != answers)[kinds != UNSURE].mean())

    assert disagreement(kinds, answers) == pytest.approx(disagreement(found, said), abs=0.025)


def test_of_answers_that_do_not_follow_from_the_inputs_it_says_nothing() -> None:
    random = np.random.default_rng(5)
    surrogate, kinds = learn(random.standard_normal((1_000, 3)), random.integers(0, 2, 1_000), 2)
    assert (kinds == UNSURE).mean() > 0.99
    assert (surrogate.kinds(random.standard_normal((1_000, 3))) == UNSURE).mean() > 0.99


def test_kinds_tell_the_class_and_how_sure_it_is() -> None:
    surrogate, kinds = learn(*served(2_000, seed=6), 3)
    assert set(np.unique(kinds)) <= {UNSURE, *range(3 * LEVELS)}
    assert len(SURE) == LEVELS
    assert len(surrogate.weights) == 5 * 3


def test_learning_twice_gives_the_same() -> None:
    one, two = learn(*served(400, seed=7), 3), learn(*served(400, seed=7), 3)
    assert one[0] == two[0]
    assert (one[1] == two[1]).all()


def test_a_class_that_never_came_is_not_expected() -> None:
    scores, answers = served(500, seed=8)
    surrogate, _ = learn(scores, answers, 5)
    assert set(np.unique(surrogate.kinds(scores)) // LEVELS) <= {-1, 0, 1, 2}


def test_scores_of_cells_are_ordered_and_bounded() -> None:
    numbers = numeric_cells(np.random.default_rng(9).lognormal(size=500))
    words = category_cells(["a"] * 60 + ["b"] * 30 + [None] * 10)
    tables = score_tables([numbers, words, numeric_cells(np.full(50, np.nan))])
    inside = tables[0, : numbers.size - 4]
    assert (np.diff(inside) > 0).all()
    above, below, missing, absent = tables[0, numbers.size - 4 : numbers.size]
    assert (above, below, missing, absent) == (inside[-1], inside[0], 0.0, 0.0)
    assert not tables[2].any()
