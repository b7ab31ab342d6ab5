"""The demo's model server: serves the version that the registry alias points to, and tells Kafka what it predicted.

    POST /predict  {"source": "clinic-1", "instances": [{"mean radius": 14.1, ...}, ...]}
                   -> {"version": "1", "predictions": [{"event_id": "...", "prediction": "benign"}, ...]}
    GET  /version  -> {"model": "...", "version": "1", "lost": 0}, or 503 before the first version is loaded

It looks at the alias every second, loads a new version beside the old one and then swaps; if a version cannot be
loaded, the old one stays in service.
"""

import argparse
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import httpx
import msgspec
import numpy as np
import uvicorn
from sklearn.pipeline import Pipeline
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.demo import dataset
from monitor.demo.broker import EventWriter, create_topic
from monitor.demo.registry import DigestError, Registry
from monitor.intake.events import Prediction

_log = logging.getLogger("model_server")

ALIAS_INTERVAL = 1.0
"""Seconds between two looks at the registry alias."""


class Query(msgspec.Struct, frozen=True):
    """The body of a request for predictions."""

    source: str
    instances: list[dict[str, float]]


class Served(NamedTuple):
    """A version in service: swapped as a whole, so that no request sees one half of each."""

    number: str
    model: Pipeline


class Follower:
    """Keeps the served version in step with the registry alias."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alias", daemon=True)
        self.served: Served | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        trouble = ""
        while not self._ended.wait(ALIAS_INTERVAL if self.served else ALIAS_INTERVAL / 4):
            before = trouble
            try:
                self.step()
                trouble = ""
            except httpx.HTTPStatusError as error:
                trouble = f"the registry answers {error.response.status_code}"
            except httpx.TransportError as error:
                trouble = f"the registry does not answer: {error}"
            except DigestError as error:
                trouble = f"{error}; the version in service stays"
            if trouble and trouble != before:
                _log.warning("%s", trouble)

    def step(self) -> None:
        """Look at the alias once, and load what it points to if that is not in service."""
        version = self._registry.serving()
        if self.served is None or self.served.number != version.number:
            self.served = Served(version.number, dataset.restore(self._registry.artefact(version)))
            _log.info("serving version %s", version.number)


def predict(served: Served, model: str, query: Query, names: Sequence[str]) -> list[Prediction]:
    """Ask the model about each instance and return the events that say what it answered.

    Raises:
        ValueError: An instance does not have exactly the model's features.
    """
    expected = set(names)
    for index, instance in enumerate(query.instances):
        if set(instance) != expected:
            raise ValueError(f"instances[{index}]: needs exactly the model's {len(names)} features")
    rows = np.array([[instance[name] for name in names] for instance in query.instances])
    chances = served.model.predict_proba(rows)
    classes = [str(name) for name in served.model.classes_]
    return [
        Prediction(
            event_id=uuid.uuid4().hex,
            ts=time.time(),
            model=model,
            version=served.number,
            features=dict(instance),
            prediction=classes[int(np.argmax(row))],
            source=query.source,
            proba=dict(zip(classes, map(float, row), strict=True)),
        )
        for instance, row in zip(query.instances, chances, strict=True)
    ]


def application(follower: Follower, writer: EventWriter, model: str) -> Starlette:
    """Return the HTTP application."""
    names = dataset.load().names
    decoder = msgspec.json.Decoder(Query)

    async def answer(request: Request) -> Response:
        served = follower.served
        if served is None:
            return JSONResponse({"error": "no version is loaded yet"}, 503)
        try:
            query = decoder.decode(await request.body())
            events = predict(served, model, query, names) if query.instances else []
        except (msgspec.MsgspecError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        for event in events:
            writer.write(event)
        told = [{"event_id": event.event_id, "prediction": event.prediction} for event in events]
        return JSONResponse({"version": served.number, "predictions": told})

    async def version(_: Request) -> Response:
        served = follower.served
        if served is None:
            return JSONResponse({"error": "no version is loaded yet"}, 503)
        return JSONResponse({"model": model, "version": served.number, "lost": writer.lost})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        follower.start()
        yield
        follower.stop()
        writer.close()

    routes = [Route("/predict", answer, methods=["POST"]), Route("/version", version)]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True, help="port of 127.0.0.1 to serve on")
    parser.add_argument("--model", required=True, help="the registered model to serve")
    parser.add_argument("--registry", required=True, help="URL of the MLflow server")
    parser.add_argument("--kafka", required=True, help="host:port of the broker")
    parser.add_argument("--topic", required=True, help="topic for prediction events")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for chatty in ("httpx", "kafka"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with httpx.Client(timeout=5.0) as client:
        follower = Follower(Registry(client, given.registry, given.model))
        create_topic(given.kafka, given.topic)
        writer = EventWriter(given.kafka, given.topic, given.model)
        app = application(follower, writer, given.model)
        uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
