"""Model detail: one model, its traffic, its labels, and what is held against it."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.look import GREEN, MODEL, ORANGE, RED, TO_INCIDENT, Link, Query, Row, assemble, figure, lines, listing

TO_FORENSICS = Link(
    "Who and what", "/d/tocsin-forensics?${datasource:queryparam}&${model:queryparam}&${__url_time_range}"
)
RATIO = f"max by (model) (tocsin_statistic{{{MODEL}}} / on (job, instance, model) group_left () tocsin_threshold)"


def board() -> Dashboard:
    """The board of one model."""
    why = "One model: its evidence, its traffic, its labels and its incidents."
    return assemble(
        "tocsin-model",
        "Model detail",
        why,
        [_now(), _what_is_held_against_it(), _how_sure_and_how_far(), _traffic(), _baseline()],
        one_model=True,
    )


def _now() -> Row:
    return Row(
        "Now",
        [
            figure(
                "Evidence",
                "The largest evidence as a share of the threshold. At 100 % an incident opens.",
                Query(RATIO),
                "percentunit",
                {None: GREEN, 0.1: ORANGE, 1: RED},
            ),
            figure(
                "Incidents",
                "Incidents of this model that are firing.",
                Query(f"sum(tocsin_incidents_open{{{MODEL}}}) or vector(0)"),
                levels={None: GREEN, 1: RED},
            ),
            figure(
                "Version",
                "The version that answered last.",
                Query(f"max by (version) (tocsin_served_version_info{{{MODEL}}})", "{{version}}"),
                name=True,
            ),
            figure(
                "False-alarm budget",
                "Events in which one false incident is allowed on average: the threshold of the evidence.",
                Query(f"max(tocsin_threshold{{{MODEL}}})"),
            ),
            figure(
                "Streams",
                "Score streams that are watched, over all sources and labelers seen.",
                Query(f"sum(tocsin_streams{{{MODEL}}})"),
            ),
            figure(
                "Newest event",
                "Event time of the newest event.",
                Query(f"max(tocsin_last_event_timestamp_seconds{{{MODEL}}}) * 1000"),
                "dateTimeFromNow",
            ),
        ],
    )


def _what_is_held_against_it() -> Row:
    return Row(
        "What is held against it",
        [
            lines(
                "Evidence, by family",
                "Evidence of each family of streams, and the threshold at which an incident opens; logarithmic.",
                Query(f"max by (family) (tocsin_statistic{{{MODEL}}})", "{{family}}"),
                Query(f"max(tocsin_threshold{{{MODEL}}})", "threshold"),
                log=True,
                width=16,
            ),
            listing(
                "Open incidents",
                "Incidents of this model that are firing, with the event time at which they opened.",
                {
                    "Opened": Query(
                        f"tocsin_incident_opened_timestamp_seconds{{{MODEL}}} * 1000",
                        "verdict,severity,version,incident",
                    )
                },
                unit="dateTimeFromNow",
                links=[TO_INCIDENT, TO_FORENSICS],
                width=8,
            ),
        ],
    )


def _how_sure_and_how_far() -> Row:
    return Row(
        "How sure, and how far",
        [
            lines(
                "How sure",
                "How sure the verdict of each open incident is. Below 60 % one in three was right, and no alias is"
                " moved (`rollback.min_confidence`).",
                Query(f"max by (incident) (tocsin_incident_confidence_ratio{{{MODEL}}})", "{{incident}}"),
                unit="percentunit",
                width=6,
            ),
            listing(
                "What speaks against it",
                "What the next best verdict would explain as well; 1 is the weightiest.",
                {
                    "Rank": Query(
                        f"sort(max by (incident, objection) (tocsin_incident_objection_rank{{{MODEL}}}))",
                        "objection,incident",
                    )
                },
                links=[TO_INCIDENT],
                width=10,
            ),
            lines(
                "Reach",
                "Events since the early end of the onset: predictions by version, inputs and labels of whom the"
                " incident names.",
                Query(
                    f"max by (incident, kind, name) (tocsin_incident_reach_events{{{MODEL}}})",
                    "{{incident}}: {{kind}} {{name}}",
                ),
                width=8,
            ),
        ],
    )


def _traffic() -> Row:
    return Row(
        "Traffic",
        [
            lines(
                "Events",
                "Events a second, by kind.",
                Query(f"sum by (kind) (rate(tocsin_events_total{{{MODEL}}}[$__rate_interval]))", "{{kind}}"),
                unit="eps",
            ),
            lines(
                "Missing and wrong values",
                "Feature values a second that were missing or not of the baseline's type.",
                Query(f"sum(rate(tocsin_invalid_values_total{{{MODEL}}}[$__rate_interval]))", "values"),
                unit="cps",
            ),
            lines(
                "Labelled predictions",
                "Labels that found their prediction, as a share of predictions. Errors show in these only.",
                Query(
                    f"sum(rate(tocsin_labels_joined_total{{{MODEL}}}[1h]))"
                    f' / sum(rate(tocsin_events_total{{{MODEL},kind="prediction"}}[1h]))',
                    "labelled",
                ),
                unit="percentunit",
            ),
            lines(
                "Versions",
                "Which version served when.",
                Query(f"max by (version) (tocsin_served_version_info{{{MODEL}}})", "{{version}}"),
                stack=True,
            ),
        ],
    )


def _baseline() -> Row:
    return Row(
        "Baseline",
        [
            figure(
                "Digest",
                "The baseline in use, by its digest; `tocsin baseline verify --digest` takes it.",
                Query(f"max by (digest) (tocsin_baseline_info{{{MODEL}}})", "{{digest}}"),
                name=True,
                width=12,
            ),
            figure(
                "Learnt from",
                "Events that the baseline in use was built from.",
                Query(f"max(tocsin_baseline_events{{{MODEL}}})"),
                width=6,
            ),
            figure(
                "Learning",
                "Events taken so far for a baseline that is not finished. Nothing is found before it is.",
                Query(f"max(tocsin_reference_events{{{MODEL}}}) or vector(0)"),
                width=6,
            ),
        ],
    )
