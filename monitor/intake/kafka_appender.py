"""Posted events into their topic: all of a batch is there in time, or whoever posted it hears that it is not."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaError

from monitor.intake.kafka_client import CLOSE_TIMEOUT, connect, milliseconds
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.source import SourceError

MAX_RECORD = 2 * 2**20
"""Bytes of one record with its headers; the decoder takes a million of the value."""


class AppendError(Exception):
    """Not all of a batch is known to be in the topic; one clear line without secrets. It may be sent again."""


class Outgoing(Protocol):
    """A record to be written."""

    @property
    def key(self) -> bytes | None:
        """What keeps records in one partition."""

    @property
    def value(self) -> bytes:
        """What it says."""

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """What is said beside it."""


class KafkaAppender:
    """Writes to one topic; connects when it is first needed. Safe to share between threads."""

    def __init__(self, config: KafkaConfig, topic: str, timeout: float) -> None:
        """`timeout` is how many seconds a batch may take."""
        # The client gives up on a record when its poster does, so that nothing piles up while Kafka is away.
        self._config = config.model_copy(update={"request_timeout": timeout / 2, "connect_timeout": timeout})
        self._topic = topic
        self._timeout = timeout
        self._producer: Any = None
        self._late: list[Any] = []
        self._lock = threading.Lock()

    def append(self, records: Sequence[Outgoing]) -> None:
        """Return when the brokers have all of these.

        Raises:
            AppendError: they do not have all of them in time; some may be there.
        """
        deadline = time.monotonic() + self._timeout
        try:
            producer = self._connected()
            sent = [
                producer.send(self._topic, record.value, key=record.key, headers=list(record.headers))
                for record in records
            ]
        except (KafkaError, SourceError) as error:
            raise AppendError(f"Kafka does not take events now ({type(error).__name__})") from error
        try:
            for future in sent:
                future.get(timeout=max(deadline - time.monotonic(), 0.0))
        except KafkaError as error:
            with self._lock:
                self._late += [future for future in sent if not future.is_done]
            raise AppendError(f"Kafka has not taken all of it in time ({type(error).__name__})") from error

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        with self._lock:
            if self._producer is not None:
                self._producer.close(timeout=CLOSE_TIMEOUT)

    def _connected(self) -> Any:  # noqa: ANN401 - untyped client
        with self._lock:
            self._late = [future for future in self._late if not future.is_done]
            if self._late:
                raise SourceError("what came before is still on its way")
            if self._producer is None:
                self._producer = self._made()
            return self._producer

    def _made(self) -> Any:  # noqa: ANN401 - untyped client
        producer = connect(
            KafkaProducer,
            self._config,
            acks="all",
            enable_idempotence=True,
            max_block_ms=milliseconds(self._timeout),
            delivery_timeout_ms=milliseconds(self._timeout),
            max_request_size=MAX_RECORD,
        )
        try:
            producer.partitions_for(self._topic)
        except KafkaError:
            with suppress(KafkaError):
                producer.close(timeout=0)
            raise
        return producer
