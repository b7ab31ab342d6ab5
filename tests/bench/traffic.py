"""Events as they come over the wire: 30 numeric features, about 870 bytes of JSON."""

import uuid
from collections.abc import Iterator

import msgspec
import numpy as np

from monitor.detection.baseline import Baseline
from monitor.detection.learning import build
from monitor.intake.events import Event, Prediction
from monitor.intake.source import Partition, Record

BEGAN = 1_700_000_000.0
LEARN = 2_000
CLASSES = ("approve", "refuse", "review")
PARTITION = Partition("bench", 0)

JSON = msgspec.json.Decoder(Event)


def events(
    count: int, *, features: int = 30, models: int = 1, sources: int = 10, seed: int = 1
) -> Iterator[Prediction]:
    """In-control predictions, one after the other; models and sources in random order."""
    random = np.random.default_rng(seed)
    names = [f"feature_{number:02d}" for number in range(features)]
    for number in range(count):
        values = random.normal(size=features).round(6).tolist()
        yield Prediction(
            event_id=str(uuid.UUID(bytes=random.bytes(16))),
            ts=round(BEGAN + number * 0.01, 3),
            model=f"model-{random.integers(models)}",
            version="3.2.1",
            features=dict(zip(names, values, strict=True)),
            prediction=CLASSES[int(random.integers(len(CLASSES)))],
            source=f"source-{random.integers(sources):04d}",
        )


def baseline(*, features: int = 30, sources: int = 10) -> Baseline:
    """What a model learns from such events; of every model the same, under the name of the first."""
    return build("model-0", list(events(LEARN, features=features, sources=sources, seed=0)), [])


def of_model(learnt: Baseline, number: int) -> Baseline:
    """The baseline of another model with the same traffic."""
    return msgspec.structs.replace(learnt, model=f"model-{number}")


def records(predictions: Iterator[Prediction], first: int = 0) -> list[Record]:
    """The same as records of a partition, from offset `first` on."""
    values = map(msgspec.json.encode, predictions)
    return [Record(PARTITION, offset, value, BEGAN) for offset, value in enumerate(values, first)]
