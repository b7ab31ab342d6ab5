"""Rollback and audit: what Tocsin did, proposed or refused, and what it stood on."""

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.look import ALL, BLUE, CALM, GREEN, MODEL, ORANGE, Levels, Query, Row, assemble, figure, lines, listing


def board() -> Dashboard:
    """The board for those who answer for a rollback."""
    why = "Rollbacks by outcome, the incidents behind them, and which version and baseline was in use when."
    return assemble("tocsin-rollback", "Rollback and audit", why, [_rollbacks(), _what_they_stood_on()])


def _state(title: str, why: str, state: str, levels: Levels) -> stat.Panel:
    return figure(
        title, why, Query(f'sum(tocsin_rollback_actions{{{MODEL},state=~"{state}"}}) or vector(0)'), levels=levels
    )


def _rollbacks() -> Row:
    return Row(
        "Rollbacks",
        [
            _state("Done", "Aliases that were moved back, and read back.", "moved|recovered|escalated", {None: BLUE}),
            _state(
                "Proposed",
                "Rollbacks that wait for somebody to approve them.",
                "proposed",
                {None: GREEN, 1: ORANGE},
            ),
            _state(
                "Refused or held",
                "Rollbacks that a check stands against; the incident says which.",
                "refused|held",
                {None: GREEN, 1: ORANGE},
            ),
            _state(
                "Unknown",
                "Moves that did not help, or that nobody can tell: a person must look.",
                "unknown|escalated",
                CALM,
            ),
            _state("Observed", "What would have been done, where the mode is observe.", "observed", {None: BLUE}),
            figure(
                "Last rollback",
                "When an alias was last moved back.",
                Query(f"max(tocsin_last_rollback_timestamp_seconds{{{MODEL}}}) * 1000"),
                "dateTimeFromNow",
            ),
            listing(
                "By model and state",
                "Every rollback that an incident asked for, from the store: it outlives restarts.",
                {"Rollbacks": Query(f"sum by (model, state) (tocsin_rollback_actions{{{MODEL}}})", "model,state")},
                width=12,
            ),
            lines(
                "Outcomes",
                "States that rollbacks have come to since the process began.",
                Query(f"sum by (state) (tocsin_rollbacks_total{{{MODEL}}})", "{{state}}"),
                stack=True,
            ),
        ],
    )


def _what_they_stood_on() -> Row:
    return Row(
        "What they stood on",
        [
            lines(
                "Steps of incidents",
                "Incidents opened, updated, acted upon and resolved since the process began.",
                Query(f"sum by (change) (tocsin_transitions_total{{{MODEL}}})", "{{change}}"),
                stack=True,
            ),
            lines(
                "Incidents, by verdict",
                "Incidents that are firing. A rollback is asked for only where the model itself is poisoned.",
                Query(f"sum by (verdict) (tocsin_incidents_open{{{MODEL}}})", "{{verdict}}"),
                stack=True,
            ),
            lines(
                "Refused requests",
                "Requests for the API and its pages, and webhooks: without a known token or certificate (401), without"
                " the role or a good signature (403), too often (429), with a token whose key is not known yet (503).",
                Query(
                    f"sum by (status) (increase(tocsin_requests_refused_total{{{ALL}}}[$__rate_interval]))",
                    "{{status}}",
                ),
                stack=True,
            ),
            listing(
                "Versions in service",
                "The version that answered each model's newest prediction.",
                {"Serves": Query(f"max by (model, version) (tocsin_served_version_info{{{MODEL}}})", "model,version")},
                width=12,
            ),
            listing(
                "Baselines in use",
                "What each model is held against, by its digest.",
                {"In use": Query(f"max by (model, digest) (tocsin_baseline_info{{{MODEL}}})", "model,digest")},
                width=12,
            ),
        ],
    )
