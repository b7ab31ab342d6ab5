"""What a kill -9 costs, as JSON: `python -m tests.bench.recovery [kills]`.

A replica with the default interval of commits reads a backlog of six models as fast as it can, and is killed again and
again. Measured are the seconds from its start to its first commit of something new, and the records that it had read
and not committed, which are read again. Needs Apache Kafka.
"""

import json
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.replicas import PARTITIONS, configured, fill, metric
from tests.kit.apache_kafka import ApacheKafka, running
from tests.kit.brokers import Broker
from tests.kit.replicas import Process, offsets, wait_until

EACH = 60_000


def measure(broker: Broker, kills: int, folder: Path) -> dict[str, object]:
    """Kill so often; stop earlier where everything has been read."""
    topic, store, draw = fill(broker, EACH), folder / "tocsin.db", random.Random(1)
    config = configured(broker, topic, store, folder)
    config["kafka"] |= {"replicas": "one", "group_instance_id": "pod-0"}
    replica = Process(config, folder)

    def read() -> int:
        return sum(offsets(store).values())

    seconds, again = [], []
    try:
        while len(seconds) < kills and (before := read()) < PARTITIONS * EACH:
            began = time.monotonic()
            replica.start()
            wait_until(lambda: read() > before, replica.said)
            seconds.append(time.monotonic() - began)
            time.sleep(draw.uniform(0.0, 2 * config["store"]["commit_every"]))
            polled = before + metric(replica, "tocsin_records_polled_total")
            replica.end(signal.SIGKILL)
            again.append(polled - read())
    finally:
        replica.kill()
    return {
        "kills": len(seconds),
        "seconds_from_start_to_first_commit": _spread(seconds),
        "records_read_again": _spread(again),
        "commit_every": config["store"]["commit_every"],
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 2), "largest": round(max(values), 2)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, running(ApacheKafka, Path(place)) as kafka:
        sys.stdout.write(json.dumps(measure(kafka, int(sys.argv[1]) if len(sys.argv) > 1 else 10, Path(place))) + "\n")
