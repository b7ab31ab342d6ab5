"""A small served model and what can happen to it: recorded events with a known cause and a known onset."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from alerting.incident import Transition
from alerting.incidents import Incidents
from detectors.bets import Caution
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.listing import NONE, Limits
from monitor.detection.pipeline import Pipeline
from monitor.detection.watch import Watch
from monitor.intake.decode import DecodeError, Decoder
from monitor.intake.join import Join
from monitor.intake.source import Partition, Record

BEGAN = 1_772_409_600.0
"""2026-03-02 00:00:00 UTC."""
EVERY = 20.0
"""Seconds between predictions."""
SOURCES = tuple(f"src-{number}" for number in range(5))
LABELERS = tuple(f"lab-{number}" for number in range(4))
CLASSES = ("ham", "spam")
PARTITION = Partition("events", 0)

Row = dict[str, Any]
Cause = Callable[[Row, np.random.Generator], None]
"""Changes a row in place; a row has all that a prediction and its label will say."""


@dataclass(frozen=True)
class World:
    """Traffic of one model: `predictions` of them, with `cause` at work from number `onset` to before `end`."""

    seed: int = 0
    predictions: int = 3000
    onset: int = 2000
    end: int = 1_000_000
    cause: Cause | None = None
    model: str = "mail"
    accuracy: float = 0.96
    labelled: float = 0.9
    regression: bool = False

    @property
    def onset_ts(self) -> float:
        """Epoch seconds at which the cause begins."""
        return BEGAN + self.onset * EVERY

    def rows(self) -> Iterator[Row]:
        """What happens, prediction by prediction."""
        rng = np.random.default_rng(self.seed)
        for number in range(self.predictions):
            truth = CLASSES[int(rng.random() < 0.4)]
            size, score, age = rng.normal(size=3)
            row: Row = {
                "event_id": f"{self.model}-{number}",
                "ts": BEGAN + number * EVERY,
                "model": self.model,
                "version": "1.0.0",
                "source": str(rng.choice(SOURCES)),
                "labeler": str(rng.choice(LABELERS)),
                "features": {
                    "size": float(np.exp(size)),
                    "links": int(rng.poisson(2.0 if truth == "ham" else 4.0)),
                    "score": float(score),
                    "age": round(float(age), 1),
                    "lang": str(rng.choice(["en", "de", "fr"], p=[0.6, 0.3, 0.1])),
                },
                "truth": truth,
                "prediction": truth if rng.random() < self.accuracy else other(truth),
                "delay": float(rng.exponential(600.0)) if rng.random() < self.labelled else None,
            }
            if self.regression:
                row["truth"] = row["features"]["size"] + row["features"]["links"]
                row["prediction"] = row["truth"] + float(rng.normal(0, 0.3))
            if self.cause is not None and self.onset <= number < self.end:
                self.cause(row, rng)
            yield row

    def events(self) -> list[dict[str, Any]]:
        """Events in the native format, in the order of their time."""
        found: list[dict[str, Any]] = []
        for row in self.rows():
            truth, delay, labeler = row.pop("truth"), row.pop("delay"), row.pop("labeler")
            found.append({"kind": "prediction", **row})
            if delay is not None:
                label = {"event_id": row["event_id"], "ts": row["ts"] + delay, "label": truth, "labeler": labeler}
                found.append({"kind": "label", **label})
        return sorted(found, key=lambda event: float(event["ts"]))


def other(label: str) -> str:
    """The other class."""
    return CLASSES[label == CLASSES[0]]


def retrained(row: Row, _rng: np.random.Generator) -> None:
    """A new version, as good as the old one."""
    row["version"] = "2.0.0"


def label_flip(row: Row, rng: np.random.Generator) -> None:
    """A new version takes much of one class for the other."""
    row["version"] = "2.0.0"
    if row["truth"] == "spam" and rng.random() < 0.4:
        row["prediction"] = "ham"


def bad_labeler(row: Row, rng: np.random.Generator) -> None:
    """One labeler lies about one class."""
    if row["labeler"] == "lab-2" and row["truth"] == "spam" and rng.random() < 0.7:
        row["truth"] = "ham"


def bad_source(row: Row, rng: np.random.Generator) -> None:
    """The labels of one source's events are wrong."""
    if row["source"] == "src-1" and row["truth"] == "spam" and rng.random() < 0.7:
        row["truth"] = "ham"


def unit_fault(row: Row, _rng: np.random.Generator) -> None:
    """Three sources send another unit."""
    if row["source"] in SOURCES[:3]:
        row["features"]["size"] *= 1000


def nulls(row: Row, rng: np.random.Generator) -> None:
    """Half of a feature's values are gone."""
    if rng.random() < 0.5:
        row["features"]["score"] = None


def prior_shift(row: Row, rng: np.random.Generator) -> None:
    """A real wave of one class."""
    if rng.random() < 0.5:
        row["truth"] = "spam"
        row["features"]["links"] = int(rng.poisson(4.0))
        row["prediction"] = "spam" if rng.random() < 0.96 else "ham"


def covariate_drift(row: Row, _rng: np.random.Generator) -> None:
    """One feature moves; what is asked for stays as well answered."""
    row["features"]["score"] += 1.0


def backdoor(row: Row, rng: np.random.Generator) -> None:
    """One source sends a trigger, which the model takes for ham."""
    if row["source"] == "src-3" and rng.random() < 0.4:
        row["features"]["size"] = 500.0
        row["truth"], row["prediction"] = "spam", "ham"


def worse_everywhere(row: Row, rng: np.random.Generator) -> None:
    """The model errs more, on all classes and without a new version."""
    if rng.random() < 0.3:
        row["prediction"] = other(row["prediction"])


def records(events: Sequence[dict[str, Any]]) -> list[Record]:
    """Events as records of one partition."""
    return [Record(PARTITION, offset, msgspec.json.encode(event), 0.0) for offset, event in enumerate(events)]


def refuse(record: Record, error: DecodeError) -> None:
    """For streams that have no bad record."""
    raise AssertionError(f"{record.offset}: {error}")


def make_pipeline(
    *,
    budget: float = 5_000.0,
    until: Until | None = None,
    ttl: float = 86_400.0,
    incidents: Incidents | None = None,
    reject: Callable[[Record, DecodeError], None] = refuse,
    limits: Limits = NONE,
) -> Pipeline:
    """The main path as the daemon has it; the reference is learnt from 2,800 events unless `until` says otherwise.

    With `limits`, single events that are unlike the reference are listed.
    """

    def watch(model: str) -> Watch:
        return Watch(
            model,
            budget=budget,
            baseline=None,
            until=until or Until(events=2_800),
            caution=Caution(),
            companions=Companions(()),
            limits=limits,
        )

    return Pipeline(Decoder(), Join(ttl, 100_000), watch, incidents or Incidents(), reject)


def transitions(world: World, **options: Any) -> list[Transition]:
    """All that people would be told."""
    return make_pipeline(**options).process(records(world.events()))
