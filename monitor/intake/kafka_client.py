"""Connections to Kafka, and what the client library says in its log about them: quiet, but not lost.

While a broker is away the client logs several lines at every attempt to reconnect, and the reason why a connection
failed stands only there: the exception that a caller gets says no more than "unable to bootstrap".
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from kafka import KafkaConsumer
from kafka.errors import KafkaError, KafkaTimeoutError

from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.source import SourceError

log = structlog.get_logger(__name__)

CLOSE_TIMEOUT = 5.0
"""Seconds that closing a client may take."""

_CLIENT = "kafka"
"""The logger that all loggers of the client descend from."""


def connect(make: Callable[..., Any], config: KafkaConfig, **settings: object) -> Any:  # noqa: ANN401 - untyped client
    """Make a connected client, or raise SourceError with the reason and leave nothing behind."""
    _calm()
    engines: list[Any] = []

    def engine(**configs: object) -> Any:  # noqa: ANN401 - untyped client
        # A client that fails to connect drops its engine, but the engine's thread would go on for ever.
        engines.append(KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**configs))
        return engines[-1]

    with _reasons() as reasons:
        try:
            return make(kafka_client=engine, **_settings(config), **settings)
        except (KafkaError, OSError) as error:
            for failed in engines:
                failed.close()
            servers = ", ".join(config.bootstrap_servers)
            why = reasons.told(login=config.security.authenticated) if isinstance(error, KafkaTimeoutError) else error
            raise SourceError(f"cannot reach Kafka at {servers} ({config.security.protocol}): {why}") from error


def remind(consumer: Any) -> None:  # noqa: ANN401 - untyped client
    """Have the consumer's next poll do what kafka-python 3.0.12 forgets about its group.

    It looks for the answer to a join only while it wishes to join; and a leader that joins anew because topics have
    changed no longer wishes to once it has assigned the partitions. If the poll ends then, it would be a member that
    reads nothing. And a member whose name somebody else has taken hears so from a heartbeat, sends no more of them, and
    would read on; when it joins anew, the broker says it aloud.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 - there is no public way to ask
    unanswered = coordinator.rejoining and not coordinator.need_rejoin()
    displaced = coordinator.stable() and not (coordinator.rejoining or coordinator._heartbeat_enabled)  # noqa: SLF001
    if unanswered or displaced:
        coordinator.request_rejoin()


def _settings(config: KafkaConfig) -> dict[str, object]:
    """What a consumer and a producer have in common. Raises OSError if a file of the configuration is gone or wrong."""
    security = config.security
    settings = {
        "bootstrap_servers": list(config.bootstrap_servers),
        "client_id": "tocsin",
        "security_protocol": security.protocol,
        "allow_auto_create_topics": False,
        "bootstrap_timeout_ms": milliseconds(config.connect_timeout),
        "request_timeout_ms": milliseconds(config.request_timeout),
        # Half a minute, the client's default, is long to be blind after the broker has come back.
        "reconnect_backoff_max_ms": 3_000,
        "metrics_enabled": False,
    }
    if security.encrypted:
        settings["ssl_context"] = security.tls()
    if security.authenticated and security.password is not None:
        settings["sasl_mechanism"] = security.sasl_mechanism
        settings["sasl_plain_username"] = security.username
        settings["sasl_plain_password"] = security.password.reveal()
    return settings


def milliseconds(seconds: float) -> int:
    """The unit of the client."""
    return round(seconds * 1000)


class _Calm(logging.Handler):
    """Passes on each line of the client's source code at most once in `interval` seconds, with a count of the rest."""

    def __init__(self, interval: float = 60.0) -> None:
        super().__init__(logging.WARNING)
        self._interval = interval
        self._said: dict[tuple[str, int], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on the record, or count it."""
        place = (record.name, record.lineno)
        now = time.monotonic()
        last, unsaid = self._said.get(place, (-self._interval, 0))
        if now - last < self._interval:
            self._said[place] = (last, unsaid + 1)
            return
        self._said[place] = (now, 0)
        said = {"said": record.getMessage(), "client_logger": record.name, "repeated": unsaid}
        log.log(record.levelno, "the Kafka client says", exc_info=record.exc_info, **said)


class _Reasons(logging.Handler):
    """Collects the errors that the client logs, to tell why a connection failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._errors: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note the exceptions among the arguments of a log line."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        for error in arguments:
            if isinstance(error, Exception):
                self._errors[" ".join(str(error).split())] = None

    def told(self, *, login: bool) -> str:
        """The reasons in one line. `login`: whether the client names itself to the broker with a password."""
        # A broker that refuses a connection often just hangs up when it is tried again: that says least.
        hung_up = {text for text in self._errors if "disconnected" in text or "reset by peer" in text}
        telling = [text for text in self._errors if text not in hung_up and "bootstrap" not in text]
        if telling:
            return "; ".join(telling[-2:])
        if login and hung_up:
            # The refusal and the hanging up arrive together, and the client drops what it reads with an end of file.
            return "the broker hung up during the login: wrong user or password?"
        return next(reversed(self._errors), "no answer")


_calming = threading.Lock()


def _calm() -> None:
    """Calm the client's loggers down, once for the process."""
    client = logging.getLogger(_CLIENT)
    with _calming:
        if not any(isinstance(handler, _Calm) for handler in client.handlers):
            client.addHandler(_Calm())
            client.propagate = False


@contextmanager
def _reasons() -> Iterator[_Reasons]:
    """Collect what goes wrong inside the block, instead of passing it on: whoever fails tells the reasons in one line.

    Concurrent blocks see each other's reasons.
    """
    client = logging.getLogger(_CLIENT)
    collected = _Reasons()
    passing = [handler for handler in client.handlers if isinstance(handler, _Calm)]
    client.addHandler(collected)
    for handler in passing:
        client.removeHandler(handler)
    try:
        yield collected
    finally:
        client.removeHandler(collected)
        for handler in passing:
            client.addHandler(handler)
