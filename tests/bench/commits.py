"""What it costs to make a thousand models durable, as JSON: `python -m tests.bench.commits 1000 [postgresql://...]`.

The loop turns with commits when they are due by default. Measured is the share of its time that they take, over whole
rounds: a rest, and the commit after it. A run that ended within a rest would show too large a share.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from monitor.intake.source import Record
from monitor.service.config import StoreConfig
from monitor.store.tables import WHOLE
from tests.bench import traffic
from tests.bench.daemon import Daemon
from tests.kit.memory_source import MemorySource

POLLED = 1000
CHUNK = 60 * POLLED
ROUNDS = 3
EVERY = StoreConfig().commit_every


class Took(NamedTuple):
    """Seconds; those of a processor do not depend on what else the machine has to do."""

    wall: float
    processor: float

    def __add__(self, other: "Took") -> "Took":  # type: ignore[override]  # not as tuples are added
        return Took(self.wall + other.wall, self.processor + other.processor)

    def __sub__(self, other: "Took") -> "Took":
        return Took(self.wall - other.wall, self.processor - other.processor)


NOTHING = Took(0.0, 0.0)


def now() -> Took:
    return Took(time.perf_counter(), time.process_time())


class Endless(Sequence[Record]):
    """Events without end, made some at a time; `making` is what that has taken."""

    def __init__(self, models: int) -> None:
        self.making = NOTHING
        self._models = models
        self._first, self._chunk = 0, list[Record]()

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, place: slice) -> list[Record]:  # type: ignore[override]  # whoever reads takes slices
        if place.start >= self._first + len(self._chunk):
            began = now()
            self._first += len(self._chunk)
            events = traffic.events(CHUNK, models=self._models, seed=self._first)
            self._chunk = traffic.records(events, self._first)
            self.making += now() - began
        return self._chunk[place.start - self._first : place.stop - self._first]


def measure(models: int, location: str | Path, folder: Path) -> dict[str, float]:
    """Events a second with commits, and what they took; every model has events between two of them."""
    learnt = traffic.baseline()
    baselines = {of.model: of for of in (traffic.of_model(learnt, number) for number in range(models))}
    log = Endless(models)
    source = MemorySource({traffic.PARTITION: log}, most=POLLED)
    daemon = Daemon(source, baselines, folder, location)
    source.assign([traffic.PARTITION])
    daemon.loop.start()
    daemon.loop.turn()
    while len(daemon.loop.watches()) < models:  # each has been seen, and its bank made
        daemon.loop.turn()
    commits, turning, read = [_timed_commit(daemon)], NOTHING, daemon.read
    for _ in range(ROUNDS):
        pause, began = max(EVERY, daemon.loop.rest(commits[-1].wall)), turning.wall
        while turning.wall - began < pause:
            at = now() - log.making
            daemon.loop.turn()
            turning += now() - log.making - at
        at = now()
        daemon.loop.shards[WHOLE].catch_up()  # what a commit would have to work through first is no cost of it
        turning += now() - at
        commits.append(_timed_commit(daemon))
    daemon.store.close()
    spent = sum(commits[1:], NOTHING)
    whole = turning + spent
    return {
        "models": models,
        "events_per_second": round((daemon.read - read) / whole.wall),
        "events_per_processor_second": round((daemon.read - read) / whole.processor),
        "share_of_time": round(spent.wall / whole.wall, 4),
        "share_of_processor_time": round(spent.processor / whole.processor, 4),
        "rounds": ROUNDS,
        "mean_commit_seconds": round(spent.wall / ROUNDS, 4),
        "longest_commit_seconds": round(max(commits[1:]).wall, 4),
    }


def _timed_commit(daemon: Daemon) -> Took:
    began = now()
    daemon.loop.commit()
    return now() - began


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        place = sys.argv[2] if len(sys.argv) > 2 else Path(folder, "bench.db")
        sys.stdout.write(json.dumps(measure(int(sys.argv[1]), place, Path(folder))) + "\n")
