"""The source through librdkafka on a real Apache Kafka: what the embedded broker cannot show."""

import gc
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from structlog.testing import capture_logs

from monitor.intake.confluent_source import ConfluentSource
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.source import Partition, Record, SourceError
from tests.kit.apache_kafka import ApacheKafka

pytestmark = [
    pytest.mark.kafka,
    # kafka-python, with which the tests write, leaves sockets of refused connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"),
]

PATIENCE = 90.0


class Replica:
    """A source, and the positions that its store would know: shared, as replicas share a store."""

    def __init__(self, config: KafkaConfig, store: dict[Partition, int] | None = None) -> None:
        self.source = ConfluentSource(config)
        self.store = {} if store is None else store
        self.owned: tuple[Partition, ...] = ()
        self.records: list[Record] = []
        self.skipped = 0
        self.source.start(self._positions)

    def _positions(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        self.owned = tuple(partitions)
        return self.store

    def turn(self) -> None:
        records = self.source.poll(0.1)
        for jump in self.source.jumps():
            self.store[jump.partition] = jump.offset
            self.skipped += 0 if jump.wanted is None else jump.offset - jump.wanted
        for record in records:
            self.records.append(record)
            self.store[record.partition] = record.offset + 1

    def numbers(self) -> list[int]:
        return [int(record.value or b"-1") for record in self.records]


Start = Callable[..., Replica]


@pytest.fixture
def start() -> Iterator[Start]:
    replicas: list[Replica] = []

    def started(config: KafkaConfig, store: dict[Partition, int] | None = None) -> Replica:
        replicas.append(Replica(config, store))
        return replicas[-1]

    yield started
    for replica in replicas:
        replica.source.close()


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """Collect those sockets now, and not in a test where nobody expects them."""
    yield
    gc.collect()


@pytest.fixture
def topic(apache_kafka: ApacheKafka) -> str:
    name = f"events-{uuid.uuid4().hex}"
    apache_kafka.create_topic(name)
    return name


def turn_until(condition: Callable[[], bool], *replicas: Replica) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        for replica in replicas:
            replica.turn()


def test_two_replicas_share_and_the_one_that_stays_takes_over(apache_kafka: ApacheKafka, start: Start) -> None:
    name = f"shared-{uuid.uuid4().hex}"
    apache_kafka.create_topic(name, 4)
    config, store = apache_kafka.config(name), {}
    one = start(config, store)
    turn_until(lambda: len(one.owned) == 4, one)
    two = start(config, store)
    turn_until(lambda: len(one.owned) == len(two.owned) == 2, one, two)
    assert not set(one.owned) & set(two.owned)
    for number in range(4):
        apache_kafka.write(name, [b"%d" % n for n in range(20)], number)
    turn_until(lambda: len(one.records) + len(two.records) == 80, one, two)
    one.source.close()
    turn_until(lambda: len(two.owned) == 4, two)
    for number in range(4):
        apache_kafka.write(name, [b"20"], number)
    turn_until(lambda: len(one.records) + len(two.records) == 84, two)
    read = sorted((record.partition.number, record.offset) for record in (*one.records, *two.records))
    assert read == [(number, n) for number in range(4) for n in range(21)]


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_restart_of_the_broker_loses_and_repeats_nothing(
    apache_kafka: ApacheKafka, topic: str, start: Start, kill: bool
) -> None:
    apache_kafka.write(topic, [b"%d" % n for n in range(1_000)])
    replica = start(apache_kafka.config(topic, max_poll_records=50))
    turn_until(lambda: len(replica.records) >= 200, replica)
    apache_kafka.stop(kill=kill)
    try:
        for _ in range(30):  # longer than the session
            replica.turn()
    finally:
        apache_kafka.restart()
    apache_kafka.write(topic, [b"%d" % n for n in range(1_000, 1_100)])
    turn_until(lambda: len(replica.records) >= 1_100, replica)
    replica.turn()
    assert replica.numbers() == list(range(1_100))


def test_two_replicas_of_the_same_name_do_not_both_read(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
    config = apache_kafka.config(topic, group_instance_id="pod-0")
    one = start(config)
    turn_until(lambda: bool(one.owned), one)
    two = start(config)
    with pytest.raises(SourceError, match="consumer fenced"):
        turn_until(lambda: False, two, one)


def test_what_retention_deleted_is_counted_and_the_other_partition_is_not_disturbed(
    apache_kafka: ApacheKafka, start: Start
) -> None:
    name = f"deleted-{uuid.uuid4().hex}"
    apache_kafka.create_topic(name, 2)
    for number in (0, 1):
        apache_kafka.write(name, [b"%d" % n for n in range(100)], number)
    apache_kafka.delete_records(name, before=40, partition=0)
    replica = start(apache_kafka.config(name, max_poll_records=30), {Partition(name, 0): 10})
    with capture_logs() as logs:
        turn_until(lambda: len(replica.records) >= 160, replica)
    read = [(record.partition.number, record.offset) for record in replica.records]
    assert [offset for number, offset in read if number == 0] == list(range(40, 100))
    assert [offset for number, offset in read if number == 1] == list(range(100))
    assert replica.skipped == 30
    assert [entry["log_level"] for entry in logs if "deleted" in entry["event"]] == ["error"]


@pytest.mark.parametrize(("policy", "expected"), [("earliest", [0, 1, 2, 3]), ("latest", [3])])
def test_a_topic_that_ends_before_its_position(
    apache_kafka: ApacheKafka, topic: str, start: Start, policy: str, expected: list[int]
) -> None:
    apache_kafka.write(topic, [b"0", b"1", b"2"])
    beyond = {Partition(topic, 0): 50}
    replica = start(apache_kafka.config(topic), dict(beyond))
    with pytest.raises(SourceError, match=rf"{topic}\[0\] was read up to 50, but ends at 3: .*beyond_end"):
        turn_until(lambda: False, replica)
    replica = start(apache_kafka.config(topic, beyond_end=policy), dict(beyond))
    with capture_logs() as logs:
        turn_until(lambda: any("made anew" in entry["event"] for entry in logs), replica)
    apache_kafka.write(topic, [b"3"])
    turn_until(lambda: len(replica.records) == len(expected), replica)
    assert replica.numbers() == expected


def test_aborted_transactions_are_not_read_and_are_no_lag(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
    producer = KafkaProducer(bootstrap_servers=apache_kafka.address, transactional_id=topic)
    producer.init_transactions()
    for number, ending in enumerate((producer.commit_transaction, producer.abort_transaction) * 2):
        producer.begin_transaction()
        producer.send(topic, b"%d" % number)
        producer.flush()
        ending()
    producer.close()
    replica = start(apache_kafka.config(topic))
    turn_until(lambda: len(replica.records) == 2, replica)
    turn_until(lambda: replica.source.lag() == {Partition(topic, 0): 0}, replica)
    assert [(record.offset, record.value) for record in replica.records] == [(0, b"0"), (4, b"2")]


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_compressed_records_are_read(apache_kafka: ApacheKafka, start: Start, codec: str) -> None:
    name = f"{codec}-{uuid.uuid4().hex}"
    apache_kafka.create_topic(name, compression_type=codec)
    apache_kafka.write(name, [b"%d" % n for n in range(100)])
    replica = start(apache_kafka.config(name))
    turn_until(lambda: len(replica.records) == 100, replica)
    assert replica.numbers() == list(range(100))


def login(broker: ApacheKafka, password: str, ca_file: Path) -> dict[str, Any]:
    return {
        "bootstrap_servers": [broker.login_address],
        "connect_timeout": 3.0,
        "security": {
            "protocol": "SASL_SSL",
            "ca_file": ca_file,
            "sasl_mechanism": "SCRAM-SHA-512",
            "username": broker.USER,
            "password": {"value": password},
        },
    }


def test_a_login_over_tls(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
    apache_kafka.write(topic, [b"1"])
    replica = start(apache_kafka.config(topic, **login(apache_kafka, apache_kafka.PASSWORD, apache_kafka.authority)))
    turn_until(lambda: len(replica.records) == 1, replica)


def test_a_wrong_password_is_told_and_not_shown(apache_kafka: ApacheKafka, topic: str) -> None:
    settings = login(apache_kafka, "canary", apache_kafka.authority)
    with capture_logs() as logs, pytest.raises(SourceError, match=r"(?i)authentication failed") as caught:
        ConfluentSource(apache_kafka.config(topic, **settings)).start(lambda _: {})
    assert "canary" not in f"{caught.value!r} {caught.value.__context__!r} {logs}"


def test_an_unknown_authority_is_told(apache_kafka: ApacheKafka, topic: str) -> None:
    settings = login(apache_kafka, apache_kafka.PASSWORD, apache_kafka.stranger)
    with pytest.raises(SourceError, match="certificate verify failed"):
        ConfluentSource(apache_kafka.config(topic, **settings)).start(lambda _: {})


def test_an_expired_certificate_is_told(apache_kafka: ApacheKafka, topic: str) -> None:
    """The same authority's other certificate is good, as the next test shows; the library does not say more."""
    tls = {"protocol": "SSL", "ca_file": apache_kafka.authority}
    there = {"bootstrap_servers": [apache_kafka.expired_address], "connect_timeout": 3.0, "security": tls}
    with pytest.raises(SourceError, match="certificate verify failed"):
        ConfluentSource(apache_kafka.config(topic, **there)).start(lambda _: {})


def test_a_client_certificate_opens_where_one_is_asked_for(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
    tls = {"protocol": "SSL", "ca_file": apache_kafka.authority}
    there = {"bootstrap_servers": [apache_kafka.tls_address], "connect_timeout": 3.0}
    mutual = tls | {"cert_file": apache_kafka.key_pair}
    apache_kafka.write(topic, [b"1"])
    replica = start(apache_kafka.config(topic, **there, security=mutual))
    turn_until(lambda: len(replica.records) == 1, replica)
    with pytest.raises(SourceError, match=r"(?i)bad.certificate|certificate.required"):
        ConfluentSource(apache_kafka.config(topic, **there, security=tls)).start(lambda _: {})
