"""The rules: sound by the real promtool, complete, and each alert with a section in the runbook."""

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kit.boards import RULES, rules
from tests.kit.documents import ROOT, sections
from tests.kit.prometheus import program

ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)


def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", *map(str, RULES))
    assert done.returncode == 0, done.stdout + done.stderr


class Case(NamedTuple):
    """What comes in, and when the alert is to be silent and when it is to fire."""

    series: dict[str, str]
    silent: tuple[str, ...]
    fires: str
    every: str = "1m"
    """Between two values, and two evaluations."""


AT = 'job="tocsin",instance="a:9464"'
CASES = {
    "TocsinIncidentCritical": Case(
        {f'tocsin_incidents_open{{{AT},model="m",verdict="label_flip",severity="critical"}}': "_x4 1+0x20"},
        ("4m",),
        "7m",
    ),
    "TocsinIncidentOpen": Case(
        {f'tocsin_incidents_open{{{AT},model="m",verdict="performance",severity="warning"}}': "_x4 1+0x20"},
        ("8m",),
        "11m",
    ),
    "TocsinAbsent": Case({"up": "0+0x20"}, ("4m",), "6m"),
    "TocsinNotReading": Case({f'tocsin_build_info{{{AT},version="1"}}': "1+0x60"}, ("9m",), "11m"),
    "TocsinStalled": Case({f"tocsin_state_commit_timestamp_seconds{{{AT}}}": "0+60x5 300+0x20"}, ("7m",), "11m"),
    "TocsinLagGrows": Case(
        {f'tocsin_consumer_lag_records{{{AT},topic="t",partition="0"}}': "0+1000x120"}, ("24m",), "30m"
    ),
    "TocsinBusy": Case({f"tocsin_turn_seconds_sum{{{AT}}}": "0+57x120"}, ("29m",), "40m"),
    "TocsinNoRecords": Case(
        {
            f"tocsin_records_polled_total{{{AT}}}": "0+100x30 3000+0x120",
            f'tocsin_consumer_lag_records{{{AT},topic="t",partition="0"}}': "0+0x150",
        },
        ("30m", "70m"),
        "85m",
    ),
    "TocsinPartitionHeld": Case(
        {f'tocsin_partition_held{{{AT},topic="t",partition="0"}}': "_x4 1+0x20"}, ("4m",), "8m"
    ),
    "TocsinManyInvalid": Case(
        {
            f'tocsin_events_invalid_total{{{AT},reason="not_json"}}': "0+10x60",
            f"tocsin_records_polled_total{{{AT}}}": "0+100x60",
        },
        ("9m",),
        "13m",
    ),
    "TocsinManyDuplicates": Case(
        {
            f'tocsin_labels_unmatched_total{{{AT},reason="duplicate_label"}}': "0+5x5 25+20x60",
            f"tocsin_records_polled_total{{{AT}}}": "0+100x70",
        },
        ("5m", "20m"),
        "40m",
    ),
    "TocsinModelNotWatched": Case(
        {f'tocsin_events_total{{{AT},model="",kind="prediction"}}': "0+60x60"}, ("25m",), "35m"
    ),
    "TocsinStillLearning": Case({f'tocsin_reference_events{{{AT},model="m"}}': "5+0x200"}, ("47h",), "49h", "15m"),
    "TocsinLabelsMissing": Case(
        {
            f'tocsin_labels_joined_total{{{AT},model="m"}}': "0+240x15 3600+0x140",
            f'tocsin_events_total{{{AT},model="m",kind="prediction"}}': "0+240x160",
        },
        ("1h", "7h"),
        "9h",
        "4m",
    ),
    "TocsinMessagesWaiting": Case(
        {f'tocsin_outbox_oldest_timestamp_seconds{{{AT},receiver="r"}}': "0+0x60"}, ("19m",), "23m"
    ),
    "TocsinMessagesDead": Case(
        {f'tocsin_outbox_messages{{{AT},receiver="r",state="dead"}}': "_x5 1+0x120"}, ("4m", "80m"), "8m"
    ),
    "TocsinDrillFailed": Case(
        {f'tocsin_drill_events{{{AT},model="m",kind="labels"}}': "7 7 7 Inf Inf Inf"}, ("2m",), "4m"
    ),
    "TocsinJobFails": Case({f'tocsin_job_failures_total{{{AT},task="figures"}}': "0+1x60"}, ("14m",), "18m"),
    "TocsinJobMissing": Case(
        {
            f'tocsin_job_success_timestamp_seconds{{{AT},task="rollback"}}': "0+0x60",
            f'tocsin_job_success_timestamp_seconds{{{AT},task="prune"}}': "0+0x60",
        },
        ("9m",),
        "13m",
    ),
    "TocsinReadingFails": Case(
        {f'tocsin_reading_restarts_total{{{AT},why="store"}}': "0+0x10 1+1x5 6+0x60"}, ("9m",), "15m"
    ),
    "TocsinRebalances": Case({f"tocsin_partition_assignments_total{{{AT}}}": "1+0x9 1+1x20"}, ("9m",), "20m"),
    "TocsinSeriesDropped": Case(
        {f'tocsin_series_dropped_total{{{AT},metric="tocsin_evidence"}}': "0+5x60"}, ("14m",), "18m"
    ),
    "TocsinTokensGuessed": Case({f'tocsin_requests_refused_total{{{AT},status="401"}}': "0+20x60"}, ("4m",), "15m"),
    "TocsinRollbackDone": Case(
        {f'tocsin_last_rollback_timestamp_seconds{{{AT},model="m"}}': "_x9 600+0x120"}, ("8m", "75m"), "15m"
    ),
    "TocsinRollbackProposed": Case(
        {
            f'tocsin_rollback_actions{{{AT},model="m",state="proposed"}}': "_x4 1+0x60",
            f'tocsin_incidents_open{{{AT},model="m",verdict="label_flip",severity="critical"}}': "_x4 1+0x10 _x20",
        },
        ("3m", "30m"),
        "8m",
    ),
    "TocsinRollbackRefused": Case(
        {f'tocsin_rollback_actions{{{AT},model="m",state="refused"}}': "1+0x70 2+0x100"}, ("65m", "140m"), "75m"
    ),
    "TocsinRollbackUnknown": Case(
        {f'tocsin_rollback_actions{{{AT},model="m",state="unknown"}}': "_x4 1+0x60"}, ("3m",), "8m"
    ),
    "TocsinWatchdog": Case({"up": "1+0x5"}, (), "1m"),
}


def test_every_alert_has_its_case() -> None:
    assert CASES.keys() == ALERTS.keys()


@pytest.mark.parametrize("every", sorted({case.every for case in CASES.values()}))
def test_alerts_fire_when_they_should_and_neither_before_nor_for_ever(every: str, tmp_path: Path) -> None:
    tests = []
    for name, case in CASES.items():
        firing = f'count by (alertname) (ALERTS{{alertname="{name}",alertstate="firing"}})'
        once = [{"labels": f'{{alertname="{name}"}}', "value": 1}]
        moments = [*((moment, []) for moment in case.silent), (case.fires, once)]
        test = {
            "interval": every,
            "name": name,
            "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
            "promql_expr_test": [
                {"expr": firing, "eval_time": moment, "exp_samples": samples} for moment, samples in moments
            ],
        }
        tests += [test] if case.every == every else []
    document = {"rule_files": [str(path) for path in RULES], "evaluation_interval": every, "tests": tests}
    (tmp_path / "tests.yaml").write_text(json.dumps(document))
    done = promtool("test", "rules", str(tmp_path / "tests.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_how_bad_and_where_to_look(name: str) -> None:
    alert = ALERTS[name]
    assert re.fullmatch(r"Tocsin[A-Z]\w+", name)
    assert alert["labels"]["severity"] in ("critical", "warning", "info", "none")
    assert re.fullmatch(r"\d+[mhd]", alert["for"])
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url", "dashboard_url"}
    assert alert["annotations"]["description"].endswith((".", "}."))
    board = re.fullmatch(r"https://grafana\.example/d/([\w-]+)(\?var-model=.*)?", alert["annotations"]["dashboard_url"])
    assert board is not None
    assert (ROOT / "grafana" / "dashboards" / f"{board[1]}.json").is_file()


def test_every_alert_has_its_section_in_the_runbook_and_the_other_way_round() -> None:
    headings = [title for title in sections("runbook.md", 3) if title.startswith("Tocsin")]
    assert {title.partition(":")[0] for title in headings} == ALERTS.keys()
    for title in headings:
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        url = ALERTS[title.partition(":")[0]]["annotations"]["runbook_url"]
        assert url == f"https://docs.example/runbook.md#{anchor}"


def test_recording_rules_are_named_by_level_metric_and_operation() -> None:
    for rule in rules():
        if "record" in rule:
            assert re.fullmatch(r"\w+:\w+:\w+", rule["record"])
