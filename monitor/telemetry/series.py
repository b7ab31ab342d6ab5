"""Bounded series: what a metric's label sets are kept in, whatever the events call themselves.

Label values come partly out of events, so every metric has a cap: what is over it goes to the series `__other__` and
is counted. A child is looked up by a plain dictionary, once for each batch, not for each event.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)
Labels = TypeVar("Labels", bound=tuple[str, ...])

OTHER = "__other__"


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
    """Gauges that are known as a whole, or as a group: all series with one first label."""

    def __init__(self, metric: Gauge, labels: int, cap: int, dropped: Counter) -> None:
        super().__init__(metric, labels, cap, dropped)
        self._groups: dict[str, set[tuple[str, ...]]] = {}

    def set_all(self, values: Mapping[Labels, float]) -> None:
        """Show exactly these series; one that is not named any more disappears."""
        self.forget(labels for labels in self.known() if labels not in values)
        for labels, value in values.items():
            self.at(*labels).set(value)

    def set_group(self, first: str, values: Mapping[Labels, float]) -> None:
        """Show exactly these of the series that begin with `first`; the keys are the labels after it."""
        shown = {(first, *rest): value for rest, value in values.items()}
        self.forget(self._groups.get(first, set()) - shown.keys())
        self._groups[first] = set(shown)
        for labels, value in shown.items():
            self.at(*labels).set(value)

    def show(self, first: str, *rest: str) -> None:
        """Of the series that begin with `first`, show this one only, with the value 1: for `_info` metrics."""
        self.set_group(first, {rest: 1.0})


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


class Maker:
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

    # One method for each type of metric; the prefix `tocsin_` is added to the name.

    def counter(self, name: str, documentation: str, *labels: str) -> Family[Counter]:
        """Counters; `name` ends in `_total`."""
        metric = Counter(f"tocsin_{name}", documentation, labels, registry=self.registry)
        return Family(metric, len(labels), self._cap, self._dropped.labels(f"tocsin_{name}"))

    def gauge(self, name: str, documentation: str, *labels: str) -> GaugeFamily:
        """Gauges."""
        metric = Gauge(f"tocsin_{name}", documentation, labels, registry=self.registry)
        return GaugeFamily(metric, len(labels), self._cap, self._dropped.labels(f"tocsin_{name}"))

    def histogram(self, name: str, documentation: str, buckets: Sequence[float], *labels: str) -> Family[Histogram]:
        """Histograms with these upper bounds."""
        metric = Histogram(f"tocsin_{name}", documentation, labels, registry=self.registry, buckets=buckets)
        return Family(metric, len(labels), self._cap, self._dropped.labels(f"tocsin_{name}"))


def _printable(value: str) -> str:
    """A lone surrogate would make the whole scrape fail."""
    return value.encode("utf-8", "replace").decode()
