"""Events a second of the whole path out of a real broker, beside the bare pipe and a plain loop over river's ADWIN.

    python -m tests.bench.pipeline [--quick | --full] [--seed N] [--out FILE]

The same source gives every variant its share of one topic, in turns, in one process: ratios can be trusted on a busy
machine, absolute figures cannot. The costs of the engine alone, by features, models and sources, come after it.
"""

import gc
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog
from confluent_kafka import Producer
from river.drift import ADWIN

from detectors.compiled import compiled
from detectors.engine import ARRAYS, Engine
from monitor.detection.baseline import Baseline
from monitor.intake.confluent_source import ConfluentSource
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.kafka_source import KafkaSource
from monitor.intake.source import EventSource
from monitor.service.config import StoreConfig
from monitor.service.loop import POLL
from tests.bench import cost, report, traffic
from tests.bench.daemon import Daemon
from tests.bench.report import Row
from tests.kit.brokers import Broker, running_embedded_broker

Turn = Callable[[], int]
"""Polls once, works through what came, and says how many records that were."""

CLIENTS: Mapping[str, Callable[[KafkaConfig], EventSource]] = {
    "kafka-python": KafkaSource,
    "confluent": ConfluentSource,
}
PATIENCE = 120.0
"""Seconds that one variant may take in one round."""
BARE, WHOLE, COMPILED = "bare pipe", "Tocsin", "Tocsin, compiled"
COMMITS, ADWINS = "Tocsin, compiled, with commits", "ADWIN per feature"


class Reading(NamedTuple):
    """How one variant fared in one round."""

    rate: float
    """Events a second."""
    cpu: float
    """Microseconds of all threads of this process for each event; other processes disturb it less than the rate."""


class Size(NamedTuple):
    """How much is measured."""

    events: int
    """Events of one variant in one round."""
    warm: int
    """Events before them, that are not measured."""
    rounds: int
    costs: cost.Size


SIZES = {
    "quick": Size(1_000, 200, 2, cost.Size(2, 1_000, (3, 30), (1, 10), (1, 10), 500, 5)),
    "usual": Size(20_000, 6_000, 7, cost.Size(5, 10_000, (3, 30, 300), (1, 10, 1_000), (1, 100, 1_000), 50_000, 200)),
    "full": Size(
        30_000, 10_000, 15, cost.Size(9, 20_000, (3, 30, 300), (1, 10, 1_000), (1, 100, 1_000), 50_000, 1_000)
    ),
}


def run(broker: Broker, size: Size, seed: int) -> Iterator[Row]:
    """Every row."""
    learnt = traffic.baseline()
    compiled()
    gc.collect()
    gc.freeze()  # as the daemon does when it has started; otherwise chance says who pays for a look at all modules
    topic = f"bench-{uuid.uuid4().hex}"
    broker.create_topic(topic)
    # a phase of a variant ends with the poll in which it has enough
    needed = sum(_events(name, size) + size.warm + 2 * cost.POLLED for name in _VARIANTS)
    _fill(broker, topic, needed, seed)
    for client in CLIENTS:
        yield from _throughput(broker, topic, client, learnt, size)
    broker.delete_topic(topic)
    yield from cost.run(size.costs)


def _throughput(broker: Broker, topic: str, client: str, learnt: Baseline, size: Size) -> Iterator[Row]:
    found: dict[str, list[Reading]] = {name: [] for name in _VARIANTS}
    began = time.monotonic()
    for number in range(size.rounds):
        source = CLIENTS[client](broker.config(topic, max_poll_records=cost.POLLED))
        source.start(lambda _partitions: {})
        try:
            with tempfile.TemporaryDirectory() as folder:
                for name in _rotated(list(_VARIANTS), number):
                    turn = _VARIANTS[name](source, learnt, Path(folder, name))
                    _read(turn, size.warm)
                    found[name].append(_read(turn, _events(name, size)))
        finally:
            source.close()
    report.say(f"{client}: {time.monotonic() - began:.0f} s")
    for name, readings in found.items():
        pairs = list(zip(readings, found[BARE], strict=True))
        yield {
            "what": "throughput",
            "client": client,
            "variant": name,
            "events_per_second": report.spread([reading.rate for reading in readings]),
            "cpu_micros": report.spread([reading.cpu for reading in readings]),
            "of_bare_pipe": report.spread([mine.rate / bare.rate for mine, bare in pairs]),
            "of_bare_cpu": report.spread([bare.cpu / mine.cpu for mine, bare in pairs]),
        }


def _events(variant: str, size: Size) -> int:
    """The bare pipe gets more, because it is through with them sooner."""
    return 3 * size.events if variant == BARE else size.events


def _read(turn: Turn, count: int) -> Reading:
    """Read at least `count` events."""
    read, began, cpu = 0, time.perf_counter(), time.process_time()
    while read < count:
        read += turn()
        if time.perf_counter() - began > PATIENCE:
            raise TimeoutError(f"{read} of {count} records came in {PATIENCE} seconds")
    return Reading(read / (time.perf_counter() - began), (time.process_time() - cpu) / read * 1e6)


def _bare(source: EventSource, _learnt: Baseline, _folder: Path) -> Turn:
    def turn() -> int:
        read = source.poll(POLL)
        for record in read:
            if record.value is not None:
                traffic.JSON.decode(record.value)
        return len(read)

    return turn


def _adwins(source: EventSource, learnt: Baseline, _folder: Path) -> Turn:
    detectors = {name: ADWIN() for name in learnt.features if name.startswith("feature")}

    def turn() -> int:
        read = source.poll(POLL)
        for record in read:
            if record.value is not None:
                features = traffic.JSON.decode(record.value).features
                for name, detector in detectors.items():
                    detector.update(features[name])
        return len(read)

    return turn


def _whole(
    source: EventSource, learnt: Baseline, folder: Path, *, engine: Callable[[], Engine], commits: bool = False
) -> Turn:
    folder.mkdir()
    daemon = Daemon(source, {learnt.model: learnt}, folder, engine=engine())
    every, committed = StoreConfig().commit_every, time.monotonic()

    def turn() -> int:
        nonlocal committed
        before = daemon.read
        if commits and time.monotonic() - committed >= every:
            committed = time.monotonic()
            daemon.loop.due.commit.set()
        daemon.loop.turn()
        return daemon.read - before

    return turn


_VARIANTS: Mapping[str, Callable[[EventSource, Baseline, Path], Turn]] = {
    BARE: _bare,
    WHOLE: partial(_whole, engine=lambda: ARRAYS),
    COMPILED: partial(_whole, engine=compiled),
    COMMITS: partial(_whole, engine=compiled, commits=True),
    ADWINS: _adwins,
}


def _rotated(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]


def _fill(broker: Broker, topic: str, count: int, seed: int) -> None:
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 50, "queue.buffering.max.messages": 20_000})
    for event in traffic.events(count, seed=seed):
        while True:
            try:
                producer.produce(topic, msgspec.json.encode(event), partition=0)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def tables(rows: list[Row]) -> str:
    """Throughput, then costs."""
    lines = [
        [
            row["client"],
            row["variant"],
            _shown(row["events_per_second"], 0),
            _shown(row["of_bare_pipe"], 2),
            _shown(row["cpu_micros"], 1),
            _shown(row["of_bare_cpu"], 2),
        ]
        for row in rows
        if row["what"] == "throughput"
    ]
    header = [
        "client",
        "30 features, one model",
        "events a second",
        "of the bare pipe",
        "CPU us an event",
        "of the bare CPU",
    ]
    return f"{report.table(header, lines)}\n\n{cost.tables(rows)}"


def _shown(found: dict[str, float], digits: int) -> str:
    return f"{found['mean']:,.{digits}f} ± {found['error']:,.{digits}f}"


def main() -> None:
    """Run and publish."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    options = report.options("pipeline", "What the whole path costs beside reading Kafka.")
    with running_embedded_broker() as broker:
        report.publish(options, run(broker, SIZES[options.size], options.seed), tables)


if __name__ == "__main__":
    main()
