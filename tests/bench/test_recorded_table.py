"""The table of verdicts on recorded logs: those who know nothing, and the scorer where it is at hand."""

from pathlib import Path
from random import Random

import pytest

from monitor.demo.practice import events as practice
from tests.bench import confidence, recorded

EVENTS = practice(2_000)
UNTIL = EVENTS[1_000].epoch


def test_who_knows_nothing_speaks_as_often_as_said_and_only_after_the_reference() -> None:
    after = sum(event.epoch >= UNTIL for event in EVENTS)
    lines = {name: made(EVENTS, UNTIL, Random(1)) for name, made in recorded.IGNORANT.items()}
    assert [len(found) for found in lines.values()][:2] == [0, after // recorded.EVERY]
    often = sum(len(recorded.at_random(EVENTS, UNTIL, Random(seed))) for seed in range(200)) / 200
    assert often == pytest.approx(after / recorded.EVERY, abs=0.3)
    names = {name for found in lines.values() for line in found for name in line}
    assert names <= {"event", "incident", "ts", "verdict", "attribution"}
    assert all(line["ts"] >= recorded.stamp(UNTIL) for found in lines.values() for line in found)


def test_without_the_scorer_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the scorer of the recorded logs is not here"):
        list(recorded.run(tmp_path, "quick", 1))


recorded_logs = pytest.mark.skipif(
    not (recorded.BESIDE / "score.py").is_file(), reason="the recorded logs and their scorer are not on this machine"
)


@pytest.mark.slow
@recorded_logs
def test_who_knows_nothing_is_far_behind() -> None:
    ours, *others = recorded.run(recorded.BESIDE, "quick", 1)
    assert ours["false"] == 0
    assert [row["detector"] for row in others] == list(recorded.IGNORANT)
    for row in others:
        assert row["who"] < ours["who"] - 0.3
        assert row["exact"] < ours["exact"] - 0.3
        assert row["false"] > 5 or row["found"] == 0


@pytest.mark.slow
@recorded_logs
def test_what_is_said_with_confidence_is_right_more_often() -> None:
    rows = list(confidence.run(recorded.BESIDE, "quick"))
    sums = {band: [sum(row[f"told {band}"][part] for row in rows) for part in (0, 1)] for band in confidence.BANDS}
    doubtful = [sum(part) for part in zip(sums["middle"], sums["low"], strict=True)]
    assert sums["high"][1] >= 20
    assert doubtful[1] >= 5
    assert sums["high"][0] / sums["high"][1] > doubtful[0] / doubtful[1] + 0.2
