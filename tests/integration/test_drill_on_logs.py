"""A drill on recorded events of real models that were well."""

from datetime import datetime
from pathlib import Path

import pytest

from monitor.intake.file_source import FileSource
from monitor.service.rehearsal import rehearse
from monitor.service.replay import learn, read_events

LOGS = Path(__file__).parents[3] / "shared" / "data" / "attacks"
REFERENCE_UNTIL = datetime.fromisoformat("2026-03-04T00:00:00Z").timestamp()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LOGS.is_dir(), reason="the recorded logs are not on this machine"),
]


@pytest.mark.parametrize("data", ["nsl_kdd", "phishing"])
def test_every_attack_on_a_clean_log_is_found(data: str) -> None:
    source = FileSource([LOGS / f"{data}__clean.jsonl.gz"])
    events = list(read_events(source, pytest.fail, lambda: None))
    after = [event for event in events if event.epoch >= REFERENCE_UNTIL]
    *lines, summary = rehearse(after, learn(events, None, REFERENCE_UNTIL), 100_000.0)
    assert summary["untouched_incidents"] == 0
    assert summary["missed"] == []
    assert summary["effective"] >= 10
    assert sum(line["effective"] and line["exact"] for line in lines) >= summary["effective"] - 1
