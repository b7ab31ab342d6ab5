"""The daemon as its own process, with a real broker, a real receiver and a real kill -9."""

import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from alerting.incident import Incident
from monitor.store.store import Store
from tests.kit.brokers import Broker
from tests.kit.http_server import Server
from tests.kit.served_model import served

CONFIG = """
kafka:
  bootstrap_servers: ["{broker}"]
  topics: [{topic}]
  group_id: {topic}
  session_timeout: 2
  heartbeat_interval: 0.2
models:
  "*": {{reference: {{events: 2000}}}}
detection: {{budget: 10000}}
store: {{path: {folder}/tocsin.db, commit_every: 0.2}}
quarantine: {{file: {folder}/quarantine.jsonl}}
alerting:
  network: {{allow: [127.0.0.1]}}
  receivers:
    - {{kind: webhook, name: hook, url: "{hook}"}}
registry: {{kind: file, path: {folder}/registry.json}}
rollback: {{mode: auto, persistence: 0, confirm: 0, max_evidence_age: 1.0e+9}}
server: {{port: {port}}}
"""
REGISTRY = {
    "models": {
        "mail": {
            "aliases": {"champion": "2"},
            "versions": {
                "1": {"created": "2026-02-01T00:00:00Z", "known_good_at": "2026-02-02T00:00:00Z"},
                "2": {"created": "2026-03-02T00:00:00Z"},
            },
        }
    }
}


class Daemon:
    """`tocsin run` on a topic of its own."""

    def __init__(self, broker: Broker, topic: str, folder: Path, hook: Server) -> None:
        self.broker, self.topic, self.folder, self.hook = broker, topic, folder, hook
        broker.create_topic(topic)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        port = self.url.rpartition(":")[2]
        text = CONFIG.format(broker=broker.address, topic=topic, folder=folder, hook=hook.address, port=port)
        (folder / "tocsin.yaml").write_text(text)
        (folder / "registry.json").write_text(json.dumps(REGISTRY))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "monitor.commands.cli", "run", "--config", str(self.folder / "tocsin.yaml")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self, number: signal.Signals) -> int:
        assert self.process is not None
        if number is signal.SIGTERM:  # before it serves, it has nothing to end in order
            self.wait_until(lambda: self.metric("tocsin_build_info") == 1)
        self.process.send_signal(number)
        return self.process.wait(30)

    def metric(self, name: str, with_labels: str = "") -> float:
        """The sum of a metric's series that have these labels; 0 while the daemon does not answer."""
        try:
            lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        except httpx.TransportError:
            return 0.0
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.partition("{")[0].partition(" ")[0] == name and with_labels in line
        )

    def wait_until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def wait_until_read(self, count: int) -> None:
        """Wait until everything produced so far is committed."""
        store = self.folder / "tocsin.db"
        self.wait_until(lambda: store.exists() and sum(self._stored().values()) >= count)

    def _stored(self) -> dict[object, int]:
        store = Store(self.folder / "tocsin.db")
        try:
            return dict(store.offsets())
        finally:
            store.close()

    def result(self) -> tuple[list[Incident], dict[str, bytes]]:
        store = Store(self.folder / "tocsin.db")
        try:
            states = {name: blob for name, blob in store.states().items() if name.startswith(("watch/", "pipeline"))}
            return store.incidents(), states
        finally:
            store.close()


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    name = "embedded_broker" if request.param == "embedded" else "apache_kafka"
    found: Broker = request.getfixturevalue(name)
    return found


@pytest.fixture
def hook() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def told(hook: Server) -> list[tuple[str, str]]:
    """Ids and verdicts of what the receiver got, in order."""
    return [
        (request.headers["webhook-id"], json.loads(request.body)["tocsin"]["incident"]["verdict"])
        for request in hook.requests
    ]


@pytest.mark.slow
def test_a_poisoned_version_is_found_told_and_rolled_back(broker: Broker, tmp_path: Path, hook: Server) -> None:
    daemon = Daemon(broker, f"whole-{tmp_path.name}", tmp_path, hook)
    events = served(3000, flip_from=2000)
    broker.write(daemon.topic, [*events, b"{bad", None])
    daemon.start()
    daemon.wait_until_read(len(events) + 2)
    daemon.wait_until(lambda: daemon.metric("tocsin_rollbacks_total", 'state="moved"') == 1)
    daemon.wait_until(lambda: len(hook.requests) >= 2)
    assert daemon.metric("tocsin_incidents_total") == 1
    assert daemon.metric("tocsin_records_polled_total") == len(events) + 2
    assert daemon.metric("tocsin_events_invalid_total") == 2
    assert daemon.metric("tocsin_quarantined_total") == 1
    assert httpx.get(f"{daemon.url}/readyz").status_code == 200
    assert daemon.stop(signal.SIGTERM) == 0
    (incident,), _ = daemon.result()
    assert (incident.verdict, incident.attribution.class_from, incident.attribution.class_to) == (
        "label_flip",
        "spam",
        "ham",
    )
    assert incident.attribution.version == "2"
    assert incident.action is not None
    assert "back from 2 to 1" in incident.action
    assert json.loads((tmp_path / "registry.json").read_text())["models"]["mail"]["aliases"] == {"champion": "1"}
    assert told(hook)[0] == (f"{incident.id}-1", "label_flip")
    kept = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [(record["reason"], record["offset"]) for record in kept] == [("not_json", len(events))]


@pytest.mark.slow
def test_killed_and_unkilled_runs_agree(broker: Broker, tmp_path: Path, hook: Server) -> None:
    """kill -9 while learning, while watching and with an incident open: same incidents, same state, nothing twice."""
    events = served(3000, flip_from=2000, seed=7)
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    whole = Daemon(broker, f"whole-{tmp_path.name}", folders[0], hook)
    broker.write(whole.topic, events)
    whole.start()
    whole.wait_until_read(len(events))
    whole.wait_until(lambda: whole.metric("tocsin_rollbacks_total", 'state="moved"') == 1)
    assert whole.stop(signal.SIGTERM) == 0
    expected, told_before = told(hook), len(hook.requests)

    killed = Daemon(broker, f"killed-{tmp_path.name}", folders[1], hook)
    cuts = [0, 700, 2600, 4300, len(events)]
    for low, high in itertools.pairwise(cuts):
        killed.start()
        broker.write(killed.topic, events[low:high])
        killed.wait_until_read(low + (high - low) // 2)
        assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    killed.start()
    killed.wait_until_read(len(events))
    killed.wait_until(lambda: len(told(hook)) - told_before >= len(expected))
    assert killed.stop(signal.SIGTERM) == 0

    assert killed.result()[1] == whole.result()[1]
    strip = lambda incident: (incident.id, incident.verdict, incident.onset, incident.attribution, incident.evidence)  # noqa: E731
    assert [strip(i) for i in killed.result()[0]] == [strip(i) for i in whole.result()[0]]
    assert set(told(hook)[told_before:]) == set(expected)
    assert json.loads((folders[1] / "registry.json").read_text())["models"]["mail"]["aliases"] == {"champion": "1"}
