"""What one and two replicas cost, as JSON: `python -m tests.bench.replicas`.

Time on a processor is what is counted: it says how many events a core can take, also where the machine has other work.
What a start takes is in it; the difference between two replicas and one is mostly that.
Needs the embedded broker and PostgreSQL.
"""

import json
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from tests.bench import traffic
from tests.kit.brokers import Broker, running_embedded_broker
from tests.kit.postgres import Postgres, running_postgres
from tests.kit.replicas import Process, offsets, settings, wait_until

PARTITIONS = 6
EACH = 12_000
"""Events of each partition, which has one model."""


def metric(replica: Process, name: str) -> float:
    """The sum of a metric's series."""
    lines = httpx.get(f"{replica.url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)


def fill(broker: Broker, each: int = EACH) -> str:
    """A topic with so many events in each partition; return its name."""
    topic = f"bench-{uuid.uuid4().hex}"
    broker.create_topic(topic, PARTITIONS)
    for number in range(PARTITIONS):
        one = (event for event in traffic.events(each, seed=number))
        values = [record.value for record in traffic.records(one)]
        broker.write(topic, [value and value.replace(b'"model-0"', b'"model-%d"' % number) for value in values], number)
    return topic


def configured(broker: Broker, topic: str, store: str | Path, folder: Path) -> dict[str, Any]:
    """As a user would have it, but for the time-outs of the group."""
    config = settings(broker.address, [topic], store, folder, replicas="several")
    config["store"]["commit_every"] = 2.0
    config["detection"] = {"budget": 100_000}
    return config


def share(broker: Broker, server: Postgres, topic: str, count: int) -> dict[str, float]:
    """Processor time of `count` replicas for each event of the topic."""
    with tempfile.TemporaryDirectory() as folder:
        store = server.create()
        config = configured(broker, topic, store, Path(folder))
        replicas = [Process(config, Path(folder), f"replica-{number}") for number in range(count)]
        try:
            began = time.monotonic()
            for replica in replicas:
                replica.start()
            wait_until(lambda: sum(offsets(store).values()) == PARTITIONS * EACH, replicas[0].said, 600)
            seconds = time.monotonic() - began
            busy = sum(metric(replica, "tocsin_turn_seconds_sum") for replica in replicas)
            spent = sum(metric(replica, "process_cpu_seconds_total") for replica in replicas)
            shares = [metric(replica, "tocsin_records_polled_total") for replica in replicas]
        finally:
            for replica in replicas:
                replica.kill()
    events = PARTITIONS * EACH
    return {
        "replicas": count,
        "seconds": round(seconds, 1),
        "cpu_micros_an_event": round(1e6 * spent / events, 1),
        "turn_micros_an_event": round(1e6 * busy / events, 1),
        "largest_share": round(max(shares) / sum(shares), 2),
    }


if __name__ == "__main__":
    with running_embedded_broker() as broker, running_postgres() as server:
        topic = fill(broker)
        for count in (1, 2):
            sys.stdout.write(json.dumps(share(broker, server, topic, count)) + "\n")
            sys.stdout.flush()
