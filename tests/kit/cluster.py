"""Three Apache Kafka brokers that hold three copies of everything, so that one of them may die."""

import base64
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.brokers import JAVA, Broker, free_ports, jars, or_skip, run, wait_for

_PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/log{node}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=5000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=200
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
"""


class Cluster(Broker):
    """Brokers 1 to 3, each a controller as well; `address` names them all."""

    copies = 3

    def __init__(self, folder: Path) -> None:
        self._jars = jars()
        self._folder = folder
        ports = free_ports(6)
        self._ports, controllers = dict(enumerate(ports[:3], 1)), dict(enumerate(ports[3:], 1))
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in controllers.items())
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for node, port in self._ports.items():
            text = _PROPERTIES.format(node=node, voters=voters, plain=port, controller=controllers[node], folder=folder)
            self._file(node).write_text(text)
            run([*JAVA, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._file(node))], self._jars)
        for node in self._ports:
            self._launch(node)
        try:
            for node, port in self._ports.items():
                wait_for(port, self._processes[node])
            super().__init__(",".join(f"127.0.0.1:{port}" for port in self._ports.values()))
        except BaseException:
            self.end()
            raise

    def kill(self, node: int) -> None:
        process = self._processes.pop(node)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def start(self, node: int) -> None:
        self._launch(node)
        wait_for(self._ports[node], self._processes[node])

    def end(self) -> None:
        for node in list(self._processes):
            self.kill(node)

    def _file(self, node: int) -> Path:
        return self._folder / f"{node}.properties"

    def _launch(self, node: int) -> None:
        with (self._folder / f"{node}.log").open("ab") as log:
            self._processes[node] = subprocess.Popen(
                [*JAVA, "kafka.Kafka", str(self._file(node))], cwd=self._jars, stdout=log, stderr=subprocess.STDOUT
            )


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    try:
        yield cluster
        cluster.close()
    finally:
        cluster.end()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three brokers for one test."""
    with or_skip(running_cluster(tmp_path)) as found:
        yield found
