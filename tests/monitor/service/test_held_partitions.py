"""Partitions that give no events: held, told, and read again."""

import json
from collections.abc import Callable
from pathlib import Path

from alerting.incident import Problem, Verdict
from tests.kit.house import House, write
from tests.kit.recording import recording


def test_a_partition_that_gives_no_events_is_held_and_somebody_is_told(
    house: Callable[..., House], tmp_path: Path
) -> None:
    good = recording(200)
    bad = write(tmp_path / "bad.jsonl", [*good[:50], *([b"{nonsense"] * 150), *good[50:]])
    built = house(bad, write(tmp_path / "good.jsonl", recording(200, model="other")))
    built.run()
    (incident,) = built.store.incidents()
    assert (incident.problem, incident.verdict, incident.model) == (Problem.INTAKE, Verdict.DATA_FAULT, f"{bad}[0]")
    assert built.metric("partition_held", topic=str(bad), partition="0") == 1
    assert built.metric("events_total", model="other", kind="prediction") == 200
    kept = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert len(kept) == built.metric("quarantined_total") == built.metric("events_invalid_total", reason="not_json")
    assert [record["offset"] for record in kept] == list(range(50, 50 + len(kept)))


def test_a_held_partition_is_over_when_a_later_process_reads_events_from_it(
    house: Callable[..., House], tmp_path: Path
) -> None:
    log = write(tmp_path / "bad.jsonl", [*recording(100), *([b"{nonsense"] * 200)])
    house(log).run()
    mended = [line.replace(b"{nonsense", b"null") for line in log.read_bytes().splitlines()]
    write(log, [*mended, *recording(100, seed=2, model="other")])
    again = house(log)
    assert [incident.problem for incident in again.store.incidents(open_only=True)] == [Problem.INTAKE]
    again.run()
    assert again.pipeline.incidents.firing() == []
    assert [incident.status for incident in again.store.incidents()] == ["resolved"]


def test_a_few_bad_records_and_tombstones_hold_nothing(house: Callable[..., House], tmp_path: Path) -> None:
    lines = [line for event in recording(200) for line in (event, b"null")]
    built = house(write(tmp_path / "mail.jsonl", [*lines, b"[]"]))
    built.run()
    assert built.store.incidents() == []
    assert built.metric("quarantined_total") == 1
    assert built.metric("events_invalid_total", reason="tombstone") == len(lines) // 2
