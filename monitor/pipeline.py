"""The main path: records in, transitions out. The daemon, `replay` and every test run this and nothing else."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from alerting.incident import Problem, Transition
from alerting.incidents import Incidents
from monitor.decode import DecodeError, Decoder, DecodeReason
from monitor.events import Event, Label, Prediction
from monitor.join import Join
from monitor.source import Partition, Record
from monitor.watch import Watch

MAX_SKEW = 3600.0
"""Seconds an event may be ahead of its record's own timestamp; further ahead it would end every wait for labels."""

Reject = Callable[[Record, DecodeError], None]


@dataclass(slots=True)
class Tally:
    """What was read, for counters."""

    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Events by (model, kind); the model is "" for a label without a prediction and for models not watched."""
    delays: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from prediction to label, by model."""


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
        """Models that had something new in the last call of `process`."""
        self.incidents = incidents
        self.join = join
        self.read = 0
        self._tally = Tally()
        self._decoder = decoder
        self._make = watch
        self._reject = reject

    def process(self, records: Sequence[Record]) -> list[Transition]:
        """Work through records; return what people should be told, in order."""
        touched: dict[str, Watch] = {}
        for record in records:
            self.read += 1
            self.offsets[record.partition] = record.offset + 1
            try:
                event, ts = self._decode(record)
            except DecodeError as error:
                self._reject(record, error)
                continue
            watch = self._take(event, ts)
            if watch is not None:
                touched[watch.model] = watch
        self.heard = frozenset(touched)
        self.changed |= self.heard
        steps = (step for watch in touched.values() for step in self._report(watch))
        return [step for step in steps if step is not None]

    def _decode(self, record: Record) -> tuple[Event, float]:
        """The record's event and its time in epoch seconds."""
        event = self._decoder.decode(record)
        ts = event.epoch
        if record.timestamp and ts > record.timestamp + MAX_SKEW:
            raise DecodeError(DecodeReason.BAD_TIMESTAMP, "$.ts: more than an hour ahead of the record's own time")
        return event, ts

    def take_tally(self) -> Tally:
        """What was read since the last call."""
        tally, self._tally = self._tally, Tally()
        return tally

    def _take(self, event: Event, ts: float) -> Watch | None:
        """Give an event to the join and to its model's watch; return the watch if it has something new."""
        if isinstance(event, Label):
            joined = self.join.label(event, ts)
            watch = None if joined is None else self.watch(joined.model)
            self._count(watch, "label")
        else:
            watch = self.watch(event.model)
            self._count(watch, "prediction" if isinstance(event, Prediction) else "features")
            if watch is None:
                return None
            new, joined = self.join.predict(event, ts) if isinstance(event, Prediction) else (True, None)
            if not new:
                return None
            watch.take(event, ts)
        if watch is not None and joined is not None:
            self._tally.delays[watch.model].append(joined.labelled_at - joined.predicted_at)
            watch.take_label(joined)
        return watch

    def _count(self, watch: Watch | None, kind: str) -> None:
        self._tally.events["" if watch is None else watch.model, kind] += 1

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
            yield board.report(model, version, Problem.DETECTION, judgement, index=moment.index, ts=moment.ts, now=now)
        yield board.elapse(model, Problem.DETECTION, watch.newest)
