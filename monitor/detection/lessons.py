"""Lessons: a reference that is learnt from the stream; which events belong to it, and where it ends."""

from collections.abc import Iterable

import msgspec

from monitor.detection.baseline import Baseline
from monitor.detection.learning import MIN_PREDICTIONS, build
from monitor.intake.events import Features, Prediction
from monitor.intake.join import Joined

MAX_REFERENCE = 200_000
"""Events that a reference learnt from the stream can have; then it ends, wherever it was to end."""


class Until(msgspec.Struct, frozen=True):
    """Where the reference ends, if it is learnt from the stream: exactly one of the two is set."""

    events: int | None = None
    """After this many predictions and joined labels of the model."""
    ts: float | None = None
    """At the first event at or after this, epoch seconds."""


class Lesson(msgspec.Struct, array_like=True):
    """Reference events taken in between two commits."""

    predictions: list[Prediction]
    labels: list[Joined]


class Lessons:
    """The reference of one model, until there is a baseline."""

    def __init__(self, until: Until) -> None:
        self._until = until
        self._predictions: list[Prediction] = []
        self._labels: list[Joined] = []
        self._new = Lesson([], [])

    def __len__(self) -> int:
        return len(self._predictions) + len(self._labels)

    def take(self, event: Prediction | Features | Joined) -> None:
        """Take in an event; features alone teach nothing."""
        if isinstance(event, Prediction):
            self._predictions.append(event)
            self._new.predictions.append(event)
        elif isinstance(event, Joined):
            self._labels.append(event)
            self._new.labels.append(event)

    def complete(self, ts: float) -> bool:
        """Whether the reference ends before an event at epoch seconds `ts`."""
        if len(self._predictions) < MIN_PREDICTIONS or len(self) >= MAX_REFERENCE:
            return len(self) >= MAX_REFERENCE
        return ts >= self._until.ts if self._until.ts is not None else len(self) >= (self._until.events or 0)

    def learn(self, model: str) -> Baseline:
        """The baseline of `model`."""
        return build(model, self._predictions, self._labels)

    def take_new(self) -> bytes | None:
        """The reference events since the last call, for the store; None if there are none."""
        lesson, self._new = self._new, Lesson([], [])
        return msgspec.msgpack.encode(lesson) if lesson.predictions or lesson.labels else None

    def restore(self, lessons: Iterable[bytes]) -> None:
        """Take up what `take_new` gave, in order."""
        for lesson in (msgspec.msgpack.decode(raw, type=Lesson) for raw in lessons):
            self._predictions += lesson.predictions
            self._labels += lesson.labels
