"""Whether names that an attacker invents grow the daemon, as JSON lines: `python -m tests.bench.bombs [events]`.

Sources, labelers, models, versions, classes, features and categories are new in every event, in turns, with ordinary
traffic between them. The daemon is whole but for HTTP and delivery: loop, detectors, store and metrics.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import overload

import msgspec
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from monitor.intake.source import Partition, Record
from monitor.service.config import Config
from monitor.service.loop import Reactions
from monitor.service.reader import Reader
from monitor.store.store import Store
from monitor.telemetry.metrics import Metrics
from tests.kit.memory_source import MemorySource

EVENTS = 2_000_000
LOOKS = 20
"""How often memory is looked at in a run."""
ORDINARY = 2_000
"""Events before the first bomb: the reference of the model that there is."""
PARTITION = Partition("events", 0)
POLLED = 1000
MAX_PENDING = 5000
"""Predictions that may wait for a label."""

Event = dict[str, object]
Bomb = Callable[[int, Event], None]
Look = dict[str, float]


def sources(number: int, event: Event) -> None:
    event["source"] = f"source-{number}"
    event["labeler"] = f"labeler-{number}"


def models(number: int, event: Event) -> None:
    event["model"] = f"model-{number}"


def classes(number: int, event: Event) -> None:
    event["prediction"] = f"class-{number}"
    event["label"] = f"class-{number}"


def versions(number: int, event: Event) -> None:
    event["version"] = f"1.0.{number}"


def features(number: int, event: Event) -> None:
    event["features"] = {f"feature-{number}": 1.0, "size": 1.0, "kind": f"kind-{number}"}


def nothing(_number: int, _event: Event) -> None:
    """Ordinary traffic."""


ALL: tuple[Bomb, ...] = (sources, models, classes, versions, features, nothing)


class Bombed(Sequence[Record]):
    """So many records, made when they are asked for, and the same each time."""

    def __init__(self, events: int, bombs: Sequence[Bomb]) -> None:
        self._events = events
        self._bombs = bombs

    def __len__(self) -> int:
        return self._events

    @overload
    def __getitem__(self, place: int) -> Record: ...

    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...

    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(self._events))]
        return self._record(place)

    def _record(self, number: int) -> Record:
        """A prediction, or the label of the one before it."""
        pair, label = divmod(number, 2)
        draw = random.Random(pair)
        event: Event = {"model": "mail", "source": "s1", "prediction": draw.choice(["ham", "spam"]), "label": "ham"}
        event |= {"version": "1.0.0", "labeler": "l1", "features": {"size": draw.gauss(0, 1), "kind": "a"}}
        if number > ORDINARY:
            self._bombs[pair % len(self._bombs)](pair, event)
        kind = ("label", "labeler") if label else ("model", "version", "source", "prediction", "features")
        value = {name: event[name] for name in kind}
        value |= {"kind": "label" if label else "prediction", "event_id": f"e{pair}", "ts": 1.8e9 + number}
        return Record(PARTITION, number, msgspec.json.encode(value), 0.0)


def run(events: int, bombs: Sequence[Bomb], folder: Path) -> Iterator[Look]:
    """Read so many events; look LOOKS times at what has become of the process."""
    reference = {"reference": {"events": ORDINARY // 2}}
    config = Config.model_validate(
        {
            "kafka": {"bootstrap_servers": ["127.0.0.1:1"], "topics": [PARTITION.topic]},
            "models": {"mail": reference, "*": reference},
            "join": {"max_pending": MAX_PENDING},
            "store": {"path": str(folder / "bombs.db")},
            "quarantine": {"file": str(folder / "quarantine.jsonl")},
        }
    )
    registry = CollectorRegistry()
    store = Store(config.store.location)
    source = MemorySource({PARTITION: Bombed(events, bombs)}, most=POLLED)
    reactions = Reactions(lambda _transitions, _now: [], lambda _incident, _now: None, lambda: None)
    reader = Reader(config, {}, lambda: source, store, Metrics(registry), reactions)
    began = time.monotonic()
    with reader.open() as loop:
        loop.start()
        source.assign([PARTITION])
        loop.turn()
        for look in range(1, LOOKS + 1):
            while source.next[PARTITION] < events * look // LOOKS:
                loop.due.commit.set()
                loop.turn()
            loop.commit()
            (shard,) = loop.shards.values()
            yield {
                "events": source.next[PARTITION],
                "seconds": round(time.monotonic() - began, 1),
                "memory_mebibytes": round(_memory() / 2**20, 1),
                "state_mebibytes": round(sum(map(len, store.states().values())) / 2**20, 2),
                "scrape_mebibytes": round(len(generate_latest(registry)) / 2**20, 3),
                "models": len(loop.watches()),
                "waiting_for_labels": len(shard.pipeline.join),
                "incidents": len(store.incidents()),
            }
    store.close()


def _memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what is told goes beside the figures
    with tempfile.TemporaryDirectory() as place:
        for found in run(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS, ALL, Path(place)):
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()
