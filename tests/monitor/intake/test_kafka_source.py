"""The Kafka source on an embedded broker: what it refuses, what it survives, and what it says about it."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError
from structlog.testing import capture_logs

from monitor.intake.decode import DecodeError, DecodeReason
from monitor.intake.kafka_client import _Calm, _Reasons
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.kafka_publisher import KafkaPublisher
from monitor.intake.kafka_source import KafkaSource
from monitor.intake.quarantine import TopicQuarantine
from monitor.intake.source import Partition, Record, SourceError
from tests.kit.brokers import Broker

pytestmark = [
    pytest.mark.usefixtures("no_forgotten_sockets"),
    pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"),
]

PATIENCE = 60.0


def read(source: KafkaSource, count: int) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + PATIENCE
    while len(records) < count:
        assert time.monotonic() < deadline, f"only {len(records)} of {count} records came"
        records += source.poll(0.1)
    return records


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def curt_port() -> Iterator[int]:
    """A port that takes connections and hangs up at the first word."""

    def hang_up() -> None:
        while True:
            try:
                connection, _ = curt.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)

    with socket.create_server(("127.0.0.1", 0)) as curt:
        thread = threading.Thread(target=hang_up)
        thread.start()
        yield curt.getsockname()[1]
        curt.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        yield mute.getsockname()[1]


def unreachable(port: int, **settings: Any) -> KafkaConfig:
    server = f"127.0.0.1:{port}"
    return KafkaConfig.model_validate(
        {"bootstrap_servers": [server], "topics": ["events"], "connect_timeout": 0.5} | settings
    )


def test_no_broker_is_one_clear_line_and_leaves_no_thread(closed_port: int) -> None:
    before = threading.active_count()
    source = KafkaSource(unreachable(closed_port))
    with pytest.raises(SourceError) as caught:
        source.start(lambda _: {})
    assert str(caught.value) == (
        f"cannot reach Kafka at 127.0.0.1:{closed_port} (PLAINTEXT): KafkaConnectionError: 111 ECONNREFUSED"
    )
    source.close()
    deadline = time.monotonic() + PATIENCE
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_that_is_no_broker_is_no_broker(mute_port: int) -> None:
    source = KafkaSource(unreachable(mute_port))
    with pytest.raises(SourceError, match="cannot reach Kafka at"):
        source.start(lambda _: {})


def test_the_password_stays_in_the_configuration(closed_port: int) -> None:
    login = {"sasl_mechanism": "PLAIN", "username": "tocsin", "password": {"value": "canary"}}
    config = unreachable(closed_port, security={"protocol": "SASL_PLAINTEXT"} | login)
    with capture_logs() as logs, pytest.raises(SourceError) as caught:
        KafkaSource(config).start(lambda _: {})
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r} {logs}"


def test_a_topic_that_does_not_exist_is_named(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("named-here")
    source = KafkaSource(embedded_broker.config("named-here", "named-nowhere"))
    with pytest.raises(SourceError, match="no such topic, or no permission to read it: named-nowhere"):
        source.start(lambda _: {})
    assert not source.ready


def test_topics_whose_keys_must_meet_have_equally_many_partitions(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("unequal-labels", 2)
    embedded_broker.create_topic("unequal-predictions", 3)
    topics = ("unequal-labels", "unequal-predictions")
    with pytest.raises(SourceError, match="unequal-labels has 2, unequal-predictions has 3"):
        KafkaSource(embedded_broker.config(*topics)).start(lambda _: {})
    source = KafkaSource(embedded_broker.config(*topics, replicas="one"))
    source.start(lambda _: {})
    source.close()


def test_latest_is_for_partitions_without_a_position_only(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("late", 2)
    for partition in (0, 1):
        for value in (b"1", b"2", b"3"):
            embedded_broker.write("late", [value], partition)
    source = KafkaSource(embedded_broker.config("late", start="latest"))
    source.start(lambda _: {Partition("late", 0): 1})
    assert [record.value for record in read(source, 2)] == [b"2", b"3"]
    embedded_broker.write("late", [b"4"], partition=1)
    assert read(source, 1) == [Record(Partition("late", 1), 3, b"4", pytest.approx(time.time(), abs=60))]
    source.close()


def test_a_record_has_its_headers_and_its_time_in_seconds(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("headed")
    headers = (("ce_type", b"prediction"), ("ce_type", b"\xff"), ("empty", b""))
    embedded_broker.write("headed", [b"1"], headers=headers, timestamp_ms=1_772_421_000_123)
    source = KafkaSource(embedded_broker.config("headed"))
    source.start(lambda _: {})
    assert read(source, 1) == [Record(Partition("headed", 0), 0, b"1", 1_772_421_000.123, headers)]
    source.close()


def test_lag_tools_see_what_is_committed_for_partitions_of_this_replica(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("committed")
    embedded_broker.write("committed", [b"1", b"2"])
    config = embedded_broker.config("committed")
    source = KafkaSource(config)
    source.commit({Partition("committed", 0): 1})  # before the start it belongs to nobody
    source.start(lambda _: {})
    read(source, 2)
    source.commit({Partition("committed", 0): 2, Partition("committed", 7): 9})
    source.commit({})
    admin = KafkaAdminClient(bootstrap_servers=embedded_broker.address)
    deadline = time.monotonic() + PATIENCE
    while not (offsets := admin.list_group_offsets([config.group_id])[config.group_id]):
        assert time.monotonic() < deadline
        source.poll(0.05)
    admin.close()
    source.close()
    assert {(target.topic, target.partition): state.offset for target, state in offsets.items()} == {
        ("committed", 0): 2
    }


def test_quarantined_records_arrive_with_bytes_and_headers(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("bad")
    quarantine = TopicQuarantine(KafkaPublisher(embedded_broker.config("events"), "bad"))
    huge = b"x" * 1_100_000
    for offset, value in enumerate([b"\xff\x00", b"", None, huge]):
        record = Record(Partition("events", 3), offset, value, 0.0, (("trace", b"7"),))
        quarantine.keep(record, DecodeError(DecodeReason.NOT_JSON, "character 0"))
    quarantine.flush()
    source = KafkaSource(embedded_broker.config("bad"))
    source.start(lambda _: {})
    records = read(source, 4)
    source.close()
    quarantine.close()
    quarantine.close()
    assert [record.value for record in records] == [b"\xff\x00", b"", b"", huge[:1_000_000]]
    assert dict(records[0].headers) == {
        "trace": b"7",
        "tocsin-reason": b"not_json",
        "tocsin-detail": b"character 0",
        "tocsin-topic": b"events",
        "tocsin-partition": b"3",
        "tocsin-offset": b"0",
    }
    assert dict(records[3].headers)["tocsin-truncated"] == b"1100000"


class Troubled:
    """A consumer whose polls go as told; for failures that no broker gives on request."""

    def __init__(self, *outcomes: Exception | dict[Any, Any]) -> None:
        self.outcomes = list(outcomes)
        self._coordinator = self
        self.rejoining = False
        self.stable = lambda: False

    def poll(self, timeout_ms: int) -> dict[Any, Any]:
        assert timeout_ms == 10
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_passing_errors_are_waited_out_and_lasting_ones_are_not(closed_port: int) -> None:
    source = KafkaSource(unreachable(closed_port))
    source._consumer = Troubled(
        KafkaTimeoutError("away"), KafkaTimeoutError("away"), {}, TopicAuthorizationFailedError({"events"})
    )
    with capture_logs() as logs:
        assert [source.poll(0.01) for _ in range(3)] == [(), (), []]
    assert [(entry["log_level"], entry["error"]) for entry in logs] == [("warning", "KafkaTimeoutError: away")] * 2
    with pytest.raises(SourceError, match=r"Kafka: .*TopicAuthorizationFailedError.*events"):
        source.poll(0.01)


def test_the_client_repeats_itself_once_a_minute_at_most_and_says_how_often() -> None:
    calm = _Calm(interval=60.0)
    lost = logging.LogRecord("kafka.net", logging.ERROR, "manager.py", 10, "connection %d lost", (5,), None)
    other = logging.LogRecord("kafka.net", logging.WARNING, "manager.py", 11, "something else", None, None)
    with capture_logs() as logs:
        for _ in range(4):
            calm.handle(lost)
        calm.handle(other)
        calm._said = {place: (last - 61, unsaid) for place, (last, unsaid) in calm._said.items()}
        calm.handle(lost)
    assert [(entry["log_level"], entry["said"], entry["repeated"]) for entry in logs] == [
        ("error", "connection 5 lost", 0),
        ("warning", "something else", 0),
        ("error", "connection 5 lost", 3),
    ]


def test_a_broker_that_hangs_up_on_a_login_is_told_as_such(curt_port: int) -> None:
    login = {"protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "username": "u", "password": {"value": "canary"}}
    with pytest.raises(SourceError, match="wrong user or password") as caught:
        KafkaSource(unreachable(curt_port, security=login)).start(lambda _: {})
    assert "canary" not in repr(caught.value)


def test_the_telling_reason_wins_over_a_connection_that_was_hung_up() -> None:
    reasons, client = _Reasons(), logging.getLogger("kafka.test")
    client.addHandler(reasons)
    try:
        assert reasons.told(login=False) == "no answer"
        client.error("lost: %s", OSError("socket disconnected"))
        assert reasons.told(login=False) == "socket disconnected"
        client.error("lost: %s", PermissionError("invalid\ncredentials"))
        client.error("lost: %s (%d)", OSError("socket disconnected"), 5)
        assert reasons.told(login=False) == "invalid credentials"
    finally:
        client.removeHandler(reasons)
