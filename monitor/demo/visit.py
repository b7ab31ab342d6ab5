"""The demo's ML team and its clinics, for parts that somebody else has started; `compose.yaml` does.

Registers a sound version, promotes it and asks for predictions without end. After a while it retrains on flipped labels
and promotes the result, as `tocsin demo` does; what happens then is up to Tocsin.
"""

import argparse
import logging
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import FrameType

import httpx

from monitor.demo import dataset
from monitor.demo.broker import EventWriter
from monitor.demo.dataset import Trained
from monitor.demo.registry import Registry
from monitor.demo.traffic import Traffic

_log = logging.getLogger("visit")


def visit(
    registry: Registry, traffic: Traffic, served: Callable[[], bool], stop: threading.Event, *, poison_after: float
) -> None:
    """Play until asked to stop.

    Args:
        registry: where the versions go.
        traffic: what asks for predictions, not yet started.
        served: whether the model server answers.
        stop: set from outside.
        poison_after: seconds of sound traffic before the poisoned version is promoted.

    Raises:
        PartError: the model server stopped answering, or labels cannot be published.
        httpx.HTTPError: the registry is away, or refuses.
    """
    data = dataset.load()
    registry.create()
    sound = _register(registry, dataset.train(data.training, data.training_labels))
    registry.mark_known_good(sound, datetime.now(UTC))
    registry.promote(sound)
    _log.info("version %s is sound, and promoted", sound)
    while not served() and not stop.wait(1.0):
        pass
    traffic.start()
    _rest(traffic, stop, poison_after)
    if not stop.is_set():
        poisoned = _register(registry, dataset.train(data.training, dataset.poison(data)))
        registry.promote(poisoned)
        _log.info("version %s is poisoned, and promoted", poisoned)
    _rest(traffic, stop, float("inf"))
    traffic.stop()


def _register(registry: Registry, trained: Trained) -> str:
    return registry.register(dataset.dump(trained.model), "model.skops", {"accuracy": trained.check})


def _rest(traffic: Traffic, stop: threading.Event, seconds: float) -> None:
    """Let the traffic flow for a while, and see that it does."""
    while seconds > 0 and not stop.wait(min(seconds, 1.0)):
        traffic.check()
        seconds -= 1.0


def main() -> None:
    """Play until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True, help="the registered model")
    parser.add_argument("--registry", required=True, help="URL of the MLflow server")
    parser.add_argument("--server", required=True, help="URL of the model server")
    parser.add_argument("--kafka", required=True, help="host:port of the broker")
    parser.add_argument("--topic", required=True, help="topic for labels")
    parser.add_argument("--rate", type=float, default=50.0, help="predictions a second")
    parser.add_argument("--poison-after", type=float, default=300.0, help="seconds until the poisoned version comes")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for chatty in ("httpx", "kafka"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    with httpx.Client(timeout=10.0) as client:
        writer = partial(EventWriter, given.kafka, given.topic, given.model)
        traffic = Traffic(client, given.server, writer, dataset.load(), rate=given.rate)

        def served() -> bool:
            try:
                return client.get(f"{given.server}/version").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        registry = Registry(client, given.registry, given.model)
        visit(registry, traffic, served, stop, poison_after=given.poison_after)


if __name__ == "__main__":
    main()
