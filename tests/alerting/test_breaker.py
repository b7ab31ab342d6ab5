"""The circuit breaker."""

from hypothesis import given
from hypothesis import strategies as st

from alerting.breaker import BURST, Breaker


def test_it_rests_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker(threshold=3, pause=30.0)
    for _ in range(2):
        breaker.failed(100.0)
        assert breaker.allows(100.0)
    breaker.failed(100.0)
    assert not breaker.allows(129.9)
    assert breaker.allows(130.0)


def test_one_failure_after_a_rest_begins_the_next_and_one_success_ends_it() -> None:
    breaker = Breaker(threshold=3, pause=30.0)
    for _ in range(3):
        breaker.failed(100.0)
    breaker.failed(130.0)
    assert not breaker.allows(159.9)
    breaker.succeeded()
    breaker.failed(160.0)
    assert breaker.allows(160.0)


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker(threshold=2, pause=30.0)
    for _ in range(10):
        breaker.failed(100.0)
        breaker.succeeded()
    assert breaker.allows(100.0)


def test_a_receiver_that_asks_to_be_left_alone_is_left_alone_at_once() -> None:
    breaker = Breaker(threshold=5, pause=30.0)
    breaker.failed(100.0, retry_after=7.0)
    assert not breaker.allows(106.9)
    assert breaker.allows(107.0)


@given(st.lists(st.none() | st.floats(0.0, 3600.0), max_size=20))
def test_a_rest_always_ends(failures: list[float | None]) -> None:
    breaker = Breaker(threshold=3, pause=30.0)
    for retry_after in failures:
        breaker.failed(100.0, retry_after=retry_after)
    assert breaker.allows(100.0 + 3600.0)


def test_a_burst_goes_at_once_and_then_the_spacing_holds() -> None:
    breaker = Breaker(threshold=5, pause=30.0, spacing=2.0)
    sent, now = [], 1000.0
    for _ in range(200):
        if breaker.allows(now):
            breaker.began(now)
            sent.append(now - 1000.0)
        else:
            now += 0.5
    assert sent[:BURST] == [0.0] * BURST
    assert sent[BURST:] == [2.0 * step for step in range(1, len(sent) - BURST + 1)]
    assert breaker.allows(now + 3600.0)


def test_a_clock_that_is_set_back_does_not_stop_the_receiver() -> None:
    breaker = Breaker(threshold=5, pause=30.0, spacing=1.0)
    for _ in range(BURST):
        breaker.began(1e9)
    assert not breaker.allows(1e9)
    breaker.began(1000.0)
    assert breaker.allows(1000.0 + 2 * BURST)


def test_without_a_spacing_there_is_no_pace() -> None:
    breaker = Breaker(threshold=5, pause=30.0)
    for _ in range(1000):
        assert breaker.allows(1000.0)
        breaker.began(1000.0)
