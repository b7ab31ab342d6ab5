"""Pipeline health: does everything that happens reach the detectors, and the people."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.look import ALL, CALM, GREEN, ORANGE, RED, Query, Row, assemble, figure, lines


def board() -> Dashboard:
    """The board about Tocsin itself."""
    why = "Tocsin itself: reading, joining labels, working, storing, telling."
    return assemble("tocsin-pipeline", "Pipeline health", why, _rows())


def _rate(metric: str, by: str) -> Query:
    return Query(f"sum by ({by}) (rate({metric}{{{ALL}}}[$__rate_interval]))", f"{{{{{by}}}}}")


def _quantiles(metric: str, by: str = "") -> list[Query]:
    labels = f"le, {by}" if by else "le"
    name = f"{{{{{by}}}}} " if by else ""
    return [
        Query(
            f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{ALL}}}[$__rate_interval])))",
            f"{name}{q:.0%}",
        )
        for q in (0.5, 0.99)
    ]


def _rows() -> list[Row]:
    return [_now(), _reading(), _joining(), _working(), _telling(), _process()]


def _now() -> Row:
    return Row(
        "Now",
        [
            figure(
                "Last commit",
                "When state was last committed. It should be seconds ago, whether events come or not.",
                Query(f"min(tocsin_state_commit_timestamp_seconds{{{ALL}}}) * 1000"),
                "dateTimeFromNow",
            ),
            figure(
                "Records not read yet",
                "Consumer lag over all partitions.",
                Query(f"sum(tocsin_consumer_lag_records{{{ALL}}})"),
                levels={None: GREEN, 10_000: ORANGE, 1_000_000: RED},
            ),
            figure(
                "Partitions assigned",
                "Partitions that are read. None means that nothing is watched.",
                Query(f"count(tocsin_consumer_lag_records{{{ALL}}})"),
                levels={None: RED, 1: GREEN},
            ),
            figure(
                "Partitions held",
                "Partitions that are not read any more, because too many of their records were no events.",
                Query(f"sum(tocsin_partition_held{{{ALL}}}) or vector(0)"),
                levels=CALM,
            ),
            figure(
                "Messages dead",
                "Messages that their receiver has refused for good.",
                Query(f'sum(tocsin_outbox_messages{{{ALL},state="dead"}}) or vector(0)'),
                levels=CALM,
            ),
            figure(
                "Tocsin",
                "The version that runs.",
                Query(f"max by (version, python) (tocsin_build_info{{{ALL}}})", "{{version}} on Python {{python}}"),
                name=True,
            ),
        ],
    )


def _reading() -> Row:
    return Row(
        "Reading",
        [
            lines(
                "Records",
                "Records a second read from the source, valid or not.",
                _rate("tocsin_records_polled_total", "instance"),
                unit="rps",
            ),
            lines(
                "Lag",
                "Records not read yet, of each partition.",
                Query(f"sum by (topic, partition) (tocsin_consumer_lag_records{{{ALL}}})", "{{topic}}[{{partition}}]"),
            ),
            lines(
                "Records that are no events",
                "Refused records a second, by reason, and how many were kept in the quarantine.",
                _rate("tocsin_events_invalid_total", "reason"),
                Query(f"sum(rate(tocsin_quarantined_total{{{ALL}}}[$__rate_interval]))", "quarantined"),
                unit="rps",
            ),
            lines(
                "Events over HTTP",
                "Events a second that were appended, or that Kafka did not take; and batches that were refused.",
                _rate("tocsin_http_events_total", "outcome"),
                unit="rps",
            ),
            lines(
                "Assignments, restarts and held partitions",
                "How often partitions were assigned, which every rebalance does; how often reading began anew.",
                Query(
                    f"sum by (instance) (tocsin_partition_assignments_total{{{ALL}}})",
                    "assigned {{instance}}",
                ),
                Query(f"sum by (why) (tocsin_reading_restarts_total{{{ALL}}})", "restarted {{why}}"),
                Query(f"sum by (topic, partition) (tocsin_partition_held{{{ALL}}})", "held {{topic}}[{{partition}}]"),
            ),
        ],
    )


def _joining() -> Row:
    return Row(
        "Joining labels",
        [
            lines(
                "Labels joined",
                "Labels a second that found their prediction.",
                Query(f"sum(rate(tocsin_labels_joined_total{{{ALL}}}[$__rate_interval]))", "joined"),
                unit="eps",
                width=8,
            ),
            lines(
                "Labels and predictions without each other",
                "Labels and predictions a second that took part in no join, by reason.",
                _rate("tocsin_labels_unmatched_total", "reason"),
                unit="eps",
                width=8,
            ),
            lines(
                "Predictions waiting",
                "Predictions kept until their label comes, or until they are too old.",
                Query(f"sum by (instance) (tocsin_pending_predictions{{{ALL}}})"),
                width=8,
            ),
        ],
    )


def _working() -> Row:
    return Row(
        "Working and storing",
        [
            lines(
                "Time of a turn",
                "Time to work through one batch of records, without waiting for them.",
                *_quantiles("tocsin_turn_seconds"),
                unit="s",
                width=8,
            ),
            lines(
                "Time of a commit",
                "Time to write what has changed, in one transaction.",
                *_quantiles("tocsin_commit_seconds"),
                unit="s",
                width=8,
            ),
            lines(
                "Time spent working",
                "Share of time that the loop does not wait for records; of it, decoding and joining, and detecting.",
                _rate("tocsin_stage_seconds_total", "stage"),
                Query(f"sum by (instance) (rate(tocsin_turn_seconds_sum{{{ALL}}}[$__rate_interval]))"),
                unit="percentunit",
                width=8,
            ),
            lines(
                "Periodic jobs",
                "Seconds since each periodic job last ended well.",
                Query(f"time() - max by (task) (tocsin_job_success_timestamp_seconds{{{ALL}}})", "{{task}}"),
                unit="s",
            ),
            lines(
                "Periodic jobs that failed",
                "Runs of periodic jobs that failed since the process began.",
                Query(f"sum by (task) (tocsin_job_failures_total{{{ALL}}})", "{{task}}"),
            ),
        ],
    )


def _telling() -> Row:
    return Row(
        "Telling people",
        [
            lines(
                "Outbox",
                "Messages in the store, by receiver and state.",
                Query(f"sum by (receiver, state) (tocsin_outbox_messages{{{ALL}}})", "{{receiver}} {{state}}"),
            ),
            lines(
                "Oldest message that waits",
                "Seconds since the oldest message that is still to be delivered was written.",
                Query(f"time() - min by (receiver) (tocsin_outbox_oldest_timestamp_seconds{{{ALL}}})", "{{receiver}}"),
                unit="s",
            ),
            lines(
                "Attempts",
                "Attempts a second to deliver a message, by outcome, and why they failed.",
                Query(
                    f"sum by (receiver, outcome, reason) (rate(tocsin_notifications_total{{{ALL}}}[$__rate_interval]))",
                    "{{receiver}} {{outcome}} {{reason}}",
                ),
                unit="ops",
            ),
            lines(
                "Time of an attempt",
                "How long one attempt to deliver a message takes.",
                *_quantiles("tocsin_delivery_seconds", "receiver"),
                unit="s",
            ),
        ],
    )


def _process() -> Row:
    return Row(
        "The process",
        [
            lines(
                "CPU",
                "Cores used.",
                Query(f"sum by (instance) (rate(process_cpu_seconds_total{{{ALL}}}[$__rate_interval]))"),
                width=6,
            ),
            lines(
                "Memory",
                "Resident memory.",
                Query(f"sum by (instance) (process_resident_memory_bytes{{{ALL}}})"),
                unit="bytes",
                width=6,
            ),
            lines(
                "Running since",
                "Seconds since the process began.",
                Query(f"time() - max by (instance) (process_start_time_seconds{{{ALL}}})"),
                unit="s",
                width=6,
            ),
            lines(
                "Series dropped",
                "Updates a second that went to the series __other__: their metric was full.",
                Query(
                    f"topk(5, sum by (metric) (rate(tocsin_series_dropped_total{{{ALL}}}[$__rate_interval])))",
                    "{{metric}}",
                ),
                unit="ops",
                width=6,
            ),
        ],
    )
