"""How long it takes from a record in Kafka to the POST at a receiver, while 5,000 events a second come.

    python -m tests.bench.latency [--quick | --full] [--seed N] [--out FILE]

All parts are real: a broker, `tocsin run` with the default settings as a process of its own, and an HTTP server. Busy
models give the traffic. Once an event of every model has been read, small models break, one after the other: a feature
of theirs is null from one event on, and each is a page. A page says at which event of its model it opened; what is
measured is the time from just before that event was given to the producer until the POST was there, so the time that
Kafka takes to append it is a part of it.
"""

import json
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import numpy as np
from confluent_kafka import Producer

from monitor.detection.baseline import Baseline, save
from tests.bench import report, traffic
from tests.bench.report import Row
from tests.kit.brokers import Broker, running_embedded_broker
from tests.kit.http_server import Answer, Request, Server
from tests.kit.replicas import Process, settings, wait_until

RATE = 5_000
"""Events a second."""
TICK = 0.01
"""Seconds between two portions of them."""
ROWS = 20_000
"""Different events that the traffic is made of."""
BURST = 40
"""Events of a model that breaks; they come in one portion after the other."""
WARM = 300
"""Portions before the first model breaks."""


class Size(NamedTuple):
    """How much is measured."""

    busy: tuple[int, ...]
    """Models that share the traffic."""
    pages: int
    """Models that break in one round."""
    every: int
    """Portions between two of them."""
    rounds: int


SIZES = {
    "quick": Size((6,), 20, 10, 1),
    "usual": Size((6, 100), 300, 10, 3),
    "full": Size((6, 100, 1_000), 600, 10, 5),
}


class Clocked(Server):
    """Remembers when each incident was told first, by model."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, tuple[float, int]] = {}

    def take(self, request: Request) -> Answer:
        now, step = time.time(), json.loads(request.body)["tocsin"]
        if step["change"] == "opened" and step["incident"]["model"].startswith("small-"):  # the budget allows others
            self.told.setdefault(step["incident"]["model"], (now, step["incident"]["event_index"]))
        return super().take(request)


class Round(NamedTuple):
    """What one round gave."""

    seconds: list[float]
    """From each decisive record to its page."""
    rate: float
    """Events a second that were in fact produced."""
    behind: float
    """Seconds from the last record to when all had been read."""


def measure(broker: Broker, learnt: Baseline, *, busy: int, pages: int, every: int, seed: int) -> Round:
    """One daemon, from its start to the last page. Raises AssertionError if a page does not come."""
    topic = f"bench-{uuid.uuid4().hex}"
    broker.create_topic(topic)
    names = [*(f"model-{number}" for number in range(busy)), *(f"small-{number}" for number in range(pages))]
    with tempfile.TemporaryDirectory() as folder, Clocked() as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        daemon = Process(_settings(broker, topic, Path(folder), hook, learnt, names), Path(folder))
        daemon.start()
        try:
            wait_until(daemon.ready, daemon.said)
            greeted = _greet(broker, topic, names, seed)
            wait_until(lambda: _read(daemon) >= greeted, daemon.said, 300)
            began = time.perf_counter()
            sent, count = _produce(broker, topic, greeted, busy=busy, pages=pages, every=every, seed=seed)
            ended = time.perf_counter()
            wait_until(lambda: _read(daemon) >= greeted + count, daemon.said)
            caught_up = time.perf_counter()
            wait_until(lambda: len(hook.told) >= pages, lambda: f"{len(hook.told)} of {pages} pages; {daemon.said()}")
        finally:
            daemon.kill()
            hook.shutdown()
    broker.delete_topic(topic)
    return Round(
        [arrived - sent[model][index - 1] for model, (arrived, index) in hook.told.items()],
        count / (ended - began),
        caught_up - ended,
    )


def _settings(
    broker: Broker, topic: str, folder: Path, hook: Server, learnt: Baseline, names: list[str]
) -> dict[str, object]:
    """The defaults, but for two limits: nothing is grouped, and there is no flood, so each incident is a page."""
    models = {}
    for name in names:
        path = folder / f"{name}.json"
        save(msgspec.structs.replace(learnt, model=name), path)
        models[name] = {"baseline": str(path)}
    return {
        **settings(broker.address, [topic], folder / "tocsin.db", folder, replicas="one"),
        "models": models,
        "detection": {},
        "store": {"path": str(folder / "tocsin.db")},
        "alerting": {
            "network": {"allow": ["127.0.0.1"]},
            "desk": {"group_within": 0.0, "pages": 1_000_000},
            "receivers": [{"kind": "webhook", "name": "hook", "url": hook.address}],
        },
    }


def _read(daemon: Process) -> float:
    lines = httpx.get(f"{daemon.url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("tocsin_records_polled_total"))


def _greet(broker: Broker, topic: str, names: list[str], seed: int) -> int:
    """An event of each model, which makes the daemon build the tables of its bets; return how many events that were."""
    usual = [_tail(event) for event in traffic.events(len(names), seed=seed)]
    events = [_event(number, name, tail) for number, (name, tail) in enumerate(zip(names, usual, strict=True))]
    broker.write(topic, events)
    return len(events)


def _produce(
    broker: Broker, topic: str, first: int, *, busy: int, pages: int, every: int, seed: int
) -> tuple[dict[str, list[float]], int]:
    """Produce at the rate until the last model is broken; return when each of its events was given, and the count.

    The ids of events go on from `first`.
    """
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 5, "acks": "all"})
    usual = [_tail(event) for event in traffic.events(ROWS, seed=seed)]
    broken = [_tail(event, null=True) for event in traffic.events(BURST, seed=seed + 1)]
    random = np.random.default_rng(seed)
    sent: dict[str, list[float]] = {f"small-{number}": [] for number in range(pages)}
    each, count, began = round(RATE * TICK), 0, time.perf_counter()
    for tick in range(WARM + pages * every + BURST + 100):
        for row, number in random.integers([ROWS, busy], size=(each - 1, 2)).tolist():
            producer.produce(topic, _event(first + count, f"model-{number}", usual[row]), partition=0)
            count += 1
        for number in range(max(0, -(-(tick - WARM - BURST + 1) // every)), min(pages, (tick - WARM) // every + 1)):
            name = f"small-{number}"
            if len(sent[name]) < BURST:
                event = _event(first + count, name, broken[len(sent[name])])
                sent[name].append(time.time())
                producer.produce(topic, event, partition=0)
                count += 1
        producer.poll(0)
        time.sleep(max(0.0, began + (tick + 1) * TICK - time.perf_counter()))
    producer.flush()
    return sent, count


def _tail(event: object, *, null: bool = False) -> bytes:
    """An event without what every one gets anew."""
    found = msgspec.to_builtins(event)
    del found["event_id"], found["ts"], found["model"]
    if null:
        found["features"]["feature_00"] = None
    return msgspec.json.encode(found)[1:]


def _event(number: int, model: str, tail: bytes) -> bytes:
    return b'{"event_id":"%d","ts":%.3f,"model":"%s",' % (number, time.time(), model.encode()) + tail


def run(broker: Broker, size: Size, seed: int) -> Iterator[Row]:
    """A row for each number of busy models."""
    learnt = traffic.baseline()
    for busy in size.busy:
        rounds = []
        for number in range(size.rounds):
            rounds.append(measure(broker, learnt, busy=busy, pages=size.pages, every=size.every, seed=seed + number))
            report.say(f"{busy} models: p99 {np.quantile(rounds[-1].seconds, 0.99):.2f} s, {rounds[-1].rate:.0f}/s")
        yield {
            "what": "latency",
            "models": busy,
            "pages": size.pages,
            "events_per_second": report.spread([found.rate for found in rounds]),
            "behind": report.spread([found.behind for found in rounds]),
            **{
                name: report.spread([np.quantile(found.seconds, share) for found in rounds])
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            },
        }


def table(rows: list[Row]) -> str:
    """Seconds from the record to the POST."""
    header = ["busy models", "events a second", "pages", "p50 s", "p95 s", "p99 s", "max s"]
    lines = [
        [
            str(row["models"]),
            f"{row['events_per_second']['mean']:,.0f}",
            f"{row['p50']['runs']} x {row['pages']}",
            *(_shown(row[name]) for name in ("p50", "p95", "p99", "max")),
        ]
        for row in rows
    ]
    return report.table(header, lines)


def _shown(found: dict[str, float | None]) -> str:
    error = "" if found["error"] is None else f" ± {found['error']:.2f}"
    return f"{found['mean']:.2f}{error}"


def main() -> None:
    """Run and publish."""
    options = report.options("latency", "From a record in Kafka to the POST at a receiver.")
    with running_embedded_broker() as broker:
        report.publish(options, run(broker, SIZES[options.size], options.seed), table)


if __name__ == "__main__":
    main()
