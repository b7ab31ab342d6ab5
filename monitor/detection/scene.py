"""Scenes: recorded events of one model, as an attack finds them, and what it makes of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from alerting.incident import Attribution
from monitor.intake.events import ClassLabel, Event, Label, Prediction, Value, class_name

LEAST = 20
"""An attack that changes fewer events has no effect that anybody could find."""
MOST = 0.5
"""Who sends more than this share is not one among others."""

Changes = dict[int, Event | None]
"""What stands in place of the events at these positions; None where nothing comes. What has another time comes then."""


class Nothing(Exception):  # noqa: N818 - not an error: these events do not have what an attack needs
    """The attack cannot be played with these events; one line says why."""


class Injected(NamedTuple):
    """What an attack has done."""

    changes: Changes
    culprit: Attribution
    """Whom a perfect verdict would name."""


class Scene:
    """Events of one model in their order, and where an attack may begin.

    Attributes:
        events: all of them.
        begin: position of the first that an attack may change.
        draw: chance, seeded; one scene for each attack makes them independent of each other.
    """

    def __init__(self, events: Sequence[Event], begin: int, seed: int) -> None:
        """Look at what came before `begin`; nothing is changed."""
        self.events = events
        self.begin = begin
        self.draw = Random(seed)  # noqa: S311 - not for secrets
        self._labels = {e.event_id: (n, e) for n, e in enumerate(events) if isinstance(e, Label)}
        self._before = [e for e in events[:begin] if isinstance(e, Prediction)]

    def predictions(self) -> Iterator[tuple[int, Prediction]]:
        """Those that may be changed, with their positions."""
        for position in range(self.begin, len(self.events)):
            event = self.events[position]
            if isinstance(event, Prediction):
                yield position, event

    def label_of(self, event: Prediction) -> tuple[int, Label] | None:
        """A label that may be changed, with its position; None if there is none."""
        found = self._labels.get(event.event_id)
        return None if found is None or found[0] < self.begin else found

    def truth(self, event: Prediction) -> str:
        """The class that the label says, or else the model."""
        found = self._labels.get(event.event_id)
        return class_name(event.prediction if found is None else found[1].label)

    def classes(self) -> tuple[ClassLabel, ClassLabel]:
        """The second most frequent class and the most frequent one: attackers want the rarer to pass as the other."""
        if any(isinstance(e.prediction, float) and not e.prediction.is_integer() for e in self._before):
            raise Nothing("the model predicts numbers, and no classes")
        common = Counter(e.prediction for e in self._before).most_common(2)
        if len(common) < 2:
            raise Nothing("the model predicts one class only")
        return common[1][0], common[0][0]

    def rows(self, wanted: ClassLabel) -> list[dict[str, Value]]:
        """The features of earlier events of one class."""
        found = [e.features for e in self._before if self.truth(e) == class_name(wanted) == class_name(e.prediction)]
        if not found:
            raise Nothing("no event of the class came before")
        return found

    def source(self) -> str:
        """The busiest source that is one among others."""
        return _one_of((event.source for event in self._before), "source")

    def labeler(self) -> str:
        """The busiest labeler that is one among others."""
        early = (label.labeler for position, label in self._labels.values() if position < self.begin)
        return _one_of(early, "labeler")

    def longest_delay(self) -> float:
        """Seconds that hardly any label has taken so far."""
        asked = {event.event_id: event.epoch for event in self._before}
        early = (label for position, label in self._labels.values() if position < self.begin)
        delays = sorted(label.epoch - asked[label.event_id] for label in early if label.event_id in asked)
        if not delays:
            raise Nothing("no label came before")
        return delays[99 * len(delays) // 100]

    def numeric(self) -> tuple[str, list[float]]:
        """The numeric feature with most different values, and its earlier values in their order of size."""
        columns: dict[str, list[float]] = {}
        text: set[str] = set()
        for event in self._before:
            for name, value in event.features.items():
                if isinstance(value, str):
                    text.add(name)
                elif value is not None:
                    columns.setdefault(name, []).append(float(value))
        known = {name: sorted(values) for name, values in columns.items() if name not in text}
        if not known:
            raise Nothing("the model has no numeric features")
        name = max(known, key=lambda name: (len(set(known[name])), name))
        return name, known[name]


def _one_of(names: Iterable[str | None], what: str) -> str:
    seen = Counter(name for name in names if name is not None)
    total = sum(seen.values())
    fitting = [name for name, count in seen.most_common() if count <= MOST * total]
    if not fitting:
        raise Nothing(f"no {what} is one among others")
    return fitting[0]
