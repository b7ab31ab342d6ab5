"""A fleet under attack, seen by a real Prometheus: the daemon as a process, with a broker, a registry and receivers.

Five models are served. Three of them are poisoned: one may be rolled back, one only by a person, one not at all. A
fourth loses values of one source, and a fifth is not configured. Of the records some are no events, and of another
producer all are. One receiver refuses every message and another is down.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import yaml

from tests.kit.boards import RULES
from tests.kit.brokers import Broker
from tests.kit.http_server import Server, reply
from tests.kit.prometheus import Prometheus, free_port, running_alertmanager, running_prometheus
from tests.kit.recording import recording

POISONED = ("mail", "fraud", "intrusion")
FAULTY = "credit"
UNKNOWN = "shadow"
PREDICTIONS, FLIP, REFERENCE = 3000, 2000, 2000
STEP = 10.0
"""Seconds of event time between two predictions of a model."""
CONFIG = """
kafka:
  bootstrap_servers: ["{broker}"]
  topics: [{events}, {garbage}]
  group_id: {events}
  session_timeout: 2
  heartbeat_interval: 0.2
models:
  mail: {{reference: {{events: {reference}}}}}
  fraud: {{reference: {{events: {reference}}}}}
  intrusion: {{reference: {{events: {reference}}}}}
  credit: {{reference: {{events: {reference}}}}}
detection:
  budget: 10000
  companions: [{{detector: adwin, signal: error}}]
store: {{path: {folder}/tocsin.db, commit_every: 0.5}}
quarantine: {{file: {folder}/quarantine.jsonl}}
alerting:
  network: {{allow: [127.0.0.1]}}
  receivers:
    - {{kind: webhook, name: oncall, url: "{oncall}"}}
    - {{kind: webhook, name: gone, url: "{gone}"}}
    - {{kind: webhook, name: down, url: "{down}"}}
registry: {{kind: file, path: {folder}/registry.json}}
rollback:
  mode: auto
  models: {{fraud: propose}}
  persistence: 0
  max_models: 3
  heed_held_partitions: false
server: {{port: {port}}}
"""


class Fleet(NamedTuple):
    """What runs."""

    prometheus: Prometheus
    alertmanager: str
    """host:port."""
    tocsin: str
    """host:port."""
    alerts: Server
    """Where Alertmanager sends what reaches it."""
    began: float
    """Epoch seconds at which Prometheus began to scrape."""


@contextmanager
def running_fleet(broker: Broker, folder: Path, pace: float) -> Iterator[Fleet]:
    """Start everything, learn, attack, and hand over when the daemon has read all of it.

    Args:
        broker: where events go.
        folder: for files.
        pace: seconds over which the events after the reference are spread.
    """
    with ExitStack() as stack:
        hooks = [stack.enter_context(_server(status)) for status in (200, 404, 503, 200)]
        port = free_port()
        topics = [f"{kind}-{folder.name}" for kind in ("events", "garbage")]
        for topic in topics:
            broker.create_topic(topic)
        _configure(folder, broker, topics, hooks, port)
        alertmanager = stack.enter_context(running_alertmanager(folder, hooks[3].address))
        targets = {"tocsin": f"127.0.0.1:{port}"}
        prometheus = stack.enter_context(
            running_prometheus(folder, targets, _impatient_rules(folder), alertmanager, evaluate="1s")
        )
        began = time.time()
        wait_until(lambda: bool(prometheus.query("absent(tocsin_build_info)")))
        stack.enter_context(_daemon(folder, port))
        wait_until(lambda: bool(prometheus.query('ALERTS{alertname="TocsinNoRecords"}')))
        _knock(port)
        _attack(broker, topics, prometheus, pace)
        yield Fleet(prometheus, alertmanager, f"127.0.0.1:{port}", hooks[3], began)


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it is true, or fail."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)


def _knock(port: int) -> None:
    """Ask for a change, which nobody may make here."""
    assert httpx.post(f"http://127.0.0.1:{port}/api/v1/actions/none/approve").status_code == 403


def _attack(broker: Broker, topics: list[str], prometheus: Prometheus, pace: float) -> None:
    """Write the reference at once, then what is poisoned, bit by bit; garbage to the other topic."""
    start = time.time() - PREDICTIONS * STEP
    logs = [
        recording(PREDICTIONS, seed=3 + place, model=model, start=start, flip_from=FLIP)
        for place, model in enumerate(POISONED)
    ]
    logs.append(_without_length(recording(PREDICTIONS, model=FAULTY, start=start)))
    learning = len(logs)
    logs.append(recording(PREDICTIONS // 10, model=UNKNOWN, start=start))
    cut = REFERENCE // 2
    for log in logs[:learning]:
        broker.write(topics[0], log[:cut])
    wait_until(lambda: bool(prometheus.query("tocsin_reference_events > 0")))
    parts = 40
    for part in range(parts):
        for log in logs:
            first = cut if len(log) > cut else 0
            bounds = [first + (len(log) - first) * edge // parts for edge in (part, part + 1)]
            broker.write(topics[0], log[slice(*bounds)])
        broker.write(topics[0], [b"{cut off"] * 50)
        broker.write(topics[1], [b"{garbage", b'{"kind":"other"}'] * 4)
        time.sleep(pace / parts)  # the pace at which a model is asked: it is the input, not a wait
    read = f'tocsin_consumer_lag_records{{topic="{topics[0]}"}} == 0'  # the partition of the garbage is held by now
    wait_until(lambda: bool(prometheus.query(read)))


def _without_length(events: list[bytes]) -> list[bytes]:
    """From the attack on, one in eight values of a feature of one source is null: for a while nobody is sure of it."""
    found = [json.loads(event) for event in events]
    late = [event for event in found if event["ts"] > found[0]["ts"] + FLIP * STEP and event.get("source") == "src-2"]
    for event in late[::8]:
        event["features"]["length"] = None
    return [json.dumps(event).encode() for event in found]


def _configure(folder: Path, broker: Broker, topics: list[str], hooks: list[Server], port: int) -> None:
    names = {"oncall": hooks[0].address, "gone": hooks[1].address, "down": hooks[2].address}
    text = CONFIG.format(
        broker=broker.address,
        events=topics[0],
        garbage=topics[1],
        folder=folder,
        port=port,
        reference=REFERENCE,
        **names,
    )
    (folder / "tocsin.yaml").write_text(text)
    good = {"created": "2026-02-01T00:00:00Z", "known_good_at": "2026-02-02T00:00:00Z"}
    versions = {model: {"1": dict(good), "2": {"created": "2026-03-02T00:00:00Z"}} for model in POISONED}
    del versions["intrusion"]["1"]["known_good_at"]  # so there is nothing to go back to
    models = {model: {"aliases": {"champion": "2"}, "versions": versions[model]} for model in POISONED}
    (folder / "registry.json").write_text(json.dumps({"models": models}))


def _impatient_rules(folder: Path) -> list[Path]:
    """The rules that are shipped, but nothing has to last: what `for` does is unit-tested with promtool."""
    made = []
    for path in RULES:
        document = yaml.safe_load(path.read_text())
        for group in document["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    rule["for"] = "0s"
        made.append(folder / path.name)
        made[-1].write_text(yaml.safe_dump(document))
    return made


@contextmanager
def _daemon(folder: Path, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "monitor.commands.cli", "run", "--config", str(folder / "tocsin.yaml")]
    with (folder / "tocsin.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _serves(port))
        assert process.poll() is None, (folder / "tocsin.log").read_text()[-3000:]
        yield
    finally:
        process.terminate()
        process.wait(30)


def _serves(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def _server(status: int) -> Iterator[Server]:
    with Server() as server:
        server.answers = [reply(status, b"")]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
