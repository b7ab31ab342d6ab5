"""Stalls: a partition with something to give that gives nothing is found; one that is idle, or moves, is left alone."""

import pytest

from monitor.intake.source import Partition, SourceError
from monitor.service.stall import StallWatch

ONE, OTHER = Partition("events", 0), Partition("events", 1)


class Timer:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_partition_that_stands_still_is_named() -> None:
    timer = Timer()
    watch = StallWatch(60.0, 120.0, timer)
    watch.look({ONE: 5, OTHER: 0}, {ONE: 10, OTHER: 3})
    timer.now = 60.0
    watch.look({ONE: 7, OTHER: 0}, {ONE: 10, OTHER: 3})
    timer.now = 61.0
    with pytest.raises(SourceError, match=r"events\[0\] has 7 records to give, and has given none for 61 s") as caught:
        watch.look({ONE: 7, OTHER: 0}, {ONE: 10, OTHER: 3})
    assert caught.value.passing


@pytest.mark.parametrize(
    "between", [({ONE: 5}, {ONE: 11}), ({ONE: 0}, {ONE: 10}), ({}, {ONE: 10})], ids=["moved", "idle", "unknown"]
)
def test_one_that_moved_or_had_nothing_or_could_not_be_asked_begins_anew(
    between: tuple[dict[Partition, int], dict[Partition, int]],
) -> None:
    timer = Timer()
    watch = StallWatch(60.0, 120.0, timer)
    watch.look({ONE: 5}, {ONE: 10})
    timer.now = 50.0
    watch.look(*between)
    timer.now = 100.0
    watch.look({ONE: 5}, between[1])
    timer.now = 115.0
    if between[0] == {}:
        watch.look({ONE: 5}, between[1])
    else:
        with pytest.raises(SourceError):
            watch.look({ONE: 5}, between[1])


def test_a_source_that_the_group_does_not_let_in_begins_anew() -> None:
    timer = Timer()
    watch = StallWatch(60.0, 120.0, timer)
    watch.wait(ready=False)
    timer.now = 100.0
    watch.wait(ready=True)
    watch.wait(ready=False)
    timer.now = 220.0
    watch.wait(ready=False)
    timer.now = 221.0
    with pytest.raises(SourceError, match="assigned nothing for 121 s"):
        watch.wait(ready=False)
