"""Who is named: one against the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detection.contrast import KEPT, Recent, alone
from monitor.detection.findings import ALONE

counts = st.integers(0, 60)


def weigh(mine: tuple[int, int], others: tuple[int, int], usual: float = 0.01) -> float:
    """Weigh (wrong, all) of one against (wrong, all) of the others."""
    wrong = np.repeat([True, False, True, False], [mine[0], mine[1] - mine[0], others[0], others[1] - others[0]])
    own = np.arange(wrong.size) < mine[1]
    return alone(own, wrong, usual)


@pytest.mark.parametrize(
    ("mine", "others"),
    [((5, 20), (0, 100)), ((5, 20), (1, 100)), ((40, 50), (20, 300))],
)
def test_one_who_is_otherwise_than_the_others_is_named(mine: tuple[int, int], others: tuple[int, int]) -> None:
    assert weigh(mine, others) >= ALONE


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        ((2, 4), (0, 10)),  # too few of the others have been seen
        ((3, 10), (6, 50)),
        ((30, 100), (120, 600)),  # more than the others, but they are wrong as well
        ((0, 50), (20, 100)),
        ((9, 20), (0, 0)),
    ],
)
def test_one_among_many_is_not(mine: tuple[int, int], others: tuple[int, int]) -> None:
    assert weigh(mine, others) < ALONE


@given(st.tuples(counts, counts), st.tuples(counts, counts), st.floats(1e-6, 0.9))
def test_whoever_has_no_larger_share_than_the_others_is_not_named(
    mine: tuple[int, int], others: tuple[int, int], usual: float
) -> None:
    mine, others = (min(mine), max(mine)), (min(others), max(others))
    weight = weigh(mine, others, usual)
    assert np.isfinite(weight)
    if mine[0] * others[1] <= others[0] * mine[1]:
        assert weight <= 1e-9


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 2**31))
def test_the_last_events_are_remembered_however_they_came(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    total = sum(sizes)
    index, ts = np.arange(total) * 3, np.sort(rng.uniform(0, 1000, total))
    columns = rng.integers(0, 80, (3, total))
    whole, cut = Recent(3), Recent(3)
    whole.offer(index, ts, *columns)
    whole.settle(3 * total)
    at = 0
    for size in sizes:
        part = slice(at, at + size)
        cut.offer(index[part], ts[part], *columns[:, part])
        for stop in sorted(rng.integers(3 * at, 3 * (at + size), 2).tolist()):
            cut.settle(stop)
        cut.settle(3 * (at + size))
        at += size
    assert cut.dump() == whole.dump()
    restored = Recent(3)
    restored.restore(whole.dump())
    last = slice(-KEPT, None)
    middle = float(np.median(ts))
    assert (restored.since(middle) == columns[:, last].T[ts[last] >= middle]).all()
