"""Detector forensics: who and what the evidence points at, and how it grew."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.look import MODEL, Query, Row, assemble, lines, listing

NAMES = "Evidence of the five loudest, from a thousandth of the threshold on; logarithmic. "


def board() -> Dashboard:
    """The board for the question who did it."""
    why = "One model: which detectors, sources, labelers, classes and features the evidence is about."
    return assemble(
        "tocsin-forensics",
        "Detector forensics",
        why,
        [_the_engine(), _who(), _what(), _beside_the_engine()],
        one_model=True,
    )


THRESHOLD = Query(f"max(tocsin_threshold{{{MODEL}}})", "threshold")


def _by(kind: str) -> Query:
    return Query(f'max by (name) (tocsin_evidence{{{MODEL},kind="{kind}"}})', "{{name}}")


def _the_engine() -> Row:
    return Row(
        "The engine",
        [
            lines(
                "Statistic against threshold",
                "The largest statistic of each family of streams. At the threshold an incident opens.",
                Query(f"max by (family) (tocsin_statistic{{{MODEL}}})", "{{family}}"),
                THRESHOLD,
                log=True,
                width=24,
            ),
        ],
    )


def _who() -> Row:
    return Row(
        "Who",
        [
            lines(
                "Sources",
                NAMES + "One source alone is a client that changed, or an attacker.",
                _by("source"),
                THRESHOLD,
                log=True,
            ),
            lines(
                "Labelers",
                NAMES + "One labeler alone is someone who errs, or lies.",
                _by("labeler"),
                THRESHOLD,
                log=True,
            ),
        ],
    )


def _what() -> Row:
    return Row(
        "What",
        [
            lines("Classes", NAMES + "True classes that are taken for others.", _by("class"), THRESHOLD, log=True),
            lines("Features", NAMES + "Features whose values have changed.", _by("feature"), THRESHOLD, log=True),
            listing(
                "The loudest now",
                "Everything named above, as a share of the threshold.",
                {
                    "Evidence": Query(
                        f"sort_desc(max by (kind, name) (tocsin_evidence{{{MODEL}}}"
                        " / on (job, instance, model) group_left () tocsin_threshold))",
                        "kind,name",
                    )
                },
                unit="percentunit",
            ),
        ],
    )


def _beside_the_engine() -> Row:
    return Row(
        "Beside the engine",
        [
            lines(
                "Companions",
                "Changes that detectors of river have seen since the process began. They open no incidents.",
                Query(
                    f"sum by (detector, signal) (tocsin_companion_detections_total{{{MODEL}}})",
                    "{{detector}} on {{signal}}",
                ),
            ),
            lines(
                "Label delay",
                "Event time from a prediction to its label, over all models: median and 95th percentile.",
                Query(
                    "histogram_quantile(0.5, sum by (le)"
                    ' (rate(tocsin_label_delay_seconds_bucket{job=~"$job",instance=~"$instance"}[1h])))',
                    "median",
                ),
                Query(
                    "histogram_quantile(0.95, sum by (le)"
                    ' (rate(tocsin_label_delay_seconds_bucket{job=~"$job",instance=~"$instance"}[1h])))',
                    "95th percentile",
                ),
                unit="s",
            ),
            lines(
                "Steps of incidents",
                "What happened to incidents of this model since the process began: opened, updated, resolved.",
                Query(
                    f"sum by (verdict, change) (tocsin_transitions_total{{{MODEL}}})",
                    "{{verdict}} {{change}}",
                ),
            ),
            lines(
                "Drill",
                "Predictions until the last simulated fault was found. It is tried every six hours.",
                Query(f"max by (model, kind) (tocsin_drill_events{{{MODEL}}})", "{{model}}, {{kind}}"),
            ),
            lines(
                "Streams",
                "Score streams that are watched; each new source or labeler adds some, up to a bound.",
                Query(f"sum(tocsin_streams{{{MODEL}}})", "streams"),
            ),
        ],
    )
