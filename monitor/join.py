"""Join: predictions wait for their labels by event id, bounded in time and memory; what stays unmatched is counted."""

from collections import Counter
from enum import StrEnum

import msgspec

from monitor.events import ClassLabel, Label, Prediction


class Joined(msgspec.Struct, frozen=True, gc=False):
    """A label with the prediction that it belongs to."""

    model: str
    version: str
    source: str | None
    prediction: ClassLabel
    predicted_at: float
    label: ClassLabel
    labeler: str | None
    labelled_at: float


class Waiting(msgspec.Struct, gc=False, array_like=True):
    """What is kept of a prediction until its label comes, and until it could no longer come twice."""

    model: str
    version: str
    source: str | None
    prediction: ClassLabel
    ts: float
    labelled: bool = False


class Unmatched(StrEnum):
    """Why a label or a prediction did not take part in a join; each is counted."""

    DUPLICATE_PREDICTION = "duplicate_prediction"
    DUPLICATE_LABEL = "duplicate_label"
    OTHER_MODEL = "other_model"
    EARLY = "early"
    """A label before its prediction; it waits and is no loss by itself."""
    EARLY_EXPIRED = "early_expired"
    UNLABELLED_EXPIRED = "unlabelled_expired"
    EVICTED = "evicted"
    """Dropped because `max_waiting` was reached."""


class Segment(msgspec.Struct, array_like=True):
    """What changed in the join between two commits: enough, in order, to build it again."""

    predictions: dict[str, Waiting]
    early: dict[str, Label]
    matched: list[str]
    newest: float
    """Largest event time in the segment; older segments whose newest is past the limit are empty of use."""


class Join:
    """Waits for labels. Depends on the order of events only: time is the largest event time seen, never the clock."""

    def __init__(self, ttl: float, max_waiting: int) -> None:
        """Keep predictions for `ttl` seconds of event time, and `max_waiting` of them at most."""
        self.unmatched: Counter[Unmatched] = Counter()
        self._ttl = ttl
        self._max_waiting = max_waiting
        self._now = float("-inf")
        self._waiting: dict[str, Waiting] = {}
        self._early: dict[str, Label] = {}
        self._changes = _empty_segment()

    def __len__(self) -> int:
        """Predictions kept, labelled ones included."""
        return len(self._waiting)

    @property
    def now(self) -> float:
        """The largest event time seen, epoch seconds."""
        return self._now

    @property
    def oldest(self) -> float:
        """The oldest event time still waited for, epoch seconds."""
        return self._now - self._ttl

    def predict(self, event: Prediction, ts: float) -> tuple[bool, Joined | None]:
        """Take a prediction at epoch seconds `ts`; return whether it is new, and its join if the label came first."""
        self._advance(ts)
        if event.event_id in self._waiting:
            self.unmatched[Unmatched.DUPLICATE_PREDICTION] += 1
            return False, None
        waiting = Waiting(event.model, event.version, event.source, event.prediction, ts)
        self._waiting[event.event_id] = waiting
        self._changes.predictions[event.event_id] = waiting
        if len(self._waiting) > self._max_waiting:
            self._drop_oldest(Unmatched.EVICTED)
        label = self._early.pop(event.event_id, None)
        return True, None if label is None else self._match(event.event_id, waiting, label)

    def label(self, event: Label, ts: float) -> Joined | None:
        """Take a label at epoch seconds `ts`; return the join, or None if it is early, foreign or a duplicate."""
        self._advance(ts)
        waiting = self._waiting.get(event.event_id)
        if waiting is not None:
            return self._match(event.event_id, waiting, event)
        if event.event_id in self._early:
            self.unmatched[Unmatched.DUPLICATE_LABEL] += 1
            return None
        self.unmatched[Unmatched.EARLY] += 1
        self._early[event.event_id] = event
        self._changes.early[event.event_id] = event
        if len(self._early) > self._max_waiting:
            self._early.pop(next(iter(self._early)))
            self.unmatched[Unmatched.EVICTED] += 1
        return None

    def take_changes(self) -> bytes | None:
        """Return what changed since the last call, for the store; None if nothing did."""
        changes, self._changes = self._changes, _empty_segment()
        if not (changes.predictions or changes.early or changes.matched):
            return None
        changes.newest = self._now
        return msgspec.msgpack.encode(changes)

    def restore(self, blob: bytes) -> float:
        """Apply a stored segment, the oldest first; return its newest event time."""
        segment = msgspec.msgpack.decode(blob, type=Segment)
        self._waiting.update(segment.predictions)
        self._early.update(segment.early)
        for event_id in segment.matched:
            self._early.pop(event_id, None)
            if event_id in self._waiting:
                self._waiting[event_id].labelled = True
        self._advance(segment.newest)
        return segment.newest

    def _match(self, event_id: str, waiting: Waiting, label: Label) -> Joined | None:
        if label.model is not None and label.model != waiting.model:
            self.unmatched[Unmatched.OTHER_MODEL] += 1
            return None
        if waiting.labelled:
            self.unmatched[Unmatched.DUPLICATE_LABEL] += 1
            return None
        waiting.labelled = True
        self._changes.matched.append(event_id)
        return Joined(
            model=waiting.model,
            version=waiting.version,
            source=waiting.source,
            prediction=waiting.prediction,
            predicted_at=waiting.ts,
            label=label.label,
            labeler=label.labeler,
            labelled_at=label.epoch,
        )

    def _advance(self, ts: float) -> None:
        if ts > self._now:
            self._now = ts
            self._expire()

    def _expire(self) -> None:
        """Drop what is too old. Entries are in order of arrival, so the first that is young enough ends the search."""
        limit = self.oldest
        while self._waiting and next(iter(self._waiting.values())).ts < limit:
            self._drop_oldest(Unmatched.UNLABELLED_EXPIRED)
        while self._early and next(iter(self._early.values())).epoch < limit:
            self._early.pop(next(iter(self._early)))
            self.unmatched[Unmatched.EARLY_EXPIRED] += 1

    def _drop_oldest(self, reason: Unmatched) -> None:
        waiting = self._waiting.pop(next(iter(self._waiting)))
        if not waiting.labelled:
            self.unmatched[reason] += 1


def _empty_segment() -> Segment:
    return Segment({}, {}, [], float("-inf"))
