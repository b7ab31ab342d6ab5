"""What operators see: a real Prometheus scrapes the daemon under attack, and a real Alertmanager hears of it."""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.kit.boards import Expression, boards, panel_expressions, rule_expressions
from tests.kit.brokers import Broker
from tests.kit.fleet import Fleet, running_fleet, wait_until
from tests.kit.preview import draw, titles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PACE = float(os.environ.get("TOCSIN_PACE", "25"))
"""Seconds of the attack; more of them make better pictures."""
EMPTY = {
    "TocsinBusy": "needs more events than a core can work through, for half an hour",
    "TocsinDrillFailed": "every simulated fault is found",
    "TocsinJobFails": "needs a store or a registry that is broken for a quarter of an hour",
    "TocsinJobMissing": "needs a job that hangs for five minutes",
    "TocsinLabelsMissing": "needs an hour without labels",
    "TocsinLagGrows": "needs 10,000 unread records that become more",
    "TocsinManyDuplicates": "needs a producer that repeats itself for a quarter of an hour",
    "TocsinMessagesWaiting": "needs a receiver that is down for a quarter of an hour",
    "TocsinReadingFails": "needs Kafka or the store to fail",
    "TocsinRebalances": "needs five rebalances",
    "TocsinRollbackRefused": "needs a target that ceases to be good right before the move",
    "TocsinRollbackUnknown": "needs a registry that is lost in the middle of a move",
    "TocsinNotReading": "partitions are assigned sooner than Prometheus looks",
    "TocsinStalled": "state is committed sooner than Prometheus looks",
    "TocsinTokensGuessed": "needs a hundred refused requests",
    "TocsinSeriesDropped": "needs more than 10,000 label sets of one metric",
    "tocsin-pipeline / Assignments, restarts and held partitions / B": "nothing has failed",
    "tocsin-pipeline / Periodic jobs that failed / A": "no job has failed",
}
"""Expressions without data under this attack, and why; promtool's unit tests have them all."""


@pytest.fixture(scope="module")
def fleet(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(embedded_broker, tmp_path_factory.mktemp("fleet"), PACE) as running:
        wait_until(lambda: rollbacks(running) == {"mail": "moved", "fraud": "proposed", "intrusion": "held"})
        wait_until(lambda: bool(running.prometheus.query('tocsin_outbox_messages{state="dead"}')))
        yield running


def rollbacks(fleet: Fleet) -> dict[str, str]:
    """The state of each model's rollback."""
    series = [one["metric"] for one in fleet.prometheus.query("tocsin_rollback_actions")]
    return {labels["model"]: labels["state"] for labels in series}


def has_data(fleet: Fleet, expression: Expression, **variables: str) -> bool:
    """Whether it gave anything at any time since the beginning."""
    filled = expression.filled_in(**variables)
    return bool(fleet.prometheus.query_range(filled, fleet.began, time.time(), 1.0))


def test_every_expression_of_every_panel_and_rule_gives_data(fleet: Fleet) -> None:
    expressions = [*panel_expressions(), *rule_expressions()]
    assert len(expressions) > 100
    assert EMPTY.keys() <= {expression.place for expression in expressions}
    assert {expression.place for expression in expressions if not has_data(fleet, expression)} <= EMPTY.keys()


def test_every_panel_of_one_model_gives_data_for_that_model(fleet: Fleet) -> None:
    asked = [e for e in panel_expressions() if e.place.startswith(("tocsin-model", "tocsin-forensics"))]
    for expression in asked:
        assert any(has_data(fleet, expression, model=model) for model in ("mail", "credit")), expression.place


def test_the_alerts_reach_alertmanager_and_whoever_it_tells(fleet: Fleet) -> None:
    wanted = {
        "TocsinIncidentCritical",
        "TocsinMessagesDead",
        "TocsinModelNotWatched",
        "TocsinPartitionHeld",
        "TocsinRollbackDone",
        "TocsinRollbackProposed",
        "TocsinWatchdog",
    }
    firing: dict[str, set[str]] = defaultdict(set)

    def all_are_there() -> bool:
        alerts = httpx.get(f"http://{fleet.alertmanager}/api/v2/alerts").json()
        for alert in alerts:
            firing[alert["labels"]["alertname"]].add(alert["annotations"]["summary"])
        return wanted <= firing.keys()

    wait_until(all_are_there)
    assert "mail: label_flip" in firing["TocsinIncidentCritical"]
    assert {summary.partition("-")[0] for summary in firing["TocsinPartitionHeld"]} == {"garbage"}
    told = lambda: {json.loads(request.body)["commonLabels"]["alertname"] for request in fleet.alerts.requests}  # noqa: E731
    wait_until(lambda: wanted <= told())


def test_who_did_it_is_seen(fleet: Fleet) -> None:
    loudest = fleet.prometheus.query('topk(1, max_over_time(tocsin_evidence{model="mail",kind="class"}[5m]))')
    assert [series["metric"]["name"] for series in loudest] == ["spam"]


def test_a_preview_of_every_board_can_be_drawn(fleet: Fleet, tmp_path: Path) -> None:
    span = (fleet.began, time.time())
    for board in boards():
        one_model = board["uid"] in ("tocsin-model", "tocsin-forensics")
        picture = tmp_path / f"{board['uid']}.png"
        drawn = draw(board, fleet.prometheus, span, picture, **({"model": "mail"} if one_model else {}))
        assert len(drawn) >= len(titles(board)) - 3
        assert picture.stat().st_size > 50_000
