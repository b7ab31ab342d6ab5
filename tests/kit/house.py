"""A loop with real parts around it, for the tests of what it does."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from alerting.desk import Desk, DeskConfig
from alerting.incident import Transition
from alerting.incidents import Incidents
from alerting.outbox import Message
from detectors.bets import Caution
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.pipeline import Pipeline
from monitor.detection.silence import Silence
from monitor.detection.watch import Watch
from monitor.intake.decode import Decoder
from monitor.intake.file_source import FileSource
from monitor.intake.join import Join
from monitor.intake.quarantine import FilePublisher, FileQuarantine, InvalidRatio
from monitor.rollback.policy import consider
from monitor.service.gate import Gate
from monitor.service.loop import Loop, Reactions
from monitor.service.observer import Observer
from monitor.service.shard import Shard, undivided
from monitor.store.store import Claim, Store
from monitor.store.tables import WHOLE
from monitor.telemetry.metrics import Metrics
from tests.kit.recording import START


class House:
    """A loop with real parts around it; only the clock is the test's."""

    def __init__(self, folder: Path, *logs: Path) -> None:
        self.now = START
        self.woken = 0
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.store = Store(folder / "tocsin.db")
        self.source = FileSource(logs, max_records=100)
        self.quarantine = FileQuarantine(folder / "quarantine.jsonl")
        self.suspects = FilePublisher(folder / "suspects.jsonl")
        self.gate = Gate(self.quarantine, InvalidRatio(0.5, 200, 100), 0.5, metrics.reading, lambda: self.now)
        self.loop = Loop(
            self.source,
            undivided,
            self._shard,
            self.gate,
            self.store,
            Reactions(self._messages, consider, self._wake),
            Observer(metrics, self._clock),
            suspects=self.suspects,
            clock=self._clock,
        )

    def _clock(self) -> float:
        return self.now

    def _shard(self, name: str, claim: Claim) -> Shard:
        pipeline = Pipeline(
            Decoder(),
            Join(604_800.0, 100_000),
            lambda model: Watch(
                model,
                budget=1e4,
                baseline=None,
                until=Until(events=2000),
                caution=Caution(),
                companions=Companions(()),
            ),
            Incidents(claim.incidents),
            self.gate.reject,
        )
        desk, silence = Desk(pipeline.incidents, DeskConfig()), Silence(600.0, self._clock, self._clock)
        return Shard(name, claim, pipeline, desk, silence, clock=self._clock)

    @property
    def shard(self) -> Shard:
        return self.loop.shards[WHOLE]

    @property
    def pipeline(self) -> Pipeline:
        return self.shard.pipeline

    def _messages(self, transitions: Iterable[Transition], now: float) -> list[Message]:
        return [Message("hook", transition, now) for transition in transitions]

    def _wake(self) -> None:
        self.woken += 1

    def run(self) -> list[str]:
        self.loop.start()
        self.loop.run(threading.Event(), lambda: None)
        return self.shard.notes

    def metric(self, name: str, /, **labels: str) -> float:
        return self.registry.get_sample_value(f"tocsin_{name}", labels) or 0.0

    def close(self) -> None:
        self.quarantine.close()
        self.suspects.close()
        self.source.close()
        self.store.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(*logs: Path) -> House:
        made.append(House(tmp_path, *logs))
        return made[-1]

    yield make
    for built in made:
        built.close()


def write(path: Path, lines: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def told(built: House) -> list[tuple[str, str]]:
    """What is in the outbox, and delivered with this."""
    found = []
    while due := built.store.outbox.due(built.now, 1):
        found.append((due[0].transition.change.value, due[0].transition.incident.verdict.value))
        built.store.outbox.delivered(due[0], built.now)
    return found
