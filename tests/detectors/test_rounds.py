"""Rounds: each event once, those of a key in their order, and no key twice in a round."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.rounds import Rounds


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80))
@settings(deadline=None)
def test_each_event_has_its_place(keys: list[int]) -> None:
    rounds = Rounds.of(np.array(keys))
    assert sorted(rounds.rows.tolist()) == list(range(len(keys)))
    assert sorted(rounds.keys) == sorted(set(keys))
    for rank, key in enumerate(rounds.keys):
        assert rounds.rows[rounds.places(rank)].tolist() == [row for row, other in enumerate(keys) if other == key]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80))
@settings(deadline=None)
def test_a_round_takes_the_same_keys_as_the_one_before_or_fewer(keys: list[int]) -> None:
    rounds = Rounds.of(np.array(keys))
    path = np.array(keys, dtype=np.float64)[rounds.rows]
    taken: list[list[int]] = [row.tolist() for slab in rounds.slabs(path) for row in slab]
    assert sum(map(len, taken)) == len(keys)
    assert all(row == rounds.keys[: len(row)] for row in taken)
    assert len(taken) == max(rounds.counts)


def test_the_last_event_of_each_key() -> None:
    keys = [3, 1, 3, 2, 3, 1]
    rounds = Rounds.of(np.array(keys))
    path = np.arange(6.0)[rounds.rows]
    assert {key: float(value) for key, value in rounds.last(path).items()} == {3: 4.0, 1: 5.0, 2: 3.0}
