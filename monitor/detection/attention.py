"""Attention: which changes among the streams that alarm are worth a look.

In a wide outage hundreds of streams begin to alarm, one after the other. To look at all of them each time would cost
more than everything else, and say the same again. So a family is looked at again when a part of what alarms in it has
changed; what the first streams of a family say is never lost among those of another.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from detectors.edetector import Change, Family, Turn

PART = 8
"""A family is worth a look once an eighth of what alarms in it has changed since the last one: each, up to eight."""

_STEPS = {Turn.ALARM: 1, Turn.GROWN: 0, Turn.OVER: -1}

Named = tuple[str, Change]
"""With the name of its family."""


class Attention:
    """What has changed since the last look, in the streams of some families."""

    def __init__(self) -> None:
        self._waiting: list[Named] = []
        self._alarming = Counter[str]()

    def due(self, changes: Sequence[Named]) -> int | None:
        """The index of the event at which further changes, in the order of events, are worth a look; None if nowhere.

        It does not depend on how many of them are given at a time, as long as they are then taken in.
        """
        if not changes:
            return None
        waiting, alarming = Counter(name for name, _ in self._waiting), self._alarming.copy()
        for name, change in changes:
            waiting[name] += 1
            alarming[name] += _STEPS[change.turn]
            if PART * waiting[name] >= alarming[name]:
                return change.index
        return None

    def take(self, changes: Iterable[Named]) -> None:
        """Take changes in."""
        for name, change in changes:
            self._waiting.append((name, change))
            self._alarming[name] += _STEPS[change.turn]

    def look(self) -> list[Named]:
        """What has changed since the last look."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def dump(self) -> list[Named]:
        """The state, for the store; what alarms is in that of the families."""
        return self._waiting

    def restore(self, waiting: Sequence[Named], families: dict[str, Family]) -> None:
        """Take up a stored state."""
        self._waiting = list(waiting)
        alarmed = {
            name: sum(each.alarmed_index is not None for each in family.excursions.values())
            for name, family in families.items()
        }
        self._alarming = Counter(alarmed)
