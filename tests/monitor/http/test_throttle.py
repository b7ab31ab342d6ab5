"""Limits of how often somebody may ask: counted by name, anew every minute, and bounded."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.http.throttle import MAX_NAMES, MINUTE, Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_within_the_limit_nobody_waits_and_beyond_it_until_the_minute_is_over() -> None:
    clock = Clock()
    throttle = Throttle(2, clock)
    assert [throttle.count("a"), throttle.count("a"), throttle.count("b")] == [None, None, None]
    clock.now = 45.0
    assert throttle.count("a") == MINUTE - 45.0
    assert throttle.count("b") is None
    clock.now = MINUTE
    assert throttle.count("a") is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 30.0)), max_size=60), st.integers(1, 5))
def test_in_no_minute_of_its_own_is_a_name_let_through_more_often(steps: list[tuple[str, float]], limit: int) -> None:
    clock = Clock()
    throttle = Throttle(limit, clock)
    began, passed = 0.0, dict.fromkeys("abc", 0)
    for name, later in steps:
        clock.now += later
        if clock.now >= began + MINUTE:
            began, passed = clock.now, dict.fromkeys("abc", 0)
        passed[name] += throttle.count(name) is None
        assert passed[name] <= limit


def test_invented_names_do_not_grow_it_and_share_one_count() -> None:
    throttle = Throttle(5, Clock())
    first = [throttle.count(f"name {number}") for number in range(MAX_NAMES)]
    assert first == [None] * MAX_NAMES
    rest = [throttle.count(f"other {number}") for number in range(MAX_NAMES)]
    assert (rest.count(None), len(throttle._counts)) == (5, MAX_NAMES + 1)
    assert throttle.count("name 7") is None
