"""Fleet overview: is anything wrong, and where."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.look import (
    ALL,
    CALM,
    GREEN,
    MODEL,
    ORANGE,
    RED,
    TO_INCIDENT,
    Link,
    Query,
    Row,
    assemble,
    figure,
    lines,
    listing,
)

TO_MODEL = Link(
    "This model", "/d/tocsin-model?${datasource:queryparam}&var-model=${__data.fields.model}&${__url_time_range}"
)


def board() -> Dashboard:
    """The board that one begins with."""
    return assemble(
        "tocsin-fleet",
        "Fleet overview",
        "All models: open incidents, and how near the next one is.",
        [_now(), _incidents(), _models()],
    )


def _now() -> Row:
    return Row(
        "Now",
        [
            figure(
                "Critical incidents",
                "Incidents of severity critical that are firing: somebody should look now.",
                Query(f'sum(tocsin_incidents_open{{{MODEL},severity="critical"}}) or vector(0)'),
                levels=CALM,
            ),
            figure(
                "Other incidents",
                "Incidents of severity warning or info that are firing.",
                Query(f'sum(tocsin_incidents_open{{{MODEL},severity!="critical"}}) or vector(0)'),
                levels={None: GREEN, 1: ORANGE},
            ),
            figure(
                "Nearest to an alarm",
                "The largest evidence of any model, as a share of its threshold. At 100 % an incident opens.",
                Query(f"max(tocsin_statistic{{{MODEL}}} / on (job, instance, model) group_left () tocsin_threshold)"),
                "percentunit",
                {None: GREEN, 0.1: ORANGE, 1: RED},
            ),
            figure(
                "Models watched",
                "Models that are held against a baseline.",
                Query(f'sum(tocsin_models{{{ALL},state="watched"}})'),
            ),
            figure(
                "Models learning",
                "Models whose baseline is still being learnt; nothing is found in them until that is done.",
                Query(f'sum(tocsin_models{{{ALL},state="learning"}})'),
                levels={None: GREEN, 1: ORANGE},
            ),
            figure(
                "Records not read yet",
                "Consumer lag over all partitions. What is not read is not watched.",
                Query(f"sum(tocsin_consumer_lag_records{{{ALL}}})"),
                levels={None: GREEN, 10_000: ORANGE, 1_000_000: RED},
            ),
        ],
    )


def _incidents() -> Row:
    return Row(
        "Incidents",
        [
            listing(
                "Open incidents",
                "Every incident that is firing, with the event time at which it opened.",
                {
                    "Opened": Query(
                        f"tocsin_incident_opened_timestamp_seconds{{{MODEL}}} * 1000",
                        "incident,model,version,verdict,severity",
                    )
                },
                unit="dateTimeAsIso",
                links=[TO_INCIDENT, TO_MODEL],
            ),
            listing(
                "How sure, and how far",
                "How sure each verdict is, and what was answered since the early end of its onset. Below 60 % a verdict"
                " was right in one case of three; the board of the model says what speaks against it.",
                {
                    "Sure, %": Query(
                        f"100 * max by (incident, model) (tocsin_incident_confidence_ratio{{{MODEL}}})",
                        "incident,model",
                    ),
                    "Predictions served since": Query(
                        f'sum by (incident, model) (tocsin_incident_reach_events{{{MODEL},kind="predictions"}})',
                        "incident,model",
                    ),
                },
                links=[TO_INCIDENT, TO_MODEL],
            ),
            lines(
                "Incidents firing",
                "How many incidents are firing, by verdict.",
                Query(f"sum by (verdict) (tocsin_incidents_open{{{MODEL}}})", "{{verdict}}"),
                stack=True,
            ),
            lines(
                "Incidents opened",
                "Incidents opened since the process began, by their first verdict.",
                Query(f"sum by (verdict) (tocsin_incidents_total{{{MODEL}}})", "{{verdict}}"),
                stack=True,
            ),
        ],
    )


def _models() -> Row:
    return Row(
        "Models",
        [
            lines(
                "Evidence, of the ten models nearest to an alarm",
                "The largest evidence of a model as a share of its threshold, on a logarithmic scale.",
                Query(
                    f"topk(10, max by (model) (tocsin_statistic{{{MODEL}}}"
                    " / on (job, instance, model) group_left () tocsin_threshold))",
                    "{{model}}",
                ),
                unit="percentunit",
                log=True,
            ),
            lines(
                "Events, of the ten busiest models",
                "Events a second of all kinds.",
                Query(
                    f'topk(10, sum by (model) (rate(tocsin_events_total{{{MODEL},model!=""}}[$__rate_interval])))',
                    "{{model}}",
                ),
                unit="eps",
            ),
            listing(
                "Every model",
                "Evidence as a share of the threshold, events a second, newest event, events of the reference.",
                {
                    "Evidence, % of the threshold": Query(
                        f"100 * max by (model) (tocsin_statistic{{{MODEL}}}"
                        " / on (job, instance, model) group_left () tocsin_threshold)",
                        "model",
                    ),
                    "Events a second": Query(
                        f'sum by (model) (rate(tocsin_events_total{{{MODEL},model!=""}}[5m]))', "model"
                    ),
                    "Newest event, seconds ago": Query(
                        f"time() - max by (model) (tocsin_last_event_timestamp_seconds{{{MODEL}}})", "model"
                    ),
                    "Events of the reference": Query(f"max by (model) (tocsin_baseline_events{{{MODEL}}})", "model"),
                },
                links=[TO_MODEL],
            ),
            lines(
                "Models, by what is done with them",
                "Models that are watched, and models that are learning their baseline.",
                Query(f"sum by (state) (tocsin_models{{{ALL}}})", "{{state}}"),
                stack=True,
            ),
            lines(
                "Events of models that are not configured",
                "Events a second that nobody watches, and labels that wait for their prediction.",
                Query(f'sum by (kind) (rate(tocsin_events_total{{{ALL},model=""}}[$__rate_interval]))', "{{kind}}"),
                unit="eps",
            ),
        ],
    )
