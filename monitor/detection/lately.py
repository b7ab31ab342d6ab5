"""What a model has been doing lately, in bounded memory, for the pictures of an incident and for nothing else.

It is not stored, and how batches are cut shows in it: no verdict rests on it. After a restart it begins anew.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from monitor.detection.columns import FeatureColumns, LabelColumns
from monitor.detection.slots import NAMED, SHARED

WINDOW = 2000
"""Events that counts are about: at twice as many all counts are halved, so old events fade."""
POINTS = 240
"""Points of each curve, the newest."""
STRIDE = 400
"""Events between two points."""

Floats = npt.NDArray[np.float64]


class Lately:
    """Counts and curves of one model."""

    def __init__(self, classes: int) -> None:
        """`classes` is how many the model knows; 0 if it predicts numbers."""
        self.sources: Floats = np.zeros(NAMED + SHARED)
        """Predictions by the slot of their source."""
        self.confusion: Floats = np.zeros((classes, classes))
        """Joined labels: rows are true classes, columns what was predicted."""
        self._families: tuple[str, ...] = ()
        self._points: Floats = np.zeros((0, 0))
        """A ring of points: epoch seconds, and the largest statistic of each family."""
        self._taken = 0
        self._since = STRIDE

    def take(self, features: FeatureColumns, labels: LabelColumns) -> None:
        """Count events."""
        count = len(self.confusion)
        if features.index.size:
            self.sources += np.bincount(features.sources, minlength=self.sources.size)
            self._fade(self.sources)
        if count and labels.index.size:
            pairs = np.bincount(labels.labels * count + labels.outcomes, minlength=count * count)
            self.confusion += pairs.reshape(count, count)
            self._fade(self.confusion)
        self._since += len(features.index) + len(labels.index)

    def point(self, ts: float, levels: Callable[[], Mapping[str, float]], *, now: bool = False) -> None:
        """Take a point of each curve if it is time, or if it must be `now`.

        Args:
            ts: epoch seconds of event time.
            levels: asked for the statistic of each family.
            now: in any case, because something alarms.
        """
        if not now and self._since < STRIDE:
            return
        self._since = 0
        found = levels()
        if not self._families:
            self._families = tuple(found)
            self._points = np.zeros((POINTS, 1 + len(found)))
        self._points[self._taken % POINTS] = (ts, *(found[family] for family in self._families))
        self._taken += 1

    @property
    def curves(self) -> dict[str, list[tuple[float, float]]]:
        """The largest statistic of each family over time: epoch seconds and value, the oldest first."""
        first = max(self._taken - POINTS, 0)
        rows = self._points[np.arange(first, self._taken) % POINTS] if self._taken else self._points
        return {
            family: list(zip(rows[:, 0].tolist(), rows[:, 1 + place].tolist(), strict=True))
            for place, family in enumerate(self._families)
        }

    @staticmethod
    def _fade(counts: Floats) -> None:
        if counts.sum() > 2 * WINDOW:
            counts /= 2.0
