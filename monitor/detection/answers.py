"""What each version of a model has answered, and who has contradicted it: the counts that a rollback is decided on.

Detectors say that something changed. Before an alias is moved, somebody has to ask whose answers were wrong, who says
so, and whether it still holds without the loudest witness. Counts by version, source and labeler answer that exactly,
do not depend on an estimated onset, and a late label counts for the version that gave the answer.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from monitor.intake.events import ClassLabel, Features, Prediction, Value, class_name
from monitor.intake.join import Joined

STATE = "answers/"
"""The states in the store that hold this; the model's name follows."""
MAX_VERSIONS = 16
"""Versions remembered; the one that was first seen longest ago is forgotten first."""
MAX_NAMES = 64
"""Sources, and labelers, that are counted on their own, first come first; so a flood of invented names is one."""
MAX_CLASSES = 33
"""Classes on their own."""
MAX_FEATURES = 1024
"""Features on their own, first come first."""
EVERY = 16
"""Of so many answers of a version one is looked at for the features that it was made from."""
MAX_PLACES = 4096
"""Places of counts that are not looked up anew; sources can be many."""
MANY = 8
"""Answers that are sooner counted together than one by one."""
OTHERS = "(others)"
NOBODY = "(none)"

SOURCE, LABELER = "source", "labeler"
WITNESSES = (SOURCE, LABELER)

Counts = dict[str, dict[str, dict[str, int]]]
"""Events by witness, label and predicted class."""


class Answered(msgspec.Struct):
    """What one version has answered. Times are epoch seconds of event time."""

    version: str
    first: float
    """When its first answer came."""
    last: float
    predictions: int = 0
    labels: int = 0
    wrong: int = 0
    """Labels that contradict the answer."""
    predicted: dict[str, dict[str, int]] = {}
    """Answers by source and class."""
    sources: Counts = {}
    labelers: Counts = {}
    looked_at: int = 0
    """Answers whose features were looked at."""
    features: dict[str, int] = {}
    """How many of those had each feature."""

    def contradictions(self, witness: str) -> Counts:
        """Labelled answers by `source` or by `labeler`."""
        return self.sources if witness == SOURCE else self.labelers


_Place = tuple[Answered, dict[str, int], str]
"""A version, its counts for one source, and the name of a class."""


class _State(msgspec.Struct, array_like=True):
    versions: list[Answered]
    names: dict[str, list[str]]
    classes: list[str]


class Answers:
    """The newest versions of one model, in the order in which they were first seen."""

    def __init__(self, blob: bytes | None = None) -> None:
        """Begin with nothing, or go on where `dump` stopped."""
        state = _State([], {SOURCE: [], LABELER: []}, [])
        if blob is not None:
            state = msgspec.msgpack.decode(blob, type=_State)
        self._state = state
        self._versions = {answered.version: answered for answered in state.versions}
        self._places: dict[tuple[object, ...], _Place] = {}
        """Where answers are counted, by what is told of them; looking it up anew takes longer than counting."""

    def __iter__(self) -> Iterator[Answered]:
        return iter(self._versions.values())

    def of(self, version: str) -> Answered | None:
        """What a version has answered; None if it has not been seen, or was forgotten."""
        return self._versions.get(version)

    def newest(self) -> Answered | None:
        """The version that gave the newest answer."""
        return max(self._versions.values(), key=lambda answered: answered.last, default=None)

    def carried(self) -> set[str] | None:
        """The features that most of the answers of the newest version were made from; None if none was looked at.

        Most, because a few odd events of one source must not decide which version may serve.
        """
        newest = self.newest()
        if newest is None or not newest.looked_at:
            return None
        return {name for name, count in newest.features.items() if 2 * count > newest.looked_at}

    def take_all(self, events: Sequence[Prediction | Features | Joined], times: Sequence[float]) -> None:
        """Count answers, and labels that found theirs, in their order, with the epoch seconds of each."""
        answers = [event for event in events if isinstance(event, Prediction)]
        if len(answers) == len(events) >= MANY and self._count(answers, times):
            return
        for event, ts in zip(events, times, strict=True):
            if isinstance(event, Prediction):
                self.take(event.version, event.source, event.prediction, ts, event.features)
            elif isinstance(event, Joined):
                self.take_label(event.version, event.source, event.labeler, event.prediction, event.label)

    def _count(self, events: Sequence[Prediction], times: Sequence[float]) -> bool:
        """Count answers together; False, and nothing done, if one has no place yet: places are given in order."""
        versions = {event.version for event in events}
        told = Counter([(event.version, event.source, event.prediction, type(event.prediction)) for event in events])
        if len(versions) > 1 or not told.keys() <= self._places.keys():
            return False
        for place, count in told.items():
            _, by_class, name = self._places[place]
            by_class[name] += count
        answered = self._versions[versions.pop()]
        for event in events[-answered.predictions % EVERY :: EVERY]:
            if event.features:
                _look(answered, event.features)
        answered.predictions += len(events)
        answered.last = max(answered.last, *times)
        return True

    def take(
        self,
        version: str,
        source: str | None,
        predicted: ClassLabel,
        ts: float,
        features: Mapping[str, Value] = MappingProxyType({}),
    ) -> None:
        """Count an answer, and now and then what it was made from."""
        told = version, source, predicted, type(predicted)  # true and 1 are equal, and not the same class
        place = self._places.get(told)
        if place is None:
            place = self._places[told] = self._place(version, source, predicted, ts)
        answered, by_class, name = place
        answered.last = max(answered.last, ts)
        if features and answered.predictions % EVERY == 0:
            _look(answered, features)
        answered.predictions += 1
        by_class[name] += 1

    def take_label(
        self, version: str, source: str | None, labeler: str | None, predicted: ClassLabel, label: ClassLabel
    ) -> None:
        """Count a label for the version that gave the answer; labels of forgotten versions are dropped."""
        answered = self._versions.get(version)
        if answered is None:
            return
        told, truth = self._class(predicted), self._class(label)
        answered.labels += 1
        answered.wrong += told != truth
        for counts, name in (
            (answered.sources, self._name(SOURCE, source)),
            (answered.labelers, self._name(LABELER, labeler)),
        ):
            outcomes = counts.setdefault(name, {}).setdefault(truth, {})
            outcomes[told] = outcomes.get(told, 0) + 1

    def dump(self) -> bytes:
        """The counts, for the store; of bounded size."""
        self._state.versions = list(self._versions.values())
        return msgspec.msgpack.encode(self._state)

    def _place(self, version: str, source: str | None, predicted: ClassLabel, ts: float) -> _Place:
        """Where answers like this one are counted."""
        if len(self._places) >= MAX_PLACES:
            self._places.clear()
        answered = self._answered(version, ts)
        by_class = answered.predicted.setdefault(self._name(SOURCE, source), {})
        name = self._class(predicted)
        by_class.setdefault(name, 0)
        return answered, by_class, name

    def _answered(self, version: str, ts: float) -> Answered:
        answered = self._versions.get(version)
        if answered is None:
            if len(self._versions) >= MAX_VERSIONS:
                del self._versions[next(iter(self._versions))]
                self._places.clear()
            answered = self._versions[version] = Answered(version, ts, ts)
        return answered

    def _name(self, kind: str, name: str | None) -> str:
        return NOBODY if name is None else _slot(self._state.names[kind], name, MAX_NAMES)

    def _class(self, value: ClassLabel) -> str:
        return _slot(self._state.classes, class_name(value), MAX_CLASSES)


def _look(answered: Answered, features: Mapping[str, Value]) -> None:
    seen = answered.features
    answered.looked_at += 1
    for name, value in features.items():
        if value is not None and (name in seen or len(seen) < MAX_FEATURES):
            seen[name] = seen.get(name, 0) + 1


def _slot(known: list[str], name: str, limit: int) -> str:
    if name in known:
        return name
    if len(known) >= limit:
        return OTHERS
    known.append(name)
    return name


def total(counts: Iterable[dict[str, dict[str, int]]], label: str) -> Counter[str]:
    """Predicted classes where the truth is `label`, over several witnesses."""
    found: Counter[str] = Counter()
    for by_label in counts:
        found.update(by_label.get(label, {}))
    return found
