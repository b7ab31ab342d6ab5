"""The main path: records in, transitions out. The daemon, `replay` and every test run this and nothing else."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from alerting.incident import Problem, Transition
from alerting.incidents import Incidents
from monitor.detection.watch import TOGETHER, Watch
from monitor.intake.decode import Decoded, Decoder, Reject
from monitor.intake.events import Features, Label, Prediction
from monitor.intake.join import Join, Joined
from monitor.intake.source import Partition, Record

WORTH = 50
"""Events of a model, on average, from which on working through them costs little more than the events themselves."""

_PARTITION, _OFFSET = attrgetter("partition"), attrgetter("offset")


@dataclass(slots=True)
class Tally:
    """What was read, for counters."""

    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Events by (model, kind); the model is "" for a label without a prediction and for models not watched."""
    delays: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from prediction to label, by model."""
    seconds: Counter[str] = field(default_factory=Counter)
    """Seconds spent, by stage: `decode` (and join), `detect`."""


class Pipeline:
    """Decodes, joins, watches and reports, in the order of the records."""

    def __init__(
        self, decoder: Decoder, join: Join, watch: Callable[[str], Watch | None], incidents: Incidents, reject: Reject
    ) -> None:
        """Compose the path.

        Args:
            decoder: bytes to events.
            join: where predictions wait for labels.
            watch: makes the watch of a model seen for the first time; None if the model is not to be watched.
            incidents: the board that judgements go to.
            reject: told of every record that is no event.
        """
        self.watches: dict[str, Watch] = {}
        self.offsets: dict[Partition, int] = {}
        """The next offset of each partition read from."""
        self.changed: set[str] = set()
        """Models whose watch has changed since somebody cleared this."""
        self.heard: frozenset[str] = frozenset()
        """Models that had something new in the last call of `take`."""
        self.incidents = incidents
        self.join = join
        self.read = 0
        self._touched: dict[str, Watch] = {}
        """Watches with events that `report` has not worked through."""
        self._taken = 0
        """Records since its last call."""
        self._tally = Tally()
        self._decoder = decoder
        self._make = watch
        self._reject = reject

    def process(self, records: Sequence[Record]) -> list[Transition]:
        """Work through records; return what people should be told, in order."""
        self.take(records)
        return self.report()

    def take(self, records: Sequence[Record]) -> None:
        """Decode and join records, and give the events to the watches of their models; `report` works through them."""
        began = time.perf_counter()
        touched: dict[str, Watch] = {}
        for start in range(0, len(records), TOGETHER):
            decoded = self._decoder.decode_all(records[start : start + TOGETHER], self._reject)
            touched |= self._predict_all(decoded) or self._each(decoded)
        self.read += len(records)
        # Of each partition the last record counts: a dictionary keeps what comes last.
        last = dict(zip(map(_PARTITION, records), map(_OFFSET, records), strict=True))
        self.offsets.update({partition: offset + 1 for partition, offset in last.items()})
        self.heard = frozenset(touched)
        self.changed |= self.heard
        self._touched |= touched
        self._taken += len(records)
        self._spend("decode", began)

    def report(self) -> list[Transition]:
        """Work through what was taken since the last call; return what people should be told, in order."""
        began = time.perf_counter()
        touched, self._touched, self._taken = self._touched, {}, 0
        steps = [step for watch in touched.values() for step in self._report(watch) if step is not None]
        self._spend("detect", began)
        return steps

    @property
    def waiting(self) -> bool:
        """Whether anything waits for `report`."""
        return bool(self._touched)

    @property
    def thin(self) -> bool:
        """Whether so few events wait for `report` that, for as many models, it is worth waiting for more."""
        return self._taken < WORTH * len(self._touched)

    def _spend(self, stage: str, began: float) -> None:
        self._tally.seconds[stage] += time.perf_counter() - began  # type: ignore[assignment]  # a Counter adds floats too

    def take_tally(self) -> Tally:
        """What was read since the last call."""
        tally, self._tally = self._tally, Tally()
        return tally

    def _predict_all(self, decoded: Decoded) -> dict[str, Watch]:
        """Take events together, and return the watches of their models; none if one is no prediction that is alone."""
        predictions = [event for event in decoded.events if isinstance(event, Prediction)]
        counts = Counter([event.model for event in predictions])
        watches = {model: watch for model in counts if (watch := self.watch(model)) is not None}
        if len(predictions) < len(decoded.events) or len(watches) < len(counts) or not predictions:
            return {}
        if not self.join.predict_all(predictions, decoded.times):
            return {}
        for model, count in counts.items():
            self._tally.events[model, "prediction"] += count
        if len(watches) == 1:
            watches[predictions[0].model].take_all(predictions, decoded.times)
        else:
            for event, ts in zip(predictions, decoded.times, strict=True):
                watches[event.model].take(event, ts)
        return watches

    def _each(self, decoded: Decoded) -> dict[str, Watch]:
        """Take events one by one, and return the watches of their models."""
        told = (
            self._take_label(event, ts) if isinstance(event, Label) else self._take(event, ts)
            for event, ts in zip(decoded.events, decoded.times, strict=True)
        )
        return {watch.model: watch for watch in told if watch is not None}

    def _take(self, event: Prediction | Features, ts: float) -> Watch | None:
        """Give an event to the join and to its model's watch; return the watch if it has something new."""
        watch = self.watch(event.model)
        kind = "prediction" if isinstance(event, Prediction) else "features"
        self._tally.events["" if watch is None else watch.model, kind] += 1
        if watch is None:
            return None
        new, joined = self.join.predict(event, ts) if isinstance(event, Prediction) else (True, None)
        if not new:
            return None
        watch.take(event, ts)
        if joined is not None:
            self._join(watch, joined)
        return watch

    def _take_label(self, event: Label, ts: float) -> Watch | None:
        joined = self.join.label(event, ts)
        watch = None if joined is None else self.watch(joined.model)
        self._tally.events["" if watch is None else watch.model, "label"] += 1
        if watch is not None and joined is not None:
            self._join(watch, joined)
        return watch

    def _join(self, watch: Watch, joined: Joined) -> None:
        self._tally.delays[watch.model].append(joined.labelled_at - joined.predicted_at)
        watch.take(joined, joined.labelled_at)

    def watch(self, model: str) -> Watch | None:
        """The watch of a model, made when it is first asked for; None if the model is not to be watched."""
        watch = self.watches.get(model)
        if watch is None:
            watch = self._make(model)
            if watch is not None:
                self.watches[model] = watch
        return watch

    def _report(self, watch: Watch) -> Iterator[Transition | None]:
        """Judge what came, and let the model's time pass, so that a step is made when it is due and not earlier."""
        model, board = watch.model, self.incidents
        for moment, judgement in watch.update():
            now = watch.newest_at(moment.index)
            yield board.elapse(model, Problem.DETECTION, now)
            version = watch.version_at(moment.index)
            yield board.report(
                model,
                version,
                Problem.DETECTION,
                judgement,
                index=moment.index,
                ts=moment.ts,
                now=now,
                reach=watch.reach,
            )
        yield board.elapse(model, Problem.DETECTION, watch.newest)
