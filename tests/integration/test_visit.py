"""What the demo's containers run, as processes: a model is served and poisoned without anybody telling a story."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from monitor.intake.decode import Decoder
from monitor.intake.events import Event, Label, Prediction
from monitor.intake.kafka_source import KafkaSource
from tests.kit.brokers import Broker
from tests.kit.documents import ROOT
from tests.kit.fleet import wait_until
from tests.kit.mlflow_server import MlflowServer
from tests.kit.prometheus import free_port

pytestmark = [pytest.mark.slow, pytest.mark.mlflow]


SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


@contextmanager
def running(service: str, log: Path, **settings: str) -> Iterator[None]:
    """Run what a service of the compose file runs, with other settings for some of its options."""
    entry, options = SERVICES[service]["entrypoint"], dict(option.split("=") for option in SERVICES[service]["command"])
    changed = {f"--{name.replace('_', '-')}": value for name, value in settings.items()}
    assert changed.keys() <= options.keys()
    command = [sys.executable, *entry[1:], *(f"{name}={value}" for name, value in (options | changed).items())]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) in (0, -signal.SIGTERM), log.read_text()[-2000:]


def read_until(source: KafkaSource, found: list[Event], enough: Callable[[], bool]) -> None:
    """Read events until there are enough of them."""
    decoder = Decoder()
    deadline = time.monotonic() + 60
    while not enough():
        assert time.monotonic() < deadline, f"{len(found)} events"
        found += [decoder.decode(record) for record in source.poll(0.25)]


def test_a_sound_version_is_served_and_then_a_poisoned_one(
    embedded_broker: Broker, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    model, topic = f"visit-{time.time_ns()}", f"visit-{time.time_ns()}"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    common = {"model": model, "registry": mlflow_server.url, "kafka": embedded_broker.address, "topic": topic}
    found: list[Event] = []

    def version() -> str | None:
        try:
            answer = httpx.get(f"{url}/version")
        except httpx.TransportError:
            return None
        return str(answer.json()["version"]) if answer.status_code == httpx.codes.OK else None

    with (
        running("model", tmp_path / "server.log", port=str(port), **common),
        running("clinics", tmp_path / "clinics.log", server=url, poison_after="3", **common),
    ):
        wait_until(lambda: version() == "1")
        wait_until(lambda: version() == "2")
        with closing(KafkaSource(embedded_broker.config(topic))) as source:
            source.start(lambda _partitions: {})
            read_until(source, found, lambda: {"1", "2"} <= {e.version for e in found if isinstance(e, Prediction)})
    assert {event.label for event in found if isinstance(event, Label)} == {"benign", "malignant"}
    assert mlflow_server.version(model, "1").keys() >= {"tocsin.known_good_at", "tocsin.digest"}
    assert "tocsin.known_good_at" not in mlflow_server.version(model, "2")
