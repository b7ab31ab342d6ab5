"""A whole topic, from its beginning to where it ends now, for commands that look through it."""

from collections.abc import Iterator
from contextlib import closing

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from monitor.intake.kafka_client import connect
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.source import SourceError

POLL = 500
"""Milliseconds that one poll waits."""
STILL = 60
"""Polls without a record after which the broker is taken to be stuck."""


def values(config: KafkaConfig, topic: str) -> Iterator[bytes]:
    """The values of all records, partition by partition in their order; tombstones are left out.

    Raises:
        SourceError: the topic, or Kafka, cannot be read.
    """
    with closing(connect(KafkaConsumer, config, enable_auto_commit=False, group_id=None)) as consumer:
        try:
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise SourceError(f"there is no topic {topic}, or no permission to read it", passing=False)
            partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
            ends = consumer.end_offsets(partitions)
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            still = 0
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                found = consumer.poll(timeout_ms=POLL)
                still = 0 if found else still + 1
                if still > STILL:
                    raise SourceError(f"topic {topic}: no records come, though there are more")
                yield from (
                    record.value for records in found.values() for record in records if record.value is not None
                )
        except KafkaError as error:
            raise SourceError(f"topic {topic}: {error}") from error
