"""Replicas of the daemon for tests: as threads, where a test wants to look inside, and as processes, to be killed."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from alerting.incident import Incident, Transition
from alerting.outbox import Message
from monitor.intake.source import Partition
from monitor.service.config import Config
from monitor.service.loop import Reactions
from monitor.service.reader import Reader, open_source
from monitor.service.supervisor import Supervisor
from monitor.store.store import Store
from monitor.telemetry.metrics import Metrics
from tests.kit.recording import recording

PATIENCE = 90.0
LIVES = ("pipeline", "board", "watch/", "baseline/")
"""States that depend on the events alone, and not on when they were committed."""


def settings(broker: str, topics: Sequence[str], store: str | Path, folder: Path, **kafka: Any) -> dict[str, Any]:
    """A configuration for impatient tests."""
    return {
        "kafka": {
            "bootstrap_servers": broker.split(","),
            "topics": list(topics),
            "group_id": topics[0],
            "session_timeout": 2.0,
            "heartbeat_interval": 0.3,
            "request_timeout": 3.0,
            "max_poll_interval": 10.0,
            **kafka,
        },
        "models": {"*": {"reference": {"events": 1000}}},
        "detection": {"budget": 10_000},
        "store": {"commit_every": 0.2}
        | ({"path": str(store)} if isinstance(store, Path) else {"url": {"value": store}}),
        "quarantine": {"file": str(folder / "quarantine.jsonl")},
        "log": {"format": "json"},
    }


def traffic(models: Iterable[str], count: int, flip_from: int) -> list[bytes]:
    """Events of several models, whose turns come in small portions; each is poisoned at some time."""
    streams = [
        recording(count, model=model, flip_from=flip_from + 37 * number, seed=number)
        for number, model in enumerate(models)
    ]
    portion = 40
    return [
        event
        for start in range(0, max(map(len, streams)), portion)
        for stream in streams
        for event in stream[start : start + portion]
    ]


def wait_until(true: Callable[[], bool], why: Callable[[], str] = str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.03)


def digest(store: Store, shards: Sequence[str]) -> dict[str, bytes]:
    """What the detectors know, by shard and name."""
    return {
        f"{shard}:{name}": blob
        for shard in shards
        for name, blob in store.states(shard).items()
        if name.startswith(LIVES)
    }


def told(incidents: Iterable[Incident]) -> list[tuple[object, ...]]:
    """What of incidents depends on the events alone."""
    return sorted((i.model, i.id, i.verdict, i.onset, i.attribution, i.evidence, i.transitions) for i in incidents)


class Member:
    """A replica as a thread: the whole of it that reads and stores, and nobody to send messages to."""

    def __init__(self, config: dict[str, Any], store: Store | None = None) -> None:
        self.config = Config.model_validate(config)
        self.store = store or Store(self.config.store.location)
        self.registry = CollectorRegistry()
        self.failures: list[str] = []
        self.error: BaseException | None = None
        self.stop = threading.Event()
        reactions = Reactions(messages, lambda _incident, _now: None, lambda: None)
        source = partial(open_source, self.config.kafka)
        self.reader = Reader(self.config, {}, source, self.store, Metrics(self.registry), reactions)
        self.supervisor = Supervisor(self.reader.open, count=self.failures.append)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ticking = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()
        self._ticking.start()

    def _run(self) -> None:
        try:
            self.supervisor.run(self.stop, lambda: None)
        except BaseException as error:  # noqa: BLE001 - a test looks at it
            self.error = error

    def _tick(self) -> None:
        while not self.stop.wait(self.config.store.commit_every):
            self.reader.due.commit.set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def ready(self) -> bool:
        return self.supervisor.unready() is None

    def read(self) -> dict[Partition, int]:
        return self.store.offsets()

    def wait_until_read(self, ends: dict[Partition, int], seconds: float = PATIENCE) -> None:
        def state() -> str:
            return f"{self.read()} of {ends}; {self.failures}, {self.error!r}"

        wait_until(lambda: self.error is not None or self.read() == ends, state, seconds)
        assert self.error is None, repr(self.error)

    def close(self) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._ticking.join()
        self.store.close()


def messages(transitions: Iterable[Transition], now: float) -> list[Message]:
    return [Message("hook", transition, now) for transition in transitions]


class Process:
    """A replica as a process of its own: `tocsin run`."""

    def __init__(self, config: dict[str, Any], folder: Path, name: str = "replica") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{name}.log"
        self._file = folder / f"{name}.yaml"
        self._file.write_text(json.dumps(config | {"server": {"port": port}}))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "monitor.commands.cli", "run", "--config", str(self._file)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal that ends it; return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(60)

    def ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz").status_code == 200
        return False

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def offsets(location: str | Path) -> dict[Partition, int]:
    """What has been committed so far; nothing where there is no store yet."""
    if isinstance(location, Path) and not location.exists():
        return {}
    with closing(Store(location)) as store:
        return store.offsets()
