"""Posted events into a topic of an embedded broker: in order, in time, or not."""

import socket
import uuid
from contextlib import closing

import pytest

from monitor.intake.decode import Decoder
from monitor.intake.kafka_appender import AppendError, KafkaAppender
from monitor.intake.kafka_source import KafkaSource
from monitor.intake.posted import JSON, posted
from tests.kit.brokers import Broker, or_skip, running_embedded_broker

pytestmark = [
    pytest.mark.usefixtures("no_forgotten_sockets"),
    pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"),
]

NOW = 1_772_500_000.0


def events(count: int) -> bytes:
    text = '{"kind":"label","event_id":"e%d","ts":1772500000,"label":"ham","model":"mail-%d"}'
    return ("[" + ",".join(text % (number, number % 2) for number in range(count)) + "]").encode()


def test_a_batch_is_there_when_it_returns_in_order_for_each_model(embedded_broker: Broker) -> None:
    topic = f"posted-{uuid.uuid4().hex}"
    embedded_broker.create_topic(topic, partitions=2)
    config = embedded_broker.config(topic)
    with closing(KafkaAppender(config, topic, 20.0)) as appender:
        appender.append(posted(JSON, events(40), topic, NOW))
    source = KafkaSource(config)
    source.start(lambda _: {})
    found = [*source.poll(0.5)]
    while len(found) < 40:
        found += source.poll(0.5)
    source.close()
    for model in ("mail-0", "mail-1"):
        own = [
            (record.partition, Decoder().decode(record)) for record in found if model.encode() in (record.value or b"")
        ]
        assert len({partition for partition, _ in own}) == 1
        assert [int(event.event_id[1:]) for _, event in own] == sorted(int(event.event_id[1:]) for _, event in own)


def test_a_broker_that_is_away_is_said_in_time(embedded_broker: Broker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        config = embedded_broker.config("t").model_copy(update={"bootstrap_servers": (nobody,)})
        with closing(KafkaAppender(config, "t", 1.0)) as appender:
            for _ in range(2):
                with pytest.raises(AppendError, match=r"^Kafka does not take events now \(SourceError\)$"):
                    appender.append(posted(JSON, events(1), "t", NOW))


def test_a_broker_that_goes_away_is_said_and_nothing_piles_up() -> None:
    with or_skip(running_embedded_broker()) as broker:
        broker.create_topic("t")
        appender = KafkaAppender(broker.config("t"), "t", 2.0)
        appender.append(posted(JSON, events(1), "t", NOW))
    with closing(appender):
        batch = posted(JSON, events(10), "t", NOW)
        for _ in range(3):
            with pytest.raises(AppendError):
                appender.append(batch)
            assert len(appender._late) <= len(batch)
