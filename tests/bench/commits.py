"""What it costs to make a thousand models durable, as JSON: `python -m tests.bench.commits 1000 [postgresql://...]`.

The loop turns for a while with commits at the default interval; measured is the share of its time that they take.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from monitor.service.config import StoreConfig
from monitor.store.tables import WHOLE
from tests.bench import traffic
from tests.bench.daemon import Daemon
from tests.kit.memory_source import MemorySource

POLLED = 1000
EVENTS = 120_000
EVERY = StoreConfig().commit_every


def measure(models: int, location: str | Path, folder: Path) -> dict[str, float]:
    """Events a second with commits, and what they took; every model has events between two of them."""
    learnt = traffic.baseline()
    baselines = {of.model: of for of in (traffic.of_model(learnt, number) for number in range(models))}
    records = traffic.records(traffic.events(EVENTS, models=models))
    source = MemorySource({traffic.PARTITION: records}, most=POLLED)
    daemon = Daemon(source, baselines, folder, location)
    source.assign([traffic.PARTITION])
    daemon.loop.start()
    daemon.loop.turn()
    while len(daemon.loop.watches()) < models:  # each has been seen, and its bank made
        daemon.loop.turn()
    daemon.loop.commit()
    read, spent, commits, longest, pause = daemon.read, 0.0, 0, 0.0, EVERY
    began = last = time.perf_counter()
    while any(source.lag().values()):
        now = time.perf_counter()
        daemon.loop.turn()
        if now - last >= pause:
            daemon.loop.shards[WHOLE].catch_up()  # what a commit would have to work through first is no cost of it
            at = time.perf_counter()
            daemon.loop.commit()
            took, last = time.perf_counter() - at, at
            pause = max(EVERY, daemon.loop.rest(took))
            spent, commits, longest = spent + took, commits + 1, max(longest, took)
    seconds = time.perf_counter() - began
    daemon.store.close()
    return {
        "models": models,
        "events_per_second": round((daemon.read - read) / seconds),
        "share_of_time": round(spent / seconds, 4),
        "mean_commit_seconds": round(spent / max(1, commits), 4),
        "longest_commit_seconds": round(longest, 4),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        place = sys.argv[2] if len(sys.argv) > 2 else Path(folder, "bench.db")
        sys.stdout.write(json.dumps(measure(int(sys.argv[1]), place, Path(folder))) + "\n")
