"""What the loop shows in /metrics: counters once a turn, gauges once a commit."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from alerting.incident import Change, Incident, Transition
from monitor.detection.doubts import Suspect
from monitor.detection.pipeline import Pipeline
from monitor.detection.standing import loudest
from monitor.detection.watch import Watch
from monitor.intake.source import EventSource
from monitor.telemetry.metrics import Metrics

SHOWING = 0.1
"""Seconds of a commit after which no further model is shown; the rest waits for the next commit, the oldest first."""


class Observer:
    """Translates the loop's state into metrics; changes nothing."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives epoch seconds."""
        self._metrics = metrics
        self._clock = clock
        self._stale: dict[str, Watch] = {}
        """Models that have changed since they were shown, the longest ago first."""
        self._invalid: dict[str, int] = {}

    def assigned(self) -> None:
        """Partitions have been assigned."""
        self._metrics.reading.assignments.inc()

    def turned(self, records: int, seconds: float, pipelines: Iterable[Pipeline]) -> None:
        """A turn of the loop has worked through `records` in `seconds`; `pipelines` have got them."""
        if not records:
            return
        self._metrics.reading.polled.inc(records)
        self._metrics.running.turn.observe(seconds)
        for pipeline in pipelines:
            self._count(pipeline)

    def _count(self, pipeline: Pipeline) -> None:
        reading, joining = self._metrics.reading, self._metrics.joining
        tally = pipeline.take_tally()
        for (model, kind), count in tally.events.items():
            reading.events.at(model, kind).inc(count)
        for stage, seconds in tally.seconds.items():
            self._metrics.running.stage.at(stage).inc(seconds)
        for model in pipeline.heard:
            reading.last_event.at(model).set(pipeline.watches[model].newest)
        for model, delays in tally.delays.items():
            joining.joined.at(model).inc(len(delays))
            joining.delay.observe(delays)
        for reason, count in pipeline.join.unmatched.items():
            joining.unmatched.at(reason).inc(count)
        pipeline.join.unmatched.clear()

    def suspected(self, suspects: Iterable[Suspect]) -> None:
        """Suspects were written down."""
        for model, count in Counter(suspect.model for suspect in suspects).items():
            self._metrics.reading.suspects.at(model).inc(count)

    def told(self, transitions: Iterable[Transition], pipelines: Iterable[Pipeline]) -> None:
        """Incidents have moved; `pipelines` are all there are."""
        reacting = self._metrics.reacting
        for transition in transitions:
            incident = transition.incident
            reacting.transitions.at(incident.model, incident.verdict, transition.change).inc()
            if transition.change is Change.OPENED:
                reacting.opened.at(incident.model, incident.verdict).inc()
        firing = [incident for pipeline in pipelines for incident in pipeline.incidents.firing()]
        reacting.open.set_all(Counter((i.model, i.verdict.value, i.severity.value) for i in firing))
        reacting.opened_at.set_all(
            {(i.id, i.model, i.version, i.verdict.value, i.severity.value): i.opened_at for i in firing}
        )
        reacting.confidence.set_all({(i.id, i.model): i.confidence for i in firing if i.confidence is not None})
        reacting.objection.set_all(
            {(i.id, i.model, clause): float(rank) for i in firing for rank, clause in enumerate(i.against, 1)}
        )
        reacting.reach.set_all(
            {(i.id, i.model, kind, name): float(count) for i in firing for kind, name, count in _reach(i)}
        )

    def committed(
        self, changed: Iterable[Watch], pipelines: Sequence[Pipeline], source: EventSource, seconds: float
    ) -> None:
        """A commit took `seconds`; `changed` had changed, and `pipelines` are all there are."""
        self._metrics.running.commit.observe(seconds)
        self._metrics.running.commit_timestamp.set(self._clock())
        lag: dict[tuple[str, ...], float] = {
            (partition.topic, str(partition.number)): float(behind) for partition, behind in source.lag().items()
        }
        self._metrics.reading.lag.set_all(lag)
        self._stale.update((watch.model, watch) for watch in changed)
        ends = time.monotonic() + SHOWING
        for model in list(self._stale):
            self._show(self._stale.pop(model))
            if time.monotonic() > ends:
                break
        self._metrics.joining.pending.set(sum(len(pipeline.join) for pipeline in pipelines))
        learning = sum(watch.bank is None for pipeline in pipelines for watch in pipeline.watches.values())
        watched = sum(len(pipeline.watches) for pipeline in pipelines) - learning
        self._metrics.detection.models.set_all({("learning",): float(learning), ("watched",): float(watched)})

    def _show(self, watch: Watch) -> None:
        detection = self._metrics.detection
        model = watch.model
        invalid = watch.invalid - self._invalid.get(model, 0)
        if invalid > 0:
            detection.invalid_values.at(model).inc(invalid)
            self._invalid[model] = watch.invalid
        for (detector, signal), count in watch.companions.detections.items():
            detection.companions.at(model, detector, signal).inc(count)
        watch.companions.detections.clear()
        for outcome, count in watch.listing.counted.items():
            detection.outliers.at(model, outcome).inc(count)
        watch.listing.counted.clear()
        detection.learnt.set_group(model, {} if watch.bank else {(): float(watch.learnt)})
        if watch.bank is None:
            return
        baseline = watch.bank.baseline
        detection.baseline.show(model, watch.bank.digest)
        detection.baseline_events.at(model).set(baseline.predictions + baseline.labels)
        detection.threshold.at(model).set(watch.bank.budget)
        detection.streams.at(model).set(watch.bank.streams())
        detection.served_version.show(model, watch.version_at(watch.events))
        for family, level in watch.bank.highest().items():
            detection.statistic.at(model, family).set(level)
        detection.evidence.set_group(model, loudest(watch.bank))


def _reach(incident: Incident) -> Iterator[tuple[str, str, int]]:
    """What has been counted since the early end of the onset: kind, of which version or of whom, events."""
    radius, who = incident.radius, incident.attribution
    if radius is None:
        return
    for served in radius.versions:
        yield "predictions", served.version, served.predictions
    if radius.inputs is not None:
        yield "inputs", who.source or "", radius.inputs
    if radius.labels is not None:
        yield "labels", who.labeler or who.source or "", radius.labels
