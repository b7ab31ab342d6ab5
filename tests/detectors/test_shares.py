"""The evidence that one share is above another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from detectors.shares import risen

samples = st.integers(0, 400).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count)))


@given(now=samples, before=samples)
def test_it_is_evidence_only_of_a_rise_and_grows_with_the_sample(now: tuple[int, int], before: tuple[int, int]) -> None:
    found = risen(*now, *before)
    rose = now[0] * before[1] > before[0] * now[1]
    assert found >= 0.0
    assert rose or found == 0.0
    if found > 0.01:
        assert risen(now[0] * 2, now[1] * 2, before[0] * 2, before[1] * 2) > found


@pytest.mark.parametrize("table", [(30, 100, 5, 100), (7, 31, 20, 4000), (90, 100, 1, 3)])
def test_it_is_half_of_the_g_statistic(table: tuple[int, int, int, int]) -> None:
    hits, count, hits_before, count_before = table
    rows = [[hits, count - hits], [hits_before, count_before - hits_before]]
    expected = chi2_contingency(rows, correction=False, lambda_="log-likelihood").statistic / 2
    assert risen(*table) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [(2, 1, 0, 1), (-1, 1, 0, 1), (0, 1, 2, 1), (0, 1, -1, 1)])
def test_more_hits_than_events_are_refused(wrong: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        risen(*wrong)
