"""Questions: what is asked of events that have an outcome."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.bets import Caution, Reference
from detectors.outcomes import Churn, levelled_bets, outcome_bets, together
from monitor.detection.baseline import CERTAINTIES, certainty
from monitor.detection.learning import build
from monitor.detection.questions import questions
from monitor.intake.events import Prediction
from monitor.intake.join import Joined

LEVELS = st.lists(st.tuples(*[st.integers(0, 300)] * 3), min_size=1, max_size=3)


@given(LEVELS, st.integers(0, 2), st.floats(0.0, 0.05))
def test_the_mean_factor_is_at_most_1_at_each_level_and_so_over_all(
    counts: list[tuple[int, ...]], expected: int, churn: float
) -> None:
    references = [Reference(counts=level, groups={}) for level in counts]
    table = levelled_bets(references, expected, Caution(), [Churn(churn, churn)] * len(counts))
    whole = together(references)
    assert table.shape[0] == len(whole.counts)
    if sum(whole.counts):
        assert (np.array(whole.counts) @ table / sum(whole.counts) <= 1.0 + 1e-9).all()
    for number, reference in enumerate(references):
        if total := sum(reference.counts):
            level = table[3 * number : 3 * number + 3]
            assert (np.array(reference.counts) @ level / total <= 1.0 + 1e-9).all()


@given(st.floats(0.0, 0.05))
def test_what_may_change_makes_no_bet_on_more_of_it_better(churn: float) -> None:
    reference = Reference(counts=(500, 3, 2), groups={})
    strict, lenient = (outcome_bets(reference, 0, Caution(), Churn(share, share)) for share in (0.0, churn))
    assert (lenient[1:].max(axis=0) <= strict[1:].max(axis=0) * (1.0 + 1e-9)).all()


def test_references_of_levels_are_one_after_the_other_in_all_groups() -> None:
    first = Reference(counts=(5, 1), groups={"labeler": {"ada": (3, 1), "bob": (2, 0)}})
    second = Reference(counts=(7, 0), groups={"labeler": {"bob": (7, 0)}, "hour": {"06": (7, 0)}})
    both = together([first, second])
    assert both.counts == (5, 1, 7, 0)
    assert both.groups == {
        "hour": {"06": (0, 0, 7, 0)},
        "labeler": {"ada": (3, 1, 0, 0), "bob": (2, 0, 7, 0)},
    }


@pytest.mark.parametrize(
    ("confidence", "level"), [(None, 0), (0.0, 0), (0.79, 0), (0.8, 1), (0.96, 1), (0.97, 2), (1.0, 2)]
)
def test_a_model_that_does_not_say_how_sure_it_is_is_not(confidence: float | None, level: int) -> None:
    assert certainty(confidence) == level
    assert level < CERTAINTIES


def test_labels_are_counted_by_what_was_said_and_how_sure() -> None:
    predictions = [Prediction(str(n), 1e9 + n, "m", "1", {"x": float(n % 7)}, "ab"[n % 2]) for n in range(100)]
    joined = [
        Joined("m", "1", None, "a", 1e9 + n, label, "ada", 1e9 + n, confidence)
        for n, (label, confidence) in enumerate([("a", 0.99), ("b", 0.99), ("a", 0.5), ("a", None), ("b", 0.9)] * 10)
    ]
    asked = questions(build("m", predictions, joined))["confusion/labeler"]
    assert asked.kinds == asked.size == 3  # a, b and all others
    assert asked.references[0].counts == (20, 0, 0, 0, 10, 0, 10, 10, 0)
    assert asked.references[0].groups["labeler"]["ada"] == asked.references[0].counts
    assert asked.codes(0, [1]) == (1, 4, 7)
    assert asked.outcomes(0, 0) == (1, 2)
    assert asked.commonest(0, (1, 2), [0, 1, 0, 0, 2, 9, 0, 9, 0]) == 1
