"""Every metric that Tocsin exports, in one place; the help texts are the documentation.

Names follow the Prometheus conventions: prefix `tocsin_`, base units, `_total` on counters, timestamps instead of
ages. Label values come partly out of events, so every family is capped: what is over the cap goes to the series
`__other__` and is counted. A child is looked up by a plain dictionary, once for each batch, not for each event.
"""

import platform
import threading
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)
Labels = TypeVar("Labels", bound=tuple[str, ...])

OTHER = "__other__"
MAX_SERIES = 500

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_DELAYS = (1.0, 10.0, _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY, 30 * _DAY)
_DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Family(Generic[M]):
    """One metric and its series by label values: each made once, kept, and no more than the cap."""

    def __init__(self, metric: M, labels: int, cap: int, dropped: Counter) -> None:
        self._metric = metric
        self._other = (OTHER,) * labels
        self._cap = cap
        self._dropped = dropped
        self._children: dict[tuple[str, ...], M] = {}
        self._lock = threading.Lock()

    def at(self, *values: str) -> M:
        """The series with these label values, in the order of the metric's labels."""
        child = self._children.get(values)
        return self._admit(values) if child is None else child

    def forget(self, values: Iterable[tuple[str, ...]]) -> None:
        """Remove these series, which makes room for others."""
        with self._lock:
            for gone in values:
                if self._children.pop(gone, None) is not None:
                    self._metric.remove(*map(_printable, gone))

    def known(self) -> list[tuple[str, ...]]:
        """Label values of the series there are, `__other__` aside."""
        with self._lock:
            return list(self._children)

    def _admit(self, values: tuple[str, ...]) -> M:
        with self._lock:
            if values not in self._children and len(self._children) >= self._cap:
                self._dropped.inc()
                return self._metric.labels(*self._other)
            return self._children.setdefault(values, self._metric.labels(*map(_printable, values)))


class GaugeFamily(Family[Gauge]):
    """Gauges that are known as a whole."""

    def set_all(self, values: Mapping[Labels, float]) -> None:
        """Show exactly these series; one that is not named any more disappears."""
        self.forget(labels for labels in self.known() if labels not in values)
        for labels, value in values.items():
            self.at(*labels).set(value)

    def show(self, first: str, *rest: str) -> None:
        """Of the series that begin with `first`, show this one only, with the value 1: for `_info` metrics."""
        self.forget(labels for labels in self.known() if labels[0] == first and labels[1:] != rest)
        self.at(first, *rest).set(1)


class BatchHistogram:
    """A histogram without labels that takes a whole array at once; a collector of its own."""

    def __init__(self, registry: CollectorRegistry, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.asarray(bounds)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, values: ArrayLike) -> None:
        """Count every value; one that is not finite has no place in a histogram and is left out."""
        array = np.asarray(values, dtype=np.float64)
        array = array[np.isfinite(array)]
        places = np.searchsorted(self._bounds, array, side="left")
        counts = np.bincount(places, minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(array.sum())

    def describe(self) -> Iterable[Metric]:
        """What the registry asks for when this is registered, to see that the name is free."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """What the registry asks for at every scrape."""
        with self._lock:
            cumulative, total = np.cumsum(self._counts).tolist(), self._sum
        bounds = [*map(str, self._bounds.tolist()), "+Inf"]
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=list(zip(bounds, cumulative, strict=True)), sum_value=total
        )


class _Maker:
    """Makes families that share a registry, a cap and the counter of what went over it."""

    def __init__(self, registry: CollectorRegistry, cap: int) -> None:
        self.registry = registry
        self._cap = cap
        self._dropped = Counter(
            "tocsin_series_dropped_total",
            f"Updates that went to the series {OTHER} because their metric had its maximum of label sets.",
            ["metric"],
            registry=registry,
        )

    def counter(self, name: str, documentation: str, *labels: str) -> Family[Counter]:
        metric = Counter(f"tocsin_{name}", documentation, labels, registry=self.registry)
        return Family(metric, len(labels), self._cap, self._dropped.labels(f"tocsin_{name}"))

    def gauge(self, name: str, documentation: str, *labels: str) -> GaugeFamily:
        metric = Gauge(f"tocsin_{name}", documentation, labels, registry=self.registry)
        return GaugeFamily(metric, len(labels), self._cap, self._dropped.labels(f"tocsin_{name}"))


class Reading:
    """Records in."""

    def __init__(self, make: _Maker) -> None:
        self.polled = Counter(
            "tocsin_records_polled_total", "Records read from the source, valid or not.", registry=make.registry
        )
        self.events = make.counter(
            "events_total", "Events decoded, by model and kind (prediction, label, features).", "model", "kind"
        )
        self.invalid = make.counter("events_invalid_total", "Records that are not a valid event, by reason.", "reason")
        self.quarantined = Counter(
            "tocsin_quarantined_total", "Records kept in the quarantine, with the reason.", registry=make.registry
        )
        self.lag = make.gauge(
            "consumer_lag_records", "Records not read yet, of each partition assigned here.", "topic", "partition"
        )
        self.held = make.gauge(
            "partition_held",
            "1 for a partition that is not read any more because too many of its records were invalid.",
            "topic",
            "partition",
        )
        self.last_event = make.gauge(
            "last_event_timestamp_seconds", "Largest event time seen, in epoch seconds, by model.", "model"
        )


class Joining:
    """Predictions and the labels that come later."""

    def __init__(self, make: _Maker) -> None:
        self.joined = make.counter("labels_joined_total", "Labels that found their prediction, by model.", "model")
        self.unmatched = make.counter(
            "labels_unmatched_total", "Labels and predictions that took part in no join, by reason.", "reason"
        )
        self.pending = Gauge(
            "tocsin_pending_predictions", "Predictions kept until their label comes.", registry=make.registry
        )
        self.delay = BatchHistogram(
            make.registry,
            "tocsin_label_delay_seconds",
            "Event time from a prediction to its label, in seconds.",
            _DELAYS,
        )


class Detection:
    """What is watched, against what."""

    def __init__(self, make: _Maker) -> None:
        self.statistic = make.gauge(
            "statistic",
            "Evidence for a change in a family of streams; an incident opens when it reaches tocsin_threshold.",
            "model",
            "family",
        )
        self.threshold = make.gauge(
            "threshold", "The false-alarm budget: events per false incident while all is well.", "model"
        )
        self.streams = make.gauge("streams", "Score streams that are watched, by model.", "model")
        self.invalid_values = make.counter(
            "invalid_values_total", "Feature values that were missing or not of the baseline's type, by model.", "model"
        )
        self.companions = make.counter(
            "companion_detections_total",
            "Changes that a detector of river has seen, where one is configured.",
            "model",
            "detector",
            "signal",
        )
        self.baseline = make.gauge("baseline_info", "1 for the digest of the baseline in use.", "model", "digest")
        self.baseline_events = make.gauge("baseline_events", "Events that the baseline in use was built from.", "model")
        self.served_version = make.gauge(
            "served_version_info", "1 for the version that served the model's newest prediction.", "model", "version"
        )


class Reacting:
    """Incidents, messages and rollbacks."""

    def __init__(self, make: _Maker) -> None:
        self.open = make.gauge("incidents_open", "Incidents that are firing now.", "model", "verdict")
        self.opened = make.counter("incidents_total", "Incidents opened, by their first verdict.", "model", "verdict")
        self.transitions = make.counter(
            "transitions_total", "Steps of incidents: opened, updated, resolved.", "model", "verdict", "change"
        )
        self.notifications = make.counter(
            "notifications_total", "Attempts to deliver a message, by outcome.", "receiver", "outcome"
        )
        self.outbox = make.gauge(
            "outbox_messages", "Messages in the store, by state (pending, delivered, dead).", "receiver", "state"
        )
        self.rollbacks = make.counter("rollbacks_total", "States that rollbacks have come to.", "model", "state")


class Running:
    """The process itself."""

    def __init__(self, make: _Maker) -> None:
        self.commit_timestamp = Gauge(
            "tocsin_state_commit_timestamp_seconds", "When state was last committed.", registry=make.registry
        )
        self.commit = Histogram(
            "tocsin_commit_seconds", "Time to commit the state.", registry=make.registry, buckets=_DURATIONS
        )
        self.turn = Histogram(
            "tocsin_turn_seconds",
            "Time of one turn of the loop, without waiting for records.",
            registry=make.registry,
            buckets=_DURATIONS,
        )
        build = make.gauge("build_info", "1 for the version of Tocsin, and of Python under it.", "version", "python")
        build.show(version("tocsin"), platform.python_version())


class Metrics:
    """All metrics on one registry. Making it twice on the same registry raises ValueError.

    Safe to use from several threads.
    """

    def __init__(self, registry: CollectorRegistry, max_series: int = MAX_SERIES) -> None:
        """Register every metric; `max_series` is the cap of label sets of each."""
        # For the whole process: the library's `_created` series would double the size of every scrape.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own gap
        make = _Maker(registry, max_series)
        self.reading = Reading(make)
        self.joining = Joining(make)
        self.detection = Detection(make)
        self.reacting = Reacting(make)
        self.running = Running(make)


def _printable(value: str) -> str:
    """A lone surrogate would make the whole scrape fail."""
    return value.encode("utf-8", "replace").decode()
