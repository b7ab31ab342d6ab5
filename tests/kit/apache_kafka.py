"""Apache Kafka for tests, out of its jars: one node, or three that hold three copies of everything."""

import base64
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from tests.kit.brokers import START_SECONDS, Broker, MissingError, free_ports, or_skip, wait_for
from tests.kit.certificates import DAY, Identity, self_signed, signed

KAFKA_VERSION = "4.2.0"
CACHE = Path(__file__).parents[2] / ".cache" / f"kafka-{KAFKA_VERSION}"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tocsin</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
</dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""
_JAVA = (
    *("java", "-Xms256m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ActiveProcessorCount=1"),
    *("-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", "libs/*"),
)
_EVERY_NODE = """
process.roles=broker,controller
node.id={number}
log.dirs={folder}/log{number}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
default.replication.factor={copies}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=200
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
"""
_ONE = """
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},PROXIED://127.0.0.1:{behind},SSL://127.0.0.1:{tls},EXPIRED://127.0.0.1:{expired},SASL_SSL://127.0.0.1:{login},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},PROXIED://127.0.0.1:{proxy},SSL://127.0.0.1:{tls},EXPIRED://127.0.0.1:{expired},SASL_SSL://127.0.0.1:{login}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SSL:SSL,EXPIRED:SSL,SASL_SSL:SASL_SSL
transaction.state.log.min.isr=1
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.crt
listener.name.ssl.ssl.client.auth=required
listener.name.expired.ssl.keystore.location={folder}/expired.pem
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""
_OF_THREE = """
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
min.insync.replicas=2
transaction.state.log.min.isr=2
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=5000
"""


class Node:
    """One process that is broker and controller; its data is in a folder, and there again after a stop."""

    def __init__(
        self, folder: Path, number: int, port: int, properties: str, cluster: str, *formatting: str, copies: int = 1
    ) -> None:
        """Format the storage. `port` is the one that answers when the node is up."""
        self._port = port
        self._jars = jars()
        self._properties = folder / f"{number}.properties"
        self._log = folder / f"{number}.log"
        self._properties.write_text(_EVERY_NODE.format(number=number, folder=folder, copies=copies) + properties)
        tool = ("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties))
        _run([*_JAVA, *tool, *formatting], self._jars)
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        command = [*_JAVA, "kafka.Kafka", str(self._properties)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._jars, stdout=log, stderr=subprocess.STDOUT)

    def wait(self) -> None:
        """Until it takes connections."""
        assert self._process is not None
        try:
            wait_for(self._port, self._process)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self._log.read_text()[-2000:]}") from None

    def stop(self, *, kill: bool = False) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Nodes(Broker):
    """Apache Kafka as a client sees it: all its nodes, running."""

    def __init__(self, nodes: Sequence[Node], ports: Sequence[int]) -> None:
        self.copies = len(nodes)
        self.nodes = nodes
        try:
            for node in nodes:
                node.launch()
            for node in nodes:
                node.wait()
            super().__init__(",".join(f"127.0.0.1:{port}" for port in ports))
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        for node in self.nodes:
            node.stop(kill=True)


class ApacheKafka(Nodes):
    """A single node. It can be restarted, and has everything again afterwards.

    Where a `tests.kit.proxy.Proxy` listens on `proxy_port` and leads to `behind_proxy`, clients that come that way
    stay on it. `tls_address` asks for a client certificate, the certificate of `expired_address` was good until
    yesterday, and `login_address` asks for SCRAM-SHA-512 as USER over TLS. `authority` vouches for all of them, and
    `stranger` for none.
    """

    USER = "tocsin"
    PASSWORD = "correct horse"

    def __init__(self, folder: Path) -> None:
        plain, tls, expired, login, controller, self.behind_proxy, self.proxy_port = free_ports(7)
        self.tls_address, self.login_address = f"127.0.0.1:{tls}", f"127.0.0.1:{login}"
        self.expired_address = f"127.0.0.1:{expired}"
        authority = self_signed(folder, "ca")
        self.authority, self.stranger = authority.certificate, self_signed(folder, "stranger").certificate
        self.key_pair = _in_one_file(signed(folder, "broker", authority))
        _in_one_file(signed(folder, "expired", authority, ends=-DAY))
        ports = {"plain": plain, "tls": tls, "expired": expired, "login": login, "controller": controller}
        properties = _ONE.format(folder=folder, behind=self.behind_proxy, proxy=self.proxy_port, **ports)
        scram = f"SCRAM-SHA-512=[name={self.USER},password={self.PASSWORD}]"
        self._node = Node(folder, 1, plain, properties, _new_id(), "--standalone", "--add-scram", scram)
        super().__init__([self._node], [plain])

    def restart(self) -> None:
        """Start again after a stop, and wait until clients that were there before work again."""
        self._node.launch()
        self._node.wait()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(KafkaError):
                self._admin.list_topics()
                return
            time.sleep(0.1)
        raise RuntimeError("the broker did not answer after its restart")

    def stop(self, *, kill: bool = False) -> None:
        self._node.stop(kill=kill)


class Cluster(Nodes):
    """Three nodes, so that one of them may die; `address` names them all."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(6)
        plain, controllers = ports[:3], ports[3:]
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, 1))
        cluster = _new_id()
        nodes = []
        for number, (port, controller) in enumerate(zip(plain, controllers, strict=True), 1):
            properties = _OF_THREE.format(voters=voters, plain=port, controller=controller)
            nodes.append(Node(folder, number, port, properties, cluster, copies=3))
        super().__init__(nodes, plain)


@contextmanager
def running(kafka: type[Nodes], folder: Path) -> Iterator[Nodes]:
    """Start one with its data in `folder`. Raises MissingError if it cannot be had on this machine."""
    nodes = kafka(folder)
    try:
        yield nodes
        nodes.close()
    finally:
        nodes.end()


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One Apache Kafka for the whole run; a test that stops it starts it again."""
    with or_skip(running(ApacheKafka, tmp_path_factory.mktemp("kafka"))) as broker:
        yield broker


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three brokers for one test."""
    with or_skip(running(Cluster, tmp_path)) as found:
        yield found


def jars() -> Path:
    """The folder with Kafka's jars in `libs`; fetched once, from Maven Central."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise MissingError(f"Apache Kafka needs {program}, which is not installed")
    if not (CACHE / "libs").is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            Path(folder, "pom.xml").write_text(_POM)
            copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
            _run(["mvn", "-q", "-B", copy, "-DincludeScope=runtime", f"-DoutputDirectory={folder}/libs"], Path(folder))
            with suppress(OSError):  # somebody else was faster
                Path(folder, "libs").rename(CACHE / "libs")
    return CACHE


def _new_id() -> str:
    # Kafka's tools take an id that begins with "-" for an option: the first byte keeps it from that.
    return base64.urlsafe_b64encode(b"\0" + os.urandom(15)).decode().rstrip("=")


def _in_one_file(identity: Identity) -> Path:
    """As Kafka, and its clients, read them."""
    both = identity.certificate.with_suffix(".pem")
    both.write_text(identity.key.read_text() + identity.certificate.read_text())
    return both


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise MissingError(f"{command[0]} failed: {done.stdout.decode(errors='replace')[-500:]}")
