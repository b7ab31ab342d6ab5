"""What the contract of sources does not say about the one that reads through librdkafka."""

import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError
from pydantic import ValidationError
from structlog.testing import capture_logs

from monitor.intake.confluent_client import Trouble
from monitor.intake.confluent_source import ConfluentSource
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.kafka_source import KafkaSource
from monitor.intake.source import Partition, Record, SourceError
from monitor.service.reader import open_source
from tests.kit.brokers import Broker

PATIENCE = 60.0


def read(source: ConfluentSource, count: int) -> list[Record]:
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


def unreachable(port: int, **settings: Any) -> KafkaConfig:
    return KafkaConfig.model_validate(
        {"bootstrap_servers": [f"127.0.0.1:{port}"], "topics": ["events"], "connect_timeout": 0.5} | settings
    )


def test_the_configuration_chooses_the_client(closed_port: int) -> None:
    assert type(open_source(unreachable(closed_port))) is KafkaSource
    assert type(open_source(unreachable(closed_port, client="confluent"))) is ConfluentSource


def test_a_client_that_is_not_installed_is_a_mistake_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.intake.kafka_config.find_spec", lambda _name: None)
    with pytest.raises(ValidationError, match="not installed; it comes with the extra `fast`"):
        unreachable(1, client="confluent")
    unreachable(1, client="kafka-python")


def test_no_broker_is_one_clear_line(closed_port: int) -> None:
    source = ConfluentSource(unreachable(closed_port))
    with pytest.raises(
        SourceError, match=rf"cannot reach Kafka at 127\.0\.0\.1:{closed_port} \(PLAINTEXT\): .*refused"
    ):
        source.start(lambda _: {})
    assert source.poll(0.0) == ()
    source.close()


def test_the_password_stays_in_the_configuration(closed_port: int, caplog: pytest.LogCaptureFixture) -> None:
    login = {"sasl_mechanism": "PLAIN", "username": "tocsin", "password": {"value": "canary"}}
    config = unreachable(closed_port, security={"protocol": "SASL_PLAINTEXT"} | login)
    with capture_logs() as logs, caplog.at_level(logging.DEBUG), pytest.raises(SourceError) as caught:
        ConfluentSource(config).start(lambda _: {})
    assert "canary" not in f"{caught.value!r} {caught.value.__context__!r} {logs} {caplog.text}"


def test_a_topic_that_does_not_exist_is_named(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("fast-here")
    source = ConfluentSource(embedded_broker.config("fast-here", "fast-nowhere"))
    with pytest.raises(SourceError, match="no such topic, or no permission to read it: fast-nowhere"):
        source.start(lambda _: {})
    assert not source.ready


def test_topics_whose_keys_must_meet_have_equally_many_partitions(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("fast-labels", 2)
    embedded_broker.create_topic("fast-predictions", 3)
    topics = ("fast-labels", "fast-predictions")
    with pytest.raises(SourceError, match="fast-labels has 2, fast-predictions has 3"):
        ConfluentSource(embedded_broker.config(*topics)).start(lambda _: {})
    source = ConfluentSource(embedded_broker.config(*topics, replicas="one"))
    source.start(lambda _: {})
    source.close()


def test_latest_is_for_partitions_without_a_position_only(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("fast-late", 2)
    for partition in (0, 1):
        for value in (b"1", b"2", b"3"):
            embedded_broker.write("fast-late", [value], partition)
    source = ConfluentSource(embedded_broker.config("fast-late", start="latest"))
    source.start(lambda _: {Partition("fast-late", 0): 1})
    assert [record.value for record in read(source, 2)] == [b"2", b"3"]
    embedded_broker.write("fast-late", [b"4"], partition=1)
    assert [(record.offset, record.value) for record in read(source, 1)] == [(3, b"4")]
    source.close()


def test_a_record_has_its_headers_and_its_time_in_seconds(embedded_broker: Broker) -> None:
    embedded_broker.create_topic("fast-headed")
    headers = (("ce_type", b"prediction"), ("ce_type", b"\xff"), ("empty", b""))
    embedded_broker.write("fast-headed", [b"1"], headers=headers, timestamp_ms=1_772_421_000_123)
    source = ConfluentSource(embedded_broker.config("fast-headed"))
    source.start(lambda _: {})
    assert read(source, 1) == [Record(Partition("fast-headed", 0), 0, b"1", 1_772_421_000.123, headers)]
    source.close()


def test_a_failure_to_place_positions_is_tried_again(embedded_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded_broker.create_topic("fast-again")
    embedded_broker.write("fast-again", [b"1"])
    source = ConfluentSource(embedded_broker.config("fast-again"))
    monkeypatch.setattr("monitor.intake.confluent_source._LOOKUP", 0.000_001)
    asked: list[Sequence[Partition]] = []

    def positions(partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        asked.append(partitions)
        if len(asked) > 1:
            monkeypatch.undo()
        return {}

    source.start(positions)
    assert [record.value for record in read(source, 1)] == [b"1"]
    assert len(asked) > 1
    source.close()


def test_trouble_is_told_once_a_minute_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    trouble, now = Trouble(), [1000.0]
    monkeypatch.setattr("monitor.intake.confluent_client.time.monotonic", lambda: now[0])
    away = KafkaError(KafkaError._TRANSPORT, "connection refused")
    with capture_logs() as logs:
        for _ in range(3):
            trouble.note(away)
        trouble.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        now[0] += 61
        trouble.note(away)
    assert [(entry["error"], entry["repeated"]) for entry in logs] == [
        ("_TRANSPORT", 0),
        ("_ALL_BROKERS_DOWN", 0),
        ("_TRANSPORT", 2),
    ]
    assert trouble.last == "connection refused"


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._BAD_MSG, KafkaError._FATAL])
def test_what_does_not_pass_ends_the_reading(code: int) -> None:
    with pytest.raises(SourceError, match="Kafka: why"):
        Trouble().note(KafkaError(code, "why"))
