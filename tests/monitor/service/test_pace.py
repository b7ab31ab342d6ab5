"""The pace of the loop: many busy models are worked through together."""

from collections.abc import Callable
from pathlib import Path

import pytest

from alerting.incident import Transition
from monitor.service.shard import PATIENCE
from tests.kit.house import House, write
from tests.kit.recording import START


def take_time(built: House, seconds: float) -> None:
    """Let working through what waits take so long, by the clock of the test."""
    report = built.pipeline.report

    def late() -> list[Transition]:
        built.now += seconds if built.pipeline.waiting else 0.0
        return report()

    built.pipeline.report = late  # type: ignore[method-assign]  # only the time is made up


@pytest.fixture
def busy(house: Callable[..., House], tmp_path: Path) -> House:
    """Fifty models that take turns; working through what waits takes a tenth of a second, whatever waits."""
    lines = [
        b'{"kind":"features","event_id":"f%d","ts":%d,"model":"m%d","features":{}}' % (number, START, number % 50)
        for number in range(1050)
    ]
    built = house(write(tmp_path / "many.jsonl", lines))
    built.loop.start()
    take_time(built, 0.1)
    built.loop.turn()  # the first events wait for nothing
    assert not built.pipeline.waiting
    return built


def test_a_busy_stream_of_many_models_is_worked_through_together(busy: House) -> None:
    for _ in range(3):
        busy.loop.turn()
        busy.now += 0.03
    assert busy.pipeline.waiting
    busy.now += 0.02
    busy.shard.keep_pace()  # as every turn does
    assert not busy.pipeline.waiting
    assert busy.shard.pipeline.read == 400


def test_what_waits_is_worked_through_before_a_commit_which_is_no_work_itself(busy: House) -> None:
    busy.loop.turn()
    assert busy.pipeline.waiting
    busy.loop.commit()
    assert not busy.pipeline.waiting
    busy.loop.commit()
    busy.loop.turn()
    assert busy.pipeline.waiting


def test_a_replica_that_is_very_slow_has_patience_for_a_second(busy: House) -> None:
    busy.loop.turn()
    take_time(busy, 9.0)
    busy.loop.commit()
    busy.loop.turn()
    busy.now += 0.9 * PATIENCE
    busy.loop.turn()
    assert busy.pipeline.waiting
    busy.now += 0.2 * PATIENCE
    busy.shard.keep_pace()
    assert not busy.pipeline.waiting


def test_when_a_poll_is_not_full_nothing_waits(busy: House) -> None:
    while not busy.source.finished:
        busy.loop.turn()
    assert not busy.pipeline.waiting
    assert busy.shard.pipeline.read == 1050
