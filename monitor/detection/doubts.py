"""Doubts: events that may be part of an attack, remembered until an incident says that they are.

An incident names who is behind it; whoever retrains needs the events. So the last labels that contradict an answer, and
the last answers that the surrogate did not expect, are remembered by their ids. Once an incident opens whose poison is
in the stream, those that it is about become suspects: once each, the earlier ones at its first commit.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from alerting.incident import Attribution, Incident, Verdict
from monitor.detection.asked import Asked
from monitor.intake.events import class_name
from monitor.intake.join import Joined

KEPT = 128
"""Doubts of each kind that are remembered; the oldest is forgotten first."""
IN_THE_STREAM = frozenset({Verdict.LABEL_TAMPERING, Verdict.BACKDOOR, Verdict.CLEAN_LABEL})
"""Verdicts that doubt events. Of the others the model is wrong, or the world has changed: the events are true."""


class Doubt(msgspec.Struct, frozen=True, array_like=True):
    """One event that was otherwise than usual."""

    event_id: str
    ts: float
    """When the model was asked, epoch seconds."""
    version: str
    source: str | None
    prediction: str
    label: str | None = None
    """None where the answer itself was not expected."""
    labeler: str | None = None


class Suspect(msgspec.Struct, frozen=True):
    """A line for whoever retrains; README.md, "Suspects", describes it."""

    event_id: str
    ts: float
    model: str
    version: str
    source: str | None
    labeler: str | None
    prediction: str
    label: str | None
    reason: str
    score: float
    incident: str | None


class Doubts:
    """The last doubts of one model, in the order of its events."""

    def __init__(self) -> None:
        self._labels: deque[Doubt] = deque(maxlen=KEPT)
        self._answers: deque[Doubt] = deque(maxlen=KEPT)

    def add_label(self, joined: Joined) -> None:
        """Remember a label if it contradicts the class that was answered."""
        told, truth = class_name(joined.prediction), class_name(joined.label)
        if told != truth:
            asked = joined.predicted_at, joined.version, joined.source
            self.add(Doubt(joined.event_id, *asked, told, truth, joined.labeler))

    def add_answers(self, unexpected: Iterable[int], asked: Asked) -> None:
        """Remember the answers with these indices, which the surrogate did not expect."""
        for index in sorted(set(unexpected)):
            answer = asked.at(index)
            if answer is not None:
                said = class_name(answer.prediction)
                self.add(Doubt(answer.event_id, answer.ts, answer.version, answer.source, said))

    def add(self, doubt: Doubt) -> None:
        """Remember one."""
        (self._answers if doubt.label is None else self._labels).append(doubt)

    def take(self, incident: Incident) -> list[Suspect]:
        """The doubts that an incident is about, as suspects; they are doubts no more."""
        if incident.verdict not in IN_THE_STREAM:
            return []
        found: list[Doubt] = []
        kinds = (self._labels,) if incident.verdict is Verdict.LABEL_TAMPERING else (self._labels, self._answers)
        for held in kinds:
            mine = [doubt for doubt in held if doubt.ts >= incident.onset.low and _fits(doubt, incident.attribution)]
            found += mine
            for doubt in mine:
                held.remove(doubt)
        return [_suspect(doubt, incident) for doubt in sorted(found, key=lambda doubt: (doubt.ts, doubt.event_id))]

    def dump(self) -> list[Doubt]:
        """All of them, for the store."""
        return [*self._labels, *self._answers]

    def restore(self, doubts: Iterable[Doubt]) -> None:
        """Take up what `dump` gave."""
        for doubt in doubts:
            self.add(doubt)


def _fits(doubt: Doubt, who: Attribution) -> bool:
    """Whether an attribution, which must name somebody, is about an event."""
    pair = (who.class_to in (None, doubt.prediction)) and (doubt.label is None or who.class_from in (None, doubt.label))
    if who.labeler is not None:
        return pair and doubt.labeler == who.labeler
    return pair and who.source is not None and doubt.source == who.source


def _suspect(doubt: Doubt, incident: Incident) -> Suspect:
    return Suspect(
        event_id=doubt.event_id,
        ts=doubt.ts,
        model=incident.model,
        version=doubt.version,
        source=doubt.source,
        labeler=doubt.labeler,
        prediction=doubt.prediction,
        label=doubt.label,
        reason=incident.verdict,
        score=_score(incident, "agreement" if doubt.label is None else "performance"),
        incident=incident.id,
    )


def _score(incident: Incident, family: str) -> float:
    """How much of what was observed of whom is named goes beyond what is usual, in [0, 1].

    Of a share of events it is the attributable fraction: the part of such events that would not be there otherwise.
    Evidence of the event's own family counts, or else whatever there is.
    """
    who = incident.attribution
    name = f"labeler/{who.labeler}/" if who.labeler is not None else f"source/{who.source}/"
    own = [each for each in incident.evidence if each.stream.startswith(name)]
    parts = [
        max(1.0 - each.bound / abs(each.observed), 0.0)
        for each in [each for each in own if each.family == family] or own
        if each.observed
    ]
    return round(max(parts, default=0.0), 4)
