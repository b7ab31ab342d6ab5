"""What every implementation of `monitor.intake.source.EventSource` must do: files, and two clients on two brokers."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from monitor.intake.confluent_source import ConfluentSource
from monitor.intake.file_source import FileSource
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.kafka_source import KafkaSource
from monitor.intake.source import EventSource, Partition, Record
from tests.kit.brokers import Broker

PATIENCE = 60.0
"""Seconds after which a test gives up; it waits for records, and for no set time."""


class Log(Protocol):
    """Two partitions to write to, and sources that read them as one replica would, now and after a restart."""

    partitions: tuple[Partition, Partition]

    def write(self, number: int, values: Sequence[bytes | None]) -> None: ...

    def source(self) -> EventSource: ...


class Files:
    def __init__(self, folder: Path) -> None:
        self._paths = [folder / "first.jsonl", folder / "second.jsonl"]
        for path in self._paths:
            path.touch()
        self.partitions = (Partition(str(self._paths[0]), 0), Partition(str(self._paths[1]), 0))

    def write(self, number: int, values: Sequence[bytes | None]) -> None:
        with self._paths[number].open("ab") as file:
            file.writelines((b"null" if value is None else value) + b"\n" for value in values)

    def source(self) -> EventSource:
        return FileSource(self._paths, max_records=10)


class Topic:
    def __init__(self, broker: Broker, client: Callable[[KafkaConfig], EventSource]) -> None:
        name = f"events-{uuid.uuid4().hex}"
        broker.create_topic(name, partitions=2)
        self.partitions = (Partition(name, 0), Partition(name, 1))
        self._broker = broker
        self._client = client
        self._config = broker.config(name, max_poll_records=10)

    def write(self, number: int, values: Sequence[bytes | None]) -> None:
        self._broker.write(self.partitions[number].topic, values, partition=number)

    def source(self) -> EventSource:
        return self._client(self._config)


def brokers(client: Callable[[KafkaConfig], EventSource]) -> list[pytest.ParameterSet]:
    """A client against the embedded broker, and against Apache Kafka."""
    name = client.__name__
    return [
        pytest.param((client, "embedded_broker"), id=f"{name}-embedded"),
        pytest.param((client, "apache_kafka"), id=f"{name}-apache", marks=pytest.mark.kafka),
    ]


@pytest.fixture(params=[pytest.param(None, id="files"), *brokers(KafkaSource), *brokers(ConfluentSource)])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    if request.param is None:
        return Files(tmp_path)
    client, broker = request.param
    return Topic(request.getfixturevalue(broker), client)


@pytest.fixture
def start(log: Log) -> Iterator[Callable[..., EventSource]]:
    """Start a source of the log at positions; all are closed at the end."""
    sources: list[EventSource] = []

    def started(positions: Mapping[Partition, int] | None = None) -> EventSource:
        sources.append(log.source())
        sources[-1].start(lambda _: positions or {})
        return sources[-1]

    yield started
    for source in sources:
        source.close()


Start = Callable[..., EventSource]


def read(source: EventSource, count: int) -> list[Record]:
    """At least `count` records, as many as their last poll gave."""
    records: list[Record] = []
    deadline = time.monotonic() + PATIENCE
    while len(records) < count:
        assert time.monotonic() < deadline, f"only {len(records)} of {count} records came"
        records += source.poll(0.2)
    return records


def read_all(source: EventSource, count: int) -> list[Record]:
    """Exactly `count` records, and none after them."""
    records = read(source, count)
    assert not source.poll(0.2)
    assert len(records) == count
    return records


def of(records: Sequence[Record], partition: Partition) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in records if record.partition == partition]


def test_every_record_comes_once_and_in_the_order_of_its_partition(log: Log, start: Start) -> None:
    values = [[b'{"n":%d,"in":%d}' % (n, number) for n in range(60)] for number in (0, 1)]
    for part in range(0, 60, 20):
        for number in (0, 1):
            log.write(number, values[number][part : part + 20])
    records = read_all(start(), 120)
    for number in (0, 1):
        assert of(records, log.partitions[number]) == list(enumerate(values[number]))
    assert {type(record) for record in records} == {Record}


def test_reading_goes_on_at_the_given_positions_whatever_was_committed(log: Log, start: Start) -> None:
    first, second = log.partitions
    log.write(0, [b"%d" % n for n in range(20)])
    log.write(1, [b"%d" % n for n in range(10)])
    before = start()
    read_all(before, 30)
    before.commit({first: 20, second: 10})
    before.poll(0.2)
    before.close()
    records = read_all(start({first: 7}), 23)
    assert [offset for offset, _ in of(records, first)] == list(range(7, 20))
    assert [offset for offset, _ in of(records, second)] == list(range(10))


def test_from_start_to_end(log: Log) -> None:
    asked: list[tuple[Partition, ...]] = []

    def positions(partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        assert threading.current_thread() is threading.main_thread()
        asked.append(tuple(partitions))
        return {log.partitions[0]: 2}

    log.write(0, [b"0", b"1"])
    source = log.source()
    assert not source.ready
    assert not source.finished
    try:
        source.start(positions)
        while not source.ready:
            assert not source.poll(0.2)
        assert not source.poll(0.2)
        assert asked == [log.partitions]
        assert source.finished is isinstance(source, FileSource)
        log.write(1, [b"2"])
        if not source.finished:
            assert of(read_all(source, 1), log.partitions[1]) == [(0, b"2")]
    finally:
        source.close()


def test_a_poll_is_bounded(log: Log, start: Start) -> None:
    log.write(0, [b"x"] * 35)
    source = start()
    sizes = []
    while sum(sizes) < 35:
        sizes.append(len(source.poll(0.2)))
    assert max(sizes) == 10


def test_a_held_partition_stays_unread_and_the_other_does_not(log: Log, start: Start) -> None:
    first, second = log.partitions
    log.write(0, [b"x"] * 40)
    source = start()
    read(source, 1)
    source.hold(first)
    log.write(0, [b"x"])
    log.write(1, [b"y"] * 30)
    assert of(read_all(source, 30), second) == [(offset, b"y") for offset in range(30)]
    if not isinstance(source, FileSource):  # the rest of a held file counts as read
        assert source.lag() == {first: 31, second: 0}


def test_lag_is_what_has_not_been_read(log: Log, start: Start) -> None:
    first, second = log.partitions
    log.write(0, [b'{"n":1}'] * 40)
    source = start()
    rest = 40 - len(read(source, 1))
    assert source.lag()[first] > 0
    if not isinstance(source, FileSource):  # a file's lag is an estimate until it is 0
        assert source.lag() == {first: rest, second: 0}
    read_all(source, rest)
    assert source.lag() == {first: 0, second: 0}


def test_a_tombstone_has_no_value(log: Log, start: Start) -> None:
    log.write(0, [b"1", None, b"3"])
    assert of(read_all(start(), 3), log.partitions[0]) == [(0, b"1"), (1, None), (2, b"3")]


def test_closing_twice_and_without_a_start_is_safe(log: Log, start: Start) -> None:
    source = start()
    source.poll(0.0)
    source.close()
    source.close()
    assert not source.ready
    log.source().close()
