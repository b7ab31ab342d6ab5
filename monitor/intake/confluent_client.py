"""What librdkafka is told, and what it says: quiet, but not lost."""

import logging
import time

import structlog
from confluent_kafka import KafkaError

from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.source import SourceError

log = structlog.get_logger(__name__)

_QUIET = 60.0
"""Seconds between two log lines about the same kind of trouble."""

_ALL_AWAY = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - the client's public names for its own errors begin so
_LASTING = {
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.INVALID_SESSION_TIMEOUT,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._FATAL,  # noqa: SLF001 - see above
    # What the client cannot unpack it goes past: records would be lost without a word.
    KafkaError._BAD_COMPRESSION,  # noqa: SLF001 - see above
    KafkaError._BAD_MSG,  # noqa: SLF001 - see above
    KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001 - see above
}


class Trouble:
    """What the client complains about: into the log, one line of each kind a minute at most; or the end."""

    def __init__(self) -> None:
        self.last = ""
        """The last complaint that says more than that all brokers are away."""
        self._said: dict[int, tuple[float, int]] = {}

    def note(self, error: KafkaError) -> None:
        """Write a line, or count it. Raises SourceError if reading cannot go on."""
        code, now = error.code(), time.monotonic()
        if code != _ALL_AWAY:
            self.last = error.str()
        if error.fatal() or code in _LASTING:
            raise SourceError(f"Kafka: {error.str()}")
        since, unsaid = self._said.get(code, (now - _QUIET, 0))
        if now - since < _QUIET:
            self._said[code] = (since, unsaid + 1)
            return
        self._said[code] = (now, 0)
        log.warning("the Kafka client says", said=error.str(), error=error.name(), repeated=unsaid)


def settings(config: KafkaConfig) -> dict[str, object]:
    """The configuration of a consumer, in the names of librdkafka."""
    security = config.security
    chosen: dict[str, object] = {
        "bootstrap.servers": ",".join(config.bootstrap_servers),
        "client.id": "tocsin",
        "group.id": config.group_id,
        "partition.assignment.strategy": "range",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "enable.partition.eof": True,
        "allow.auto.create.topics": False,
        "session.timeout.ms": round(1000 * config.session_timeout),
        "heartbeat.interval.ms": round(1000 * config.heartbeat_interval),
        "max.poll.interval.ms": round(1000 * config.max_poll_interval),
        "socket.timeout.ms": round(1000 * config.request_timeout),
        "reconnect.backoff.max.ms": 3_000,
        # `error_cb` is told the same as the log, where it would be several lines at every attempt to reconnect.
        "log_level": 0,
        "logger": logging.getLogger("kafka.librdkafka"),
        "security.protocol": security.protocol,
    }
    optional = {
        "group.instance.id": config.group_instance_id,
        "ssl.ca.location": security.ca_file,
        "ssl.certificate.location": security.cert_file,
        "ssl.key.location": security.key_file or security.cert_file,
        "sasl.mechanism": security.sasl_mechanism,
        "sasl.username": security.username,
        "sasl.password": security.password and security.password.reveal(),
    }
    return chosen | {name: str(value) for name, value in optional.items() if value is not None}
