"""Join: predictions wait for their labels by event id, bounded in time and memory; what stays unmatched is counted."""

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from monitor.intake.events import ClassLabel, Label, Prediction, class_name


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
    confidence: float | None = None
    """What the model thought the probability of its prediction was, in [0, 1]; None if it did not say."""
    event_id: str = ""
    """Of both; empty in a reference that an older version had begun to store."""


class Waiting(msgspec.Struct, gc=False, array_like=True):
    """What is kept of a prediction until its label comes, and until it could no longer come twice."""

    model: str
    version: str
    source: str | None
    prediction: ClassLabel
    ts: float
    confidence: float | None = None
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


class Step(msgspec.Struct, array_like=True, gc=False):
    """What one event changed: a prediction or an early label is kept; or, if neither, a prediction was labelled."""

    event_id: str
    waiting: Waiting | None = None
    early: Label | None = None


class Segment(msgspec.Struct, array_like=True):
    """What changed in the join between two commits: enough, in order, to build it again."""

    steps: list[Step]
    newest: float
    """Largest event time seen by then."""


SPARSE = 3
"""Multiple of what is kept at which the segments of a store are replaced by one that has what is kept."""
FEW = 100
"""Steps for which that is not worth it."""


class Join:
    """Waits for labels. Depends on the order of events only: time is the largest event time seen, never the clock."""

    def __init__(self, ttl: float, max_waiting: int, *, durable: bool = True) -> None:
        """Keep predictions for `ttl` seconds of event time, and `max_waiting` of them at most.

        Changes are remembered until `take_changes` is called; unless `durable` is False, where nobody calls it.
        """
        self.unmatched: Counter[Unmatched] = Counter()
        self._ttl = ttl
        self._max_waiting = max_waiting
        self._durable = durable
        self._now = float("-inf")
        self._waiting: dict[str, Waiting] = {}
        self._order: deque[str] = deque()
        """Who waits, in order of arrival: a dict that loses its first entries again and again searches ever longer."""
        self._early: OrderedDict[str, Label] = OrderedDict()
        self._first = float("inf")
        """At most the event time of the first in either: while that has not expired there is nothing to drop."""
        self._steps: list[Step] = []
        self._taken = self._now
        self._stored = 0
        """Steps in the segments that were taken since the last whole one, and one for each segment."""

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
        event_id = event.event_id
        if ts > self._now:
            self._advance(ts)
        if event_id in self._waiting:
            self.unmatched[Unmatched.DUPLICATE_PREDICTION] += 1
            return False, None
        waiting = Waiting(event.model, event.version, event.source, event.prediction, ts, _confidence(event))
        label = self._early.get(event_id)
        self._apply(Step(event_id, waiting))
        joined = None if label is None else self._match(event_id, waiting, label)
        if self._first < self._now - self._ttl:
            self._trim(self.oldest)
        return True, joined

    def predict_all(self, events: Sequence[Prediction], times: Sequence[float]) -> bool:
        """Take predictions at these epoch seconds together, which costs a third of one by one.

        Returns:
            False, and nothing done, if one of them is not new or has its label already, or one that waits has to go.
        """
        ids = [event.event_id for event in events]
        now = max(self._now, *times)
        if (
            min(self._first, *times) < now - self._ttl
            or len(self._waiting) + len(ids) > self._max_waiting
            or len({*ids}) < len(ids)
            or not (self._waiting.keys().isdisjoint(ids) and self._early.keys().isdisjoint(ids))
        ):
            return False
        kept = [
            Waiting(event.model, event.version, event.source, event.prediction, ts, _confidence(event))
            if event.proba
            else Waiting(event.model, event.version, event.source, event.prediction, ts)
            for event, ts in zip(events, times, strict=True)
        ]
        if not self._waiting:
            self._first = min(self._first, times[0])
        self._now = now
        self._waiting.update(zip(ids, kept, strict=True))
        self._order += ids
        if self._durable:
            self._steps += map(Step, ids, kept)
        return True

    def label(self, event: Label, ts: float) -> Joined | None:
        """Take a label at epoch seconds `ts`; return the join, or None if it is early, foreign or a duplicate."""
        if ts > self._now:
            self._advance(ts)
        waiting = self._waiting.get(event.event_id)
        if waiting is not None:
            return self._match(event.event_id, waiting, event)
        if event.event_id in self._early:
            self.unmatched[Unmatched.DUPLICATE_LABEL] += 1
            return None
        self.unmatched[Unmatched.EARLY] += 1
        self._apply(Step(event.event_id, early=event))
        if self._first < self._now - self._ttl:
            self._trim(self.oldest)
        return None

    def take_changes(self) -> bytes | None:
        """Return what changed since the last call, for the store; None if nothing did."""
        if not self._steps and self._now == self._taken:
            return None
        return self._take(self._steps)

    @property
    def sparse(self) -> bool:
        """Whether most of the steps taken so far, and of those to take, no longer matter: better take the whole."""
        return self._stored + len(self._steps) > SPARSE * (len(self._waiting) + len(self._early)) + FEW

    def take_whole(self) -> bytes:
        """Return all that is kept as one segment, in place of every segment before it."""
        self._stored = 0
        kept = [Step(event_id, waiting) for event_id, waiting in self._waiting.items()]
        kept += [Step(event_id, early=label) for event_id, label in self._early.items()]
        return self._take(kept)

    def _take(self, steps: list[Step]) -> bytes:
        self._steps, self._taken = [], self._now
        self._stored += len(steps) + 1
        return msgspec.msgpack.encode(Segment(steps, self._now))

    def restore(self, blob: bytes) -> None:
        """Apply a stored segment, the oldest first."""
        segment = msgspec.msgpack.decode(blob, type=Segment)
        for step in segment.steps:
            # An id may come again once it has expired, which is seen here at the end of the segment only.
            if step.waiting is not None and self._waiting.pop(step.event_id, None) is not None:
                self._order.remove(step.event_id)
            elif step.early is not None:
                self._early.pop(step.event_id, None)
            self._apply(step)
        self._steps = []
        self._now = self._taken = max(self._now, segment.newest)
        self._stored += len(segment.steps) + 1
        self._trim(self.oldest)

    def _match(self, event_id: str, waiting: Waiting, label: Label) -> Joined | None:
        if label.model is not None and label.model != waiting.model:
            self.unmatched[Unmatched.OTHER_MODEL] += 1
            return None
        if waiting.labelled:
            self.unmatched[Unmatched.DUPLICATE_LABEL] += 1
            return None
        self._apply(Step(event_id))
        return Joined(
            model=waiting.model,
            version=waiting.version,
            source=waiting.source,
            prediction=waiting.prediction,
            predicted_at=waiting.ts,
            confidence=waiting.confidence,
            label=label.label,
            labeler=label.labeler,
            labelled_at=label.epoch,
            event_id=event_id,
        )

    def _apply(self, step: Step) -> None:
        """Change what is kept, and remember it for the store; nothing else does, so a restored join is the same."""
        event_id, waiting, early = step.event_id, step.waiting, step.early
        if waiting is not None:
            if self._early and self._early.pop(event_id, None) is not None:
                self._first = float("-inf")  # it may have been the first
            self._waiting[event_id] = waiting
            self._order.append(event_id)
            count = len(self._waiting)
            if count == 1:
                self._first = min(self._first, waiting.ts)
            if count > self._max_waiting:
                self._trim(float("-inf"))
        elif early is not None:
            self._early[event_id] = early
            self._first = min(self._first, early.epoch)
            if len(self._early) > self._max_waiting:
                self._trim(float("-inf"))
        elif event_id in self._waiting:
            self._waiting[event_id].labelled = True
        if self._durable:
            self._steps.append(step)

    def _advance(self, ts: float) -> None:
        self._now = ts
        if self._first < ts - self._ttl:
            self._trim(self.oldest)

    def _trim(self, limit: float) -> None:
        """Drop what is from before `limit` or too much, in order of arrival until one is neither."""
        firsts = [float("inf")]
        while self._order:
            waiting = self._waiting[self._order[0]]
            if waiting.ts >= limit and len(self._waiting) <= self._max_waiting:
                firsts.append(waiting.ts)
                break
            del self._waiting[self._order.popleft()]
            if not waiting.labelled:
                expired = waiting.ts < self.oldest
                self.unmatched[Unmatched.UNLABELLED_EXPIRED if expired else Unmatched.EVICTED] += 1
        while self._early:
            early = next(iter(self._early.values()))
            if early.epoch >= limit and len(self._early) <= self._max_waiting:
                firsts.append(early.epoch)
                break
            self._early.popitem(last=False)
            expired = early.epoch < self.oldest
            self.unmatched[Unmatched.EARLY_EXPIRED if expired else Unmatched.EVICTED] += 1
        self._first = min(firsts)


def _confidence(event: Prediction) -> float | None:
    """What the model thought the probability of its answer was."""
    return None if event.proba is None else event.proba.get(class_name(event.prediction))
