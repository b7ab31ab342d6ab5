"""Names that an attacker invents: memory, state and a scrape stay bounded, however many there are.

`TOCSIN_BOMB` is the number of events; memory is looked at after the first half and at the end.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from alerting.incidents import Incidents
from monitor.detection.pipeline import Pipeline
from monitor.intake.decode import Decoder
from monitor.intake.join import Join
from monitor.intake.source import Partition, Record
from monitor.service.config import Config
from monitor.service.observer import Observer
from monitor.service.reader import MAX_MODELS, watches
from monitor.service.snapshot import Snapshots
from monitor.telemetry.metrics import Metrics
from tests.kit.memory_source import MemorySource

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

EVENTS = int(os.environ.get("TOCSIN_BOMB", "40000"))
GROWTH = 60 * 2**20
"""Bytes by which the second half may be larger in memory than the first: noise of the allocator."""
SCRAPE = 5 * 2**20
CONFIG = {
    "kafka": {"bootstrap_servers": ["127.0.0.1:1"], "topics": ["events"]},
    "models": {"mail": {"reference": {"events": 1000}}, "*": {"reference": {"events": 1000}}},
    "join": {"max_pending": 5000},
}

Event = dict[str, object]


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


def memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("bomb", [sources, models, classes, versions, features])
def test_label_cardinality_bomb(bomb: Callable[[int, Event], None]) -> None:
    config = Config.model_validate(CONFIG)
    registry = CollectorRegistry()
    observer = Observer(Metrics(registry))
    join = Join(1e9, config.join.max_pending)
    pipeline = Pipeline(Decoder(), join, watches(config, {}), Incidents(), lambda _record, _error: None)
    snapshots = Snapshots(pipeline)
    draw = random.Random(1)
    measured, largest, states = [], 0, {}
    for begin in range(0, EVENTS, 1000):
        records = [record(number, draw, bomb) for number in range(begin, begin + 1000)]
        pipeline.process(records)
        changed = [pipeline.watches[model] for model in pipeline.changed]
        changes = snapshots.take()
        states |= changes.states
        for name in changes.forget:
            states.pop(name, None)
        observer.turned(len(records), 0.1, [pipeline])
        observer.told([], [pipeline])
        observer.committed(changed, [pipeline], MemorySource({}), 0.1)
        largest = max(largest, len(generate_latest(registry)))
        if begin + 1000 in (EVENTS // 2, EVENTS):
            measured.append(memory())
    assert len(pipeline.watches) <= MAX_MODELS + 1
    assert len(join) <= config.join.max_pending
    assert largest < SCRAPE
    assert measured[1] - measured[0] < GROWTH, [size / 2**20 for size in measured]


def record(number: int, draw: random.Random, bomb: Callable[[int, Event], None]) -> Record:
    """A prediction, or the label of the one before it; the first thousand events are ordinary."""
    label = bool(number % 2)
    event: Event = {"model": "mail", "source": "s1", "prediction": draw.choice(["ham", "spam"]), "label": "ham"}
    event |= {"version": "1.0.0", "labeler": "l1", "features": {"size": draw.gauss(0, 1), "kind": "a"}}
    if number > 1500:
        bomb(number, event)
    kind = (
        ("event_id", "label", "labeler")
        if label
        else ("event_id", "model", "version", "source", "prediction", "features")
    )
    event |= {"event_id": f"e{number // 2}"}
    value = {name: event[name] for name in kind} | {"kind": "label" if label else "prediction", "ts": 1.8e9 + number}
    return Record(Partition("events", 0), number, msgspec.json.encode(value), 0.0)
