"""Asked: what there is to remember of a model's predictions until they have been worked through."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from monitor.intake.events import ClassLabel, Features, Prediction


class Answer(NamedTuple):
    """One prediction."""

    event_id: str
    version: str
    source: str | None
    prediction: ClassLabel
    ts: float
    """When the model was asked, epoch seconds."""


@dataclass(slots=True)
class Asked:
    """Predictions in their order, as lists of one length: a tuple for each would be work for the garbage collector."""

    index: list[int] = field(default_factory=list)
    """Among all events of the model."""
    event_ids: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)
    predictions: list[ClassLabel] = field(default_factory=list)
    ts: list[float] = field(default_factory=list)
    """Epoch seconds."""

    def add(self, index: Sequence[int], times: Sequence[float], events: Sequence[Prediction | Features]) -> None:
        """Take in events with their index and epoch seconds, of which those that are predictions count."""
        asked = [event for event in events if isinstance(event, Prediction)]
        if len(asked) < len(events):
            kept = [place for place, event in enumerate(events) if isinstance(event, Prediction)]
            index, times = [index[place] for place in kept], [times[place] for place in kept]
        self.index += index
        self.ts += times
        self.event_ids += [event.event_id for event in asked]
        self.versions += [event.version for event in asked]
        self.sources += [event.source for event in asked]
        self.predictions += [event.prediction for event in asked]

    def at(self, index: int) -> Answer | None:
        """The prediction with this index; None if that event is none."""
        place = bisect_left(self.index, index)
        if place == len(self.index) or self.index[place] != index:
            return None
        return Answer(
            self.event_ids[place], self.versions[place], self.sources[place], self.predictions[place], self.ts[place]
        )
