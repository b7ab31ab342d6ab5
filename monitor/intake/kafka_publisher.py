"""Records into a Kafka topic: the quarantine's way out."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from monitor.intake.kafka_client import CLOSE_TIMEOUT, connect, milliseconds
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.quarantine import QuarantineError
from monitor.intake.source import SourceError


class KafkaPublisher:
    """Writes to one topic, which must exist; see `monitor.intake.quarantine.Publisher`.

    Raises:
        SourceError: no broker answers, or the topic does not exist.
    """

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._topic = topic
        self._timeout = config.request_timeout
        self._unsure: deque[Any] = deque()
        self._producer = connect(
            KafkaProducer,
            config,
            acks="all",
            enable_idempotence=True,
            max_block_ms=milliseconds(config.connect_timeout),
            delivery_timeout_ms=milliseconds(2 * config.request_timeout),
            max_request_size=4 * 2**20,
        )
        try:
            self._producer.partitions_for(topic)
        except KafkaError as error:
            self._producer.close(timeout=0)
            raise SourceError(f"no such topic, or no permission to write to it: {topic} ({error})") from error

    def publish(self, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        """Hand one record to the client, which sends it in the background."""
        try:
            self._unsure.append(self._producer.send(self._topic, value, headers=list(headers)))
        except KafkaError as error:
            raise QuarantineError(f"topic {self._topic}: {error}") from error

    def flush(self) -> None:
        """Return when the brokers have every record handed over so far."""
        try:
            while self._unsure:
                self._unsure[0].get(timeout=2 * self._timeout)
                self._unsure.popleft()  # a failed one stays: what was behind it must never count as safe
        except KafkaError as error:
            raise QuarantineError(f"topic {self._topic}: {error}") from error

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        self._producer.close(timeout=CLOSE_TIMEOUT)
