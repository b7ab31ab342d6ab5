"""Periodic jobs: told of each run, whether it ended well or not."""

import threading

from monitor.service.jobs import Job, schedule


def test_every_run_is_told_with_its_name_and_how_it_ended() -> None:
    told: set[tuple[str, bool]] = set()
    both = threading.Event()

    def ended(name: str, well: bool) -> None:
        told.add((name, well))
        if len(told) == 2:
            both.set()

    def fail() -> None:
        raise ValueError("the disk is full")

    scheduler = schedule([Job("good", 0.05, lambda: None), Job("bad", 0.05, fail)], ended)
    scheduler.start()
    try:
        assert both.wait(30)
    finally:
        scheduler.shutdown()
    assert told == {("good", True), ("bad", False)}
