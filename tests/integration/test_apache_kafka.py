"""The Kafka source on a real Apache Kafka: groups, restarts, retention, transactions, TLS and logins."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from structlog.testing import capture_logs

from monitor.intake.decode import DecodeError, DecodeReason
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.kafka_publisher import KafkaPublisher
from monitor.intake.kafka_source import KafkaSource
from monitor.intake.quarantine import QuarantineError, TopicQuarantine
from monitor.intake.source import Partition, Record, SourceError
from tests.kit.apache_kafka import ApacheKafka

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.usefixtures("no_forgotten_sockets"),
    pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"),
]

PATIENCE = 90.0


class Replica:
    """A source, and the positions that its store would know: shared, as replicas share a store."""

    def __init__(self, config: KafkaConfig, store: dict[Partition, int] | None = None) -> None:
        self.source = KafkaSource(config)
        self.store = {} if store is None else store
        self.asked: list[tuple[Partition, ...]] = []
        self.records: list[Record] = []
        self.skipped = 0
        self.source.start(self._positions)

    def _positions(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        self.asked.append(tuple(partitions))
        return self.store

    def turn(self) -> None:
        records = self.source.poll(0.1)
        for jump in self.source.jumps():
            self.store[jump.partition] = jump.offset
            self.skipped += 0 if jump.wanted is None else jump.offset - jump.wanted
        for record in records:
            self.records.append(record)
            self.store[record.partition] = record.offset + 1

    @property
    def owned(self) -> tuple[Partition, ...]:
        return self.asked[-1] if self.asked and self.source.ready else ()


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


def numbers(replica: Replica) -> list[int]:
    return [int(record.value or b"-1") for record in replica.records]


def test_two_replicas_share_and_a_label_meets_its_prediction(apache_kafka: ApacheKafka, start: Start) -> None:
    topics = [f"{kind}-{uuid.uuid4().hex}" for kind in ("predictions", "labels")]
    for name in topics:
        apache_kafka.create_topic(name, 5)
    config, store = apache_kafka.config(*topics), {}
    one = start(config, store)
    turn_until(lambda: len(one.owned) == 10, one)
    two = start(config, store)
    turn_until(lambda: len(one.owned) + len(two.owned) == 10 and min(len(one.owned), len(two.owned)) >= 4, one, two)
    for replica in (one, two):
        of = [{p.number for p in replica.owned if p.topic == name} for name in topics]
        assert of[0] == of[1]
    assert not set(one.owned) & set(two.owned)

    for name in topics:
        for number in range(5):
            apache_kafka.write(name, [b"%d" % n for n in range(20)], number)
    turn_until(lambda: len(one.records) + len(two.records) == 200, one, two)
    assert {record.partition for record in one.records} == set(one.owned)

    one.source.close()
    turn_until(lambda: len(two.owned) == 10, two)
    for name in topics:
        for number in range(5):
            apache_kafka.write(name, [b"20"], number)
    turn_until(lambda: len(one.records) + len(two.records) == 210, two)
    read = sorted((record.partition, record.offset) for record in (*one.records, *two.records))
    assert read == [(Partition(name, number), n) for name in sorted(topics) for number in range(5) for n in range(21)]


def test_a_held_partition_stays_held_when_the_group_changes(apache_kafka: ApacheKafka, start: Start) -> None:
    name = f"held-{uuid.uuid4().hex}"
    apache_kafka.create_topic(name, 2)
    config, store = apache_kafka.config(name), {}
    one = start(config, store)
    turn_until(lambda: len(one.owned) == 2, one)
    one.source.hold(Partition(name, 0))
    two = start(config, store)
    turn_until(lambda: bool(one.owned and two.owned), one, two)
    two.source.close()
    turn_until(lambda: len(one.owned) == 2, one)
    for number in (0, 1):
        apache_kafka.write(name, [b"1"] * 5, number)
    turn_until(lambda: len(one.records) == 5, one)
    one.turn()
    assert {record.partition.number for record in one.records} == {1}


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
    assert numbers(replica) == list(range(1_100))


def test_a_replica_that_was_away_too_long_asks_again(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
    apache_kafka.write(topic, [b"0", b"1"])
    config = apache_kafka.config(topic, max_poll_interval=2.0, session_timeout=2.0, group_id=f"away-{topic}")
    replica = start(config)
    turn_until(lambda: len(replica.records) == 2, replica)
    rounds = len(replica.asked)
    with capture_logs() as logs:
        other = start(config, replica.store)  # takes over, as nobody polls for the first one
        turn_until(lambda: len(other.owned) == 1, other)
        apache_kafka.write(topic, [b"2"])
        turn_until(lambda: len(other.records) == 1, other)
        other.source.close()
        turn_until(lambda: len(replica.asked) > rounds, replica)
    assert any("partitions lost" in entry["event"] for entry in logs)
    apache_kafka.write(topic, [b"3"])
    turn_until(lambda: len(replica.records) == 3, replica)
    assert numbers(replica) == [0, 1, 3]


def test_latest_is_decided_once_and_not_at_every_rebalance(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
    apache_kafka.write(topic, [b"0"])
    pods = [apache_kafka.config(topic, start="latest", group_id=topic, group_instance_id=f"pod-{n}") for n in (0, 1)]
    one = start(pods[0])
    turn_until(lambda: bool(one.owned), one)
    spare = start(pods[1])
    asked_to_join = time.monotonic() + 1.0
    turn_until(lambda: time.monotonic() > asked_to_join, spare)
    apache_kafka.write(topic, [b"1"])
    turn_until(lambda: spare.asked == [()] and len(one.records) > 0, one, spare)
    assert numbers(one) == [1]


def test_two_replicas_of_the_same_name_do_not_both_read(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
    config = apache_kafka.config(topic, group_instance_id="pod-0")
    one = start(config)
    turn_until(lambda: bool(one.owned), one)
    two = start(config)

    def refused() -> bool:
        two.turn()
        try:
            one.turn()
        except SourceError as error:
            assert "FencedInstanceId" in str(error)  # noqa: PT017 - until then both have to be polled
            return True
        return False

    turn_until(refused)
    apache_kafka.write(topic, [b"1"])
    turn_until(lambda: len(two.records) == 1, two)


def test_a_restart_with_the_same_name_moves_nothing(apache_kafka: ApacheKafka, start: Start) -> None:
    name = f"static-{uuid.uuid4().hex}"
    apache_kafka.create_topic(name, 2)
    settings = {"group_id": name, "session_timeout": 20.0, "heartbeat_interval": 0.2}
    pods = [apache_kafka.config(name, group_instance_id=f"pod-{n}", **settings) for n in (0, 1)]
    one, two = start(pods[0]), start(pods[1])
    turn_until(lambda: len(one.owned) == len(two.owned) == 1, one, two)
    rounds, before = len(one.asked), two.owned
    two.source.close()
    again = start(pods[1])
    turn_until(lambda: bool(again.owned), one, again)
    assert again.owned == before
    assert len(one.asked) == rounds


def test_a_join_that_the_polls_had_no_time_for_is_finished(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
    """A topic that grows makes its reader join anew; the answer comes between two polls that end at once."""
    replica = start(apache_kafka.config(topic))
    turn_until(lambda: len(replica.owned) == 1, replica)
    apache_kafka.add_partitions(topic, 2)
    coordinator = replica.source._consumer._coordinator
    coordinator._cluster.request_update()
    turn_until(lambda: bool(replica.source.poll(0.0)) or coordinator.rejoining)  # polls that wait for nothing
    time.sleep(1.0)  # for the answer, which nobody looks at
    apache_kafka.write(topic, [b"1"], partition=1)
    turn_until(lambda: len(replica.records) == 1, replica)
    assert len(replica.owned) == 2


def test_what_retention_deleted_is_counted_and_reading_goes_on(
    apache_kafka: ApacheKafka, topic: str, start: Start
) -> None:
    apache_kafka.write(topic, [b"%d" % n for n in range(100)])
    apache_kafka.delete_records(topic, before=40)
    replica = start(apache_kafka.config(topic), {Partition(topic, 0): 10})
    with capture_logs() as logs:
        turn_until(lambda: len(replica.records) == 60, replica)
    assert numbers(replica) == list(range(40, 100))
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
    assert numbers(replica) == expected


def test_aborted_transactions_are_not_read(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
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
    assert numbers(replica) == list(range(100))


def test_what_is_missing_at_the_start_is_one_clear_line(apache_kafka: ApacheKafka, topic: str) -> None:
    source = KafkaSource(apache_kafka.config(topic, "nowhere"))
    with pytest.raises(SourceError, match="no such topic, or no permission to read it: nowhere"):
        source.start(lambda _: {})
    with pytest.raises(SourceError, match="no such topic, or no permission to write to it: nowhere"):
        KafkaPublisher(apache_kafka.config(topic, connect_timeout=1.0), "nowhere")
    elsewhere = apache_kafka.config(topic, bootstrap_servers=["127.0.0.1:1"], connect_timeout=1.0)
    with pytest.raises(SourceError, match=r"cannot reach Kafka at 127\.0\.0\.1:1 \(PLAINTEXT\): .*ECONNREFUSED"):
        KafkaSource(elsewhere).start(lambda _: {})


def test_a_quarantine_that_is_away_says_so_until_the_process_ends(apache_kafka: ApacheKafka, topic: str) -> None:
    publisher = KafkaPublisher(apache_kafka.config(topic, request_timeout=1.0), topic)
    quarantine = TopicQuarantine(publisher)
    error = DecodeError(DecodeReason.NOT_JSON, "character 0")
    quarantine.keep(Record(Partition(topic, 0), 0, b"1", 0.0), error)
    quarantine.flush()
    apache_kafka.stop()
    try:
        quarantine.keep(Record(Partition(topic, 0), 1, b"canary", 0.0), error)
        for _ in range(2):
            with pytest.raises(QuarantineError) as caught:
                quarantine.flush()
            assert "canary" not in str(caught.value)
    finally:
        apache_kafka.restart()
    quarantine.close()


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
    settings = login(apache_kafka, apache_kafka.PASSWORD, apache_kafka.authority)
    replica = start(apache_kafka.config(topic, **settings))
    turn_until(lambda: len(replica.records) == 1, replica)


def test_a_wrong_password_is_told_and_not_shown(apache_kafka: ApacheKafka, topic: str) -> None:
    settings = login(apache_kafka, "canary", apache_kafka.authority)
    with (
        capture_logs() as logs,
        pytest.raises(SourceError, match=r"Authentication failed|wrong user or password") as caught,
    ):
        KafkaSource(apache_kafka.config(topic, **settings)).start(lambda _: {})
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r} {logs}"


def test_an_unknown_authority_is_told(apache_kafka: ApacheKafka, topic: str) -> None:
    settings = login(apache_kafka, apache_kafka.PASSWORD, apache_kafka.stranger)
    with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
        KafkaSource(apache_kafka.config(topic, **settings)).start(lambda _: {})


def test_an_expired_certificate_is_told(apache_kafka: ApacheKafka, topic: str) -> None:
    tls = {"protocol": "SSL", "ca_file": apache_kafka.authority}
    there = {"bootstrap_servers": [apache_kafka.expired_address], "connect_timeout": 3.0, "security": tls}
    with pytest.raises(SourceError, match="certificate has expired"):
        KafkaSource(apache_kafka.config(topic, **there)).start(lambda _: {})


def test_a_client_certificate_opens_where_one_is_asked_for(apache_kafka: ApacheKafka, topic: str, start: Start) -> None:
    tls = {"protocol": "SSL", "ca_file": apache_kafka.authority}
    there = {"bootstrap_servers": [apache_kafka.tls_address], "connect_timeout": 3.0}
    apache_kafka.write(topic, [b"1"])
    replica = start(apache_kafka.config(topic, **there, security=tls | {"cert_file": apache_kafka.key_pair}))
    turn_until(lambda: len(replica.records) == 1, replica)
    with pytest.raises(SourceError, match=r"(?i)bad.certificate|certificate.required"):
        KafkaSource(apache_kafka.config(topic, **there, security=tls)).start(lambda _: {})


def test_tls_to_a_port_that_has_none_is_told(apache_kafka: ApacheKafka, topic: str) -> None:
    settings = {"connect_timeout": 2.0, "security": {"protocol": "SSL", "ca_file": apache_kafka.authority}}
    with pytest.raises(SourceError, match=r"\(SSL\): .*EOF"):
        KafkaSource(apache_kafka.config(topic, **settings)).start(lambda _: {})
