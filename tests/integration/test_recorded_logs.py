"""Replay on recorded logs of real models with real attacks, where they are at hand."""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.detection.lessons import Until
from monitor.intake.file_source import FileSource
from monitor.service.replay import ReplayConfig, replay

LOGS = Path(__file__).parents[3] / "shared" / "data" / "attacks"
BUDGET = 100_000.0
REFERENCE_UNTIL = datetime.fromisoformat("2026-03-04T00:00:00Z").timestamp()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LOGS.is_dir(), reason="the recorded logs are not on this machine"),
]


def lines(name: str) -> list[dict[str, Any]]:
    config = ReplayConfig(
        budget=BUDGET,
        baseline=None,
        until=Until(ts=REFERENCE_UNTIL),
        label_ttl=604_800.0,
        max_waiting=1_000_000,
    )
    return list(replay(FileSource([LOGS / f"{name}.jsonl.gz"]), config, pytest.fail, lambda: None))


def check(line: dict[str, Any]) -> None:
    """Whatever the verdict is: an interval in its order that ends before now, and evidence beyond its bound."""
    onset = line["onset"]
    assert onset["low"] <= onset["ts"] <= onset["high"] <= line["ts"]
    assert line["evidence"]
    for evidence in line["evidence"]:
        assert abs(evidence["observed"]) > evidence["bound"], evidence["stream"]


@pytest.mark.parametrize("data", ["digits", "nsl_kdd", "phishing", "spambase"])
@pytest.mark.parametrize("control", ["clean", "clean_daily"])
def test_nothing_is_found_where_nothing_happened(data: str, control: str) -> None:
    (summary,) = lines(f"{data}__{control}")
    assert summary["event"] == "summary"


@pytest.mark.parametrize(
    ("log", "verdict"),
    [
        ("nsl_kdd__label_flip", "label_flip"),
        ("spambase__frog_boil", "slow_poisoning"),
        ("phishing__insider_label", "label_tampering"),
        ("nsl_kdd__source_label", "label_tampering"),
        ("spambase__pipeline_bug", "data_fault"),
        ("phishing__prior_shift", "prior_shift"),
        ("nsl_kdd__covariate_drift", "covariate_drift"),
    ],
)
def test_what_happened_is_found_after_it_began_and_named(log: str, verdict: str) -> None:
    truth = json.loads((LOGS / f"{log}.truth.json").read_text())
    opened, *later, _summary = lines(log)
    for line in (opened, *later):
        check(line)
    assert max(evidence["log_e"] for evidence in opened["evidence"]) >= math.log(BUDGET)
    assert opened["event"] == "opened"
    assert opened["ts"] >= truth["t0"]
    last = [opened, *(line for line in later if line["incident"] == opened["incident"])][-1]
    assert last["verdict"] == verdict
    affected, named = truth["affected"], last["attribution"]
    streams = [evidence["stream"] for evidence in last["evidence"]]
    for who in ("source", "labeler"):
        if affected[who] is not None:
            assert named[who] == affected[who]
            assert any(stream.startswith(f"{who}/{affected[who]}/") for stream in streams)
    if affected["features"]:
        assert any(stream.endswith(f"feature/{name}") for stream in streams for name in affected["features"])
        assert set(named["features"]) & set(affected["features"])
    if affected["class_to"] is not None:
        assert {named["class_from"], named["class_to"]} == {affected["class_from"], affected["class_to"]}
