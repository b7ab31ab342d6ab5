"""The daemon as a process of its own, with a real broker, a registry and a receiver."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from alerting.incident import Incident
from monitor.store.store import Store
from tests.kit.brokers import Broker
from tests.kit.http_server import Server

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
registry: {registry}
rollback: {{mode: {mode}, persistence: 0, confirm: 0, max_evidence_age: 1.0e+9}}
server: {{port: {port}}}
"""


class Daemon:
    """`tocsin run` on a topic of its own."""

    def __init__(
        self, broker: Broker, topic: str, folder: Path, hook: Server, *, registry: str, mode: str = "auto"
    ) -> None:
        """Nothing runs yet. `registry` is that section of the configuration, and `mode` that of rollbacks."""
        self.broker, self.topic, self.folder, self.hook = broker, topic, folder, hook
        broker.create_topic(topic)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        port = self.url.rpartition(":")[2]
        self.config = folder / "tocsin.yaml"
        places = {"broker": broker.address, "topic": topic, "folder": folder, "hook": hook.address, "port": port}
        self.config.write_text(CONFIG.format(**places, registry=registry, mode=mode))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "monitor.commands.cli", "run", "--config", str(self.config)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self, number: signal.Signals) -> int:
        assert self.process is not None
        if number is signal.SIGTERM:  # before it serves, it has nothing to end in order
            self.wait_until(lambda: self.metric("tocsin_build_info") == 1)
        self.process.send_signal(number)
        return self.process.wait(30)

    def close(self) -> None:
        """End it, however the test went."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

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
