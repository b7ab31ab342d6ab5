"""Every metric that Tocsin exports, in one place; the help texts are the documentation.

Names follow the Prometheus conventions: prefix `tocsin_`, base units, `_total` on counters, timestamps instead of
ages. The `process_*` metrics are those of the Prometheus client. What is shown where is in `grafana/`.
"""

import platform
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from monitor.telemetry.series import BatchHistogram, Maker

MAX_SERIES = 10_000
"""Label sets that each metric may have: ten for each of a thousand models."""

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_DELAYS = (1.0, 10.0, _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY, 30 * _DAY)
_DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Reading:
    """Records in."""

    def __init__(self, make: Maker) -> None:
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
        self.suspects = make.counter(
            "suspects_total", "Events written down for whoever retrains to leave them out, by model.", "model"
        )
        self.posted = make.counter(
            "http_events_total",
            "Events posted over HTTP: appended to the topic, or failed where Kafka did not take them; batches refused.",
            "outcome",
        )
        for outcome in ("appended", "failed", "refused"):
            self.posted.at(outcome)  # from 0 on, so that the first one is an increase
        self.lag = make.gauge(
            "consumer_lag_records", "Records not read yet, of each partition assigned here.", "topic", "partition"
        )
        self.assignments = Counter(
            "tocsin_partition_assignments_total",
            "Times that partitions were assigned: once at the start, and again after every rebalance.",
            registry=make.registry,
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

    def __init__(self, make: Maker) -> None:
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

    def __init__(self, make: Maker) -> None:
        self.statistic = make.gauge(
            "statistic",
            "Evidence for a change in a family of streams; an incident opens when it reaches tocsin_threshold.",
            "model",
            "family",
        )
        self.evidence = make.gauge(
            "evidence",
            "Evidence against the loudest sources, labelers, classes and features of a model, from a thousandth of"
            " tocsin_threshold on.",
            "model",
            "kind",
            "name",
        )
        self.threshold = make.gauge(
            "threshold", "The false-alarm budget: events per false incident while all is well.", "model"
        )
        self.models = make.gauge("models", "Models, by state: learning their baseline, or watched.", "state")
        self.learnt = make.gauge(
            "reference_events", "Events taken so far for a baseline that is still being learnt.", "model"
        )
        self.streams = make.gauge("streams", "Score streams that are watched, by model.", "model")
        self.invalid_values = make.counter(
            "invalid_values_total", "Feature values that were missing or not of the baseline's type, by model.", "model"
        )
        self.outliers = make.counter(
            "outliers_total",
            "Events whose inputs were unlike the reference: listed as suspects, or dropped as too many in an hour.",
            "model",
            "outcome",
        )
        self.drill = make.gauge(
            "drill_events",
            "Events until the last simulated fault was found, by model and kind; +Inf if it was not.",
            "model",
            "kind",
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

    def __init__(self, make: Maker) -> None:
        self.open = make.gauge("incidents_open", "Incidents that are firing now.", "model", "verdict", "severity")
        self.opened_at = make.gauge(
            "incident_opened_timestamp_seconds",
            "Event time at which each incident that is firing now was opened, in epoch seconds.",
            "incident",
            "model",
            "version",
            "verdict",
            "severity",
        )
        self.confidence = make.gauge(
            "incident_confidence_ratio",
            "How sure the verdict of each incident that is firing is; none of what is seen and not inferred.",
            "incident",
            "model",
        )
        self.objection = make.gauge(
            "incident_objection_rank",
            "What speaks against each incident that is firing: three clauses at most, 1 is the weightiest.",
            "incident",
            "model",
            "objection",
        )
        self.reach = make.gauge(
            "incident_reach_events",
            "Events since the early end of the onset of each incident that is firing: predictions by version,"
            " inputs and labels by whom it names.",
            "incident",
            "model",
            "kind",
            "name",
        )
        self.opened = make.counter("incidents_total", "Incidents opened, by their first verdict.", "model", "verdict")
        self.transitions = make.counter(
            "transitions_total", "Steps of incidents: opened, updated, resolved.", "model", "verdict", "change"
        )
        self.notifications = make.counter(
            "notifications_total",
            "Attempts to deliver a message, by outcome, and by why they failed (none if they did not).",
            "receiver",
            "outcome",
            "reason",
        )
        self.outbox = make.gauge(
            "outbox_messages",
            "Messages in the store, by state (pending, delivered, dead, discarded).",
            "receiver",
            "state",
        )
        self.oldest_message = make.gauge(
            "outbox_oldest_timestamp_seconds",
            "When the oldest message that still waits was written, in epoch seconds, by receiver.",
            "receiver",
        )
        self.delivery = make.histogram(
            "delivery_seconds", "Time of one attempt to deliver a message.", _DURATIONS, "receiver"
        )
        self.rollbacks = make.counter("rollbacks_total", "States that rollbacks have come to.", "model", "state")
        self.actions = make.gauge(
            "rollback_actions", "Rollbacks that incidents asked for, by the state they are in.", "model", "state"
        )
        self.last_rollback = make.gauge(
            "last_rollback_timestamp_seconds", "When an alias was last moved back, in epoch seconds.", "model"
        )


class Running:
    """The process itself."""

    def __init__(self, make: Maker) -> None:
        self.commit_timestamp = Gauge(
            "tocsin_state_commit_timestamp_seconds", "When state was last committed.", registry=make.registry
        )
        self.commit = Histogram(
            "tocsin_commit_seconds", "Time to commit the state.", registry=make.registry, buckets=_DURATIONS
        )
        self.stage = make.counter(
            "stage_seconds_total", "Time that records take, by stage: decode (and join), detect.", "stage"
        )
        self.turn = Histogram(
            "tocsin_turn_seconds",
            "Time of one turn of the loop, without waiting for records.",
            registry=make.registry,
            buckets=_DURATIONS,
        )
        self.job_done = make.gauge(
            "job_success_timestamp_seconds", "When a periodic job last ended well, in epoch seconds.", "task"
        )
        self.job_failed = make.counter("job_failures_total", "Runs of a periodic job that failed.", "task")
        self.restarts = make.counter(
            "reading_restarts_total",
            "How often reading began anew after a failure: source, store or quarantine.",
            "why",
        )
        self.refused = make.counter(
            "requests_refused_total",
            "Requests for the API and the pages, and webhooks, that were refused, by status: 401 without a known token"
            " or certificate, 403 without the role or a good signature, 429 too often, 503 a key is unknown.",
            "status",
        )
        for status in ("401", "403", "429", "503"):
            self.refused.at(status)  # from 0 on, so that the first refusals are an increase
        ProcessCollector(registry=make.registry)
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
        make = Maker(registry, max_series)
        self.reading = Reading(make)
        self.joining = Joining(make)
        self.detection = Detection(make)
        self.reacting = Reacting(make)
        self.running = Running(make)
