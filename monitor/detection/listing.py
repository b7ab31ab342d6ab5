"""Listing: events whose inputs are unlike the reference, one by one, for whoever retrains. Never an incident by itself.

Rare events come in every clean stream; what they share is only that nobody should learn from them unseen. So they are
listed at a bounded rate, and what is beyond it is counted.
"""

from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from alerting.incident import Incident
from detectors import outliers
from detectors.cells import RESERVED
from monitor.detection.asked import Answer, Asked
from monitor.detection.baseline import Baseline, numeric
from monitor.detection.columns import Columns, FeatureColumns
from monitor.detection.doubts import IN_THE_STREAM, Suspect
from monitor.detection.outliers import inputs, known_of
from monitor.intake.events import class_name

Floats = npt.NDArray[np.float64]

HOUR = 3600.0
OUTLIER = "outlier"
"""The reason of a suspect that is here by itself."""


class Limits(msgspec.Struct, frozen=True):
    """Which events are listed."""

    share: float
    """An outlier is at least as strange as this share of the reference, in [0, 0.05]; 0 for none."""
    per_hour: int
    """Outliers of a model that are listed in an hour of event time, at most."""


NONE = Limits(share=0.0, per_hour=0)


class ListingState(msgspec.Struct, frozen=True, array_like=True):
    """A listing's memory, for the store."""

    hour: int = 0
    """The hour of the model's clock, since 1970."""
    listed: int = 0
    """Outliers listed in it."""


class Strangeness:
    """Scores events that are coded as a baseline has them."""

    def __init__(self, learnt: outliers.Outliers, columns: Columns, baseline: Baseline) -> None:
        served = inputs(baseline.features)
        cells, counts = known_of(baseline.features, served)
        measured = [place for place, name in enumerate(columns.measured) if name in served]
        self._places = np.array([columns.names.index(name) for name in served], dtype=np.intp)
        self._inside = np.array([cell.size - RESERVED for cell in cells])
        self._measured = np.array(measured, dtype=np.intp)
        self._reach = outliers.Reach([numeric(baseline.features[columns.measured[place]]) for place in measured])
        self._scorer = outliers.Scorer(learnt, cells, counts)

    def scores(self, events: FeatureColumns) -> Floats:
        """How strange events are, shape (n,)."""
        codes = events.codes[:, self._places]
        outside = np.zeros(len(codes))
        rows = np.flatnonzero((codes >= self._inside).any(axis=1))
        if rows.size:
            outside[rows] = self._reach.of(events.numbers[np.ix_(rows, self._measured)])
        return self._scorer.scores(codes, outside)

    def shares(self, events: FeatureColumns) -> Floats:
        """The share of reference events that were at least as strange, shape (n,)."""
        return self._scorer.shares(self.scores(events))


class Listing:
    """The outliers of one model. Deterministic: what is listed depends on its events and their order only."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._strangeness: Strangeness | None = None
        self._state = ListingState()
        self._found: list[tuple[Answer, float]] = []
        self.counted = Counter[str]()
        """Outliers that were `listed`, or `dropped` as one too many in their hour, since somebody cleared this."""

    def look(
        self,
        baseline: Baseline,
        columns: Columns,
        events: FeatureColumns,
        asked: Asked,
        clock: Callable[[int], float],
    ) -> None:
        """Look through a batch; `asked` has its predictions, and `clock` the model's time at an event, by its index."""
        if not self.limits.share or baseline.outliers is None or not events.index.size:
            return
        if self._strangeness is None:
            self._strangeness = Strangeness(baseline.outliers, columns, baseline)
        shares = self._strangeness.shares(events)
        strange = np.flatnonzero(shares <= self.limits.share)
        if not strange.size:
            return
        for index, share in zip(events.index[strange].tolist(), shares[strange].tolist(), strict=True):
            answer = asked.at(index)
            if answer is not None:  # what is no prediction is not trained on
                self._list(answer, share, clock(index))

    @property
    def waiting(self) -> bool:
        """Whether anything was found since the last call of `take`."""
        return bool(self._found)

    def take(self, model: str, incident: Incident | None) -> list[Suspect]:
        """What was found since the last call; with the open incident about the model's events, if there is one."""
        found, self._found = self._found, []
        return [_suspect(model, event, share, incident) for event, share in found]

    def dump(self) -> ListingState:
        """The state, for the store."""
        return self._state

    def restore(self, state: ListingState) -> None:
        """Take up what `dump` gave."""
        self._state = state

    def _list(self, event: Answer, share: float, now: float) -> None:
        hour = int(now // HOUR)
        listed = self._state.listed if hour == self._state.hour else 0
        if listed >= self.limits.per_hour:
            self.counted["dropped"] += 1
            return
        self.counted["listed"] += 1
        self._state = ListingState(hour, listed + 1)
        self._found.append((event, share))


def _suspect(model: str, event: Answer, share: float, incident: Incident | None) -> Suspect:
    event_id, version, source, prediction, ts = event
    return Suspect(
        event_id=event_id,
        ts=ts,
        model=model,
        version=version,
        source=source,
        labeler=None,
        prediction=class_name(prediction),
        label=None,
        reason=OUTLIER,
        score=round(1.0 - share, 6),
        incident=incident.id if incident is not None and _about(incident, source, ts) else None,
    )


def _about(incident: Incident, source: str | None, ts: float) -> bool:
    """Whether an incident names the source of an event, whose poison is in the stream."""
    who = incident.attribution.source
    return incident.verdict in IN_THE_STREAM and who is not None and who == source and ts >= incident.onset.low
