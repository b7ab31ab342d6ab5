"""The demo's stage: every part started, wired to the others, and taken down at the end."""

import base64
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx

from monitor.demo import broker, daemon, dataset, registry
from monitor.demo.broker import EventWriter
from monitor.demo.daemon import Addresses, Daemon, answers
from monitor.demo.parts import Parts, free_ports, listens
from monitor.demo.receiver import Message, Receiver
from monitor.demo.registry import Registry
from monitor.demo.traffic import Traffic
from monitor.rollback.config import Mode

MODEL = "breast-cancer"
TOPIC = "tocsin.events"
REFERENCE = 4000
"""Events, predictions and labels together, that make the baseline."""
START_TIMEOUT = 120.0
"""Seconds. MLflow alone needs fifteen where nothing of it is compiled yet."""


class Stage(NamedTuple):
    """The running parts, as the story uses them."""

    addresses: Addresses
    parts: Parts
    client: httpx.Client
    registry: Registry
    daemon: Daemon
    receiver: Receiver
    traffic: Traffic
    data: dataset.Data
    config: Path
    secret: str
    """What Tocsin signs its messages with."""
    token: str
    """What a person signs in to the console with."""

    @property
    def console(self) -> str:
        """Where a person finds the console, and what they sign in with."""
        return f"{self.addresses.tocsin}/console with the token {self.token}"

    def start_tocsin(self) -> None:
        """Start Tocsin; as anywhere, the registry and the model that it guards are there before it."""
        environment = _environment() | {daemon.SECRET_VARIABLE: self.secret}
        self.parts.start("tocsin", daemon.command(self.config), environment=environment)

    def served(self) -> str | None:
        """Return the version that the model server serves, as it says itself; None before there is one."""
        answer = self.client.get(f"{self.addresses.server}/version")
        return str(answer.json()["version"]) if answer.status_code == httpx.codes.OK else None


@contextlib.contextmanager
def set_up(folder: Path, show: Callable[[Message], None], mode: Mode) -> Iterator[Stage]:
    """Start everything but Tocsin at once, give it out when it is ready, and end all of it afterwards.

    Args:
        folder: Where logs, configuration and state go.
        show: Called with each message that Tocsin sends.
        mode: Whether Tocsin rolls back by itself, or asks.

    Raises:
        PartError: A part did not start.
    """
    ports = free_ports(4)
    kafka, mlflow, server, tocsin = (f"127.0.0.1:{port}" for port in ports)
    secret, token = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(), secrets.token_hex(32)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=10.0, trust_env=False))
        receiver = stack.enter_context(Receiver(0, secret, show, time.time))
        at = Addresses(kafka, *(f"http://{each}" for each in (mlflow, server, f"127.0.0.1:{receiver.port}/", tocsin)))
        config = folder / "tocsin.yaml"
        daemon.write_config(config, at, model=MODEL, topic=TOPIC, reference=REFERENCE, token=token, mode=mode)
        parts = stack.enter_context(Parts(folder))
        _start(parts, folder, ports, at)
        data = dataset.load()
        traffic = Traffic(client, at.server, partial(EventWriter, kafka, TOPIC, MODEL), data)
        stack.callback(traffic.stop)
        parts.wait("the model server", lambda: listens(ports[2]), START_TIMEOUT)
        parts.wait("MLflow", lambda: answers(client, f"{at.registry}/health"), START_TIMEOUT)
        registered = Registry(client, at.registry, MODEL)
        watcher = Daemon(client, at.tocsin)
        yield Stage(at, parts, client, registered, watcher, receiver, traffic, data, config, secret, token)


def _start(parts: Parts, folder: Path, ports: Sequence[int], at: Addresses) -> None:
    """Start broker, registry and model server, which creates the topic before it listens."""
    environment = _environment()
    # The broker keeps nothing, and asked politely it would wait for its clients.
    parts.start("broker", broker.command(ports[0]), environment=environment, stop=signal.SIGKILL)
    mlflow = registry.command(ports[1], folder)
    parts.start("mlflow", mlflow, environment=environment | registry.ENVIRONMENT)
    serve = [sys.executable, "-m", "monitor.demo.model_server", "--port", str(ports[2]), "--model", MODEL]
    serve += ["--registry", at.registry, "--kafka", at.kafka, "--topic", TOPIC]
    parts.start("model-server", serve, environment=environment)


def _environment() -> dict[str, str]:
    """Return our environment without what leads away from this machine: proxies, and settings of another MLflow."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return ours | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
