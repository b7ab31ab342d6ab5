"""Metrics: named as Prometheus asks, bounded, and never a hole in a scrape."""

import re
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from monitor.telemetry.metrics import Metrics
from monitor.telemetry.series import OTHER, BatchHistogram

SPECIFIED = {
    "baseline_events": ["model"],
    "baseline_info": ["model", "digest"],
    "build_info": ["version", "python"],
    "commit_seconds": [],
    "consumer_lag_records": ["topic", "partition"],
    "events_invalid_total": ["reason"],
    "events_total": ["model", "kind"],
    "http_events_total": ["outcome"],
    "delivery_seconds": ["receiver"],
    "drill_events": ["model", "kind"],
    "evidence": ["model", "kind", "name"],
    "incident_confidence_ratio": ["incident", "model"],
    "incident_objection_rank": ["incident", "model", "objection"],
    "incident_reach_events": ["incident", "model", "kind", "name"],
    "incident_opened_timestamp_seconds": ["incident", "model", "version", "verdict", "severity"],
    "incidents_open": ["model", "verdict", "severity"],
    "incidents_total": ["model", "verdict"],
    "label_delay_seconds": [],
    "job_failures_total": ["task"],
    "job_success_timestamp_seconds": ["task"],
    "labels_joined_total": ["model"],
    "last_rollback_timestamp_seconds": ["model"],
    "models": ["state"],
    "labels_unmatched_total": ["reason"],
    "last_event_timestamp_seconds": ["model"],
    "invalid_values_total": ["model"],
    "companion_detections_total": ["model", "detector", "signal"],
    "notifications_total": ["receiver", "outcome", "reason"],
    "outliers_total": ["model", "outcome"],
    "outbox_messages": ["receiver", "state"],
    "outbox_oldest_timestamp_seconds": ["receiver"],
    "partition_assignments_total": [],
    "reading_restarts_total": ["why"],
    "partition_held": ["topic", "partition"],
    "pending_predictions": [],
    "quarantined_total": [],
    "suspects_total": ["model"],
    "records_polled_total": [],
    "reference_events": ["model"],
    "requests_refused_total": ["status"],
    "rollback_actions": ["model", "state"],
    "rollbacks_total": ["model", "state"],
    "series_dropped_total": ["metric"],
    "served_version_info": ["model", "version"],
    "stage_seconds_total": ["stage"],
    "state_commit_timestamp_seconds": [],
    "statistic": ["model", "family"],
    "streams": ["model"],
    "threshold": ["model"],
    "transitions_total": ["model", "verdict", "change"],
    "turn_seconds": [],
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """The series of one metric by their label values, read out of a scrape, which sorts labels by name."""
    order = SPECIFIED.get(name.removeprefix("tocsin_"))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        tuple(sample.labels[label] for label in order or sample.labels): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def test_the_names_types_and_labels_are_the_ones_that_dashboards_rely_on(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    assert metrics.reading  # registering is what is under test
    found = {}
    for family in registry.collect():
        if family.name.startswith("process_"):  # the client's own, under the names that everybody knows
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = getattr(registry._names_to_collectors[family.name], "_labelnames", ())
        found[name.removeprefix("tocsin_")] = list(labels)
        assert name.startswith("tocsin_")
        assert re.fullmatch(r"[A-Z1].+[^.]\.", family.documentation)
        assert family.type == "histogram" or not name.endswith(("_bucket", "_count", "_sum"))
    assert found == SPECIFIED


def test_making_them_twice_on_one_registry_is_an_error(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert metrics
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Metrics(registry)
    Metrics(CollectorRegistry())


def test_a_series_is_made_once_and_counts_per_batch(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert metrics.reading.events.at("m", "label") is metrics.reading.events.at("m", "label")
    metrics.reading.events.at("m", "label").inc(40)
    metrics.reading.events.at("m", "label").inc(2)
    metrics.reading.polled.inc(50)
    assert samples(registry, "tocsin_events_total") == {("m", "label"): 42}
    assert samples(registry, "tocsin_records_polled_total") == {(): 50}


def test_no_created_series(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.reading.events.at("m", "label").inc()
    assert b"_created" not in generate_latest(registry)


def test_label_sets_over_the_cap_go_to_other_and_are_counted(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, max_series=3)
    for number in range(1000):
        metrics.reading.events.at(f"model-{number}", "label").inc()
    metrics.reading.events.at("model-0", "label").inc()
    assert samples(registry, "tocsin_events_total") == {
        ("model-0", "label"): 2,
        ("model-1", "label"): 1,
        ("model-2", "label"): 1,
        (OTHER, OTHER): 997,
    }
    assert samples(registry, "tocsin_series_dropped_total")[("tocsin_events_total",)] == 997
    assert samples(registry, "tocsin_series_dropped_total")[("tocsin_streams",)] == 0


def test_gauges_known_as_a_whole_lose_what_is_gone_and_make_room(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, max_series=2)
    metrics.reading.lag.set_all({("t", "0"): 5, ("t", "1"): 6})
    metrics.reading.lag.set_all({("t", "1"): 7, ("t", "2"): 8})
    assert samples(registry, "tocsin_consumer_lag_records") == {("t", "1"): 7, ("t", "2"): 8}
    metrics.reading.lag.set_all({})
    assert samples(registry, "tocsin_consumer_lag_records") == {}


def test_a_group_of_gauges_is_replaced_as_a_whole(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, max_series=3)
    metrics.detection.evidence.set_group("a", {("source", "x"): 5.0, ("source", "y"): 6.0})
    metrics.detection.evidence.set_group("b", {("source", "x"): 7.0, ("class", "spam"): 8.0})
    metrics.detection.evidence.set_group("a", {("source", "y"): 9.0})
    metrics.detection.evidence.set_group("b", {("source", "x"): 7.0, ("class", "spam"): 8.0})
    shown = samples(registry, "tocsin_evidence")
    assert {place: value for place, value in shown.items() if OTHER not in place} == {
        ("a", "source", "y"): 9.0,
        ("b", "source", "x"): 7.0,
        ("b", "class", "spam"): 8.0,
    }
    metrics.detection.learnt.set_group("a", {(): 4.0})
    metrics.detection.learnt.set_group("a", {})
    assert samples(registry, "tocsin_reference_events") == {}


def test_one_version_of_a_model_is_shown(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, max_series=2)
    metrics.detection.served_version.show("a", "1")
    metrics.detection.served_version.show("b", "1")
    metrics.detection.served_version.show("a", "2")
    assert samples(registry, "tocsin_served_version_info") == {("a", "2"): 1, ("b", "1"): 1}


def test_a_scrape_survives_hostile_names(registry: CollectorRegistry, metrics: Metrics) -> None:
    hostile = ['"\n\\', "\x00\x1b", "\ud800", "ünï", ""]
    for name in hostile:
        metrics.reading.events.at(name, "label").inc()
    metrics.detection.streams.set_all({("\ud800",): 1})
    metrics.detection.streams.set_all({})
    found = samples(registry, "tocsin_events_total")
    assert set(found) == {('"\n\\', "label"), ("\x00\x1b", "label"), ("?", "label"), ("ünï", "label"), ("", "label")}
    assert samples(registry, "tocsin_streams") == {}


def test_threads_lose_no_count_and_respect_the_cap(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, max_series=10)
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        for number in range(500):
            metrics.reading.events.at(f"model-{number % 25}", "label").inc()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(registry, "tocsin_events_total")
    assert len(found) == 11
    assert sum(found.values()) == 4000


@given(
    batches=st.lists(
        st.lists(st.floats(0, 100) | st.sampled_from([1.0, 10.0, float("nan"), float("inf"), -1.0])), max_size=5
    )
)
def test_a_batch_histogram_says_what_prometheus_says_value_by_value(batches: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batch = BatchHistogram(ours, "delay_seconds", "A delay.", [1.0, 2.5, 10.0])
    single = Histogram("delay_seconds", "A delay.", registry=theirs, buckets=[1.0, 2.5, 10.0])
    for values in batches:
        batch.observe(np.array(values))
        for value in values:
            if np.isfinite(value):
                single.observe(value)
    for name in ("delay_seconds_bucket", "delay_seconds_count"):
        assert samples(ours, name) == samples(theirs, name)
    assert samples(ours, "delay_seconds_sum")[()] == pytest.approx(samples(theirs, "delay_seconds_sum")[()])
