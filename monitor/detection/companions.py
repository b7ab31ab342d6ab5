"""Companions: detectors of river that the configuration puts beside the engine. They are counted and shown, no more."""

from collections import Counter
from collections.abc import Iterable

from pydantic import Field, field_validator

from alerting.section import Section
from detectors.scalar import CATALOG, ScalarDetector
from monitor.intake.events import Features, Prediction, class_name
from monitor.intake.join import Joined

ERROR = "error"
FEATURE = "feature/"


class CompanionConfig(Section):
    """One detector of river on one signal."""

    detector: str
    """A name of `detectors.scalar.CATALOG`."""
    signal: str = ERROR
    """`error` (1 where a label contradicts the prediction), or `feature/<name>`."""
    params: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    """Keyword arguments of river's class."""

    @field_validator("detector")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in CATALOG:
            raise ValueError(f"no such detector; there are {', '.join(CATALOG)}")
        return name

    @field_validator("signal")
    @classmethod
    def _is_signal(cls, signal: str) -> str:
        if signal != ERROR and not (signal.startswith(FEATURE) and len(signal) > len(FEATURE)):
            raise ValueError("expected `error` or `feature/<name>`")
        return signal


class Companions:
    """The companions of one model. They start afresh with the process: river's state has no safe form on disk."""

    def __init__(self, configs: Iterable[CompanionConfig]) -> None:
        """Make the detectors. Raises ValueError if river refuses the parameters."""
        self.detections: Counter[tuple[str, str]] = Counter()
        """Detections by (detector, signal) since somebody cleared this."""
        made = [(config.signal, ScalarDetector(config.detector, config.params)) for config in configs]
        self._errors = [detector for signal, detector in made if signal == ERROR]
        self._features = [(s.removeprefix(FEATURE), detector) for s, detector in made if s != ERROR]

    def take(self, events: Iterable[Prediction | Features]) -> None:
        """Feed the features of events; a value that is missing or no number is skipped."""
        for event in events if self._features else ():
            for name, detector in self._features:
                value = event.features.get(name)
                if value is not None and not isinstance(value, str) and detector.update(float(value)):
                    self.detections[detector.name, FEATURE + name] += 1

    def take_label(self, joined: Joined) -> None:
        """Feed whether a prediction was wrong."""
        wrong = float(class_name(joined.label) != class_name(joined.prediction))
        for detector in self._errors:
            if detector.update(wrong):
                self.detections[detector.name, ERROR] += 1
