"""Replay: the lines that other tools rely on, and what they say about recorded attacks."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.incident import Severity, Verdict
from monitor.detection.baseline import BaselineError
from monitor.detection.lessons import Until
from monitor.intake.events import Event
from monitor.intake.file_source import FileSource
from monitor.service.replay import ReplayConfig, learn, read_events, replay, stamp, text_line
from tests.kit.served import BEGAN, EVERY, World, covariate_drift, label_flip, nulls

KEYS = [
    "event",
    "incident",
    "model",
    "version",
    "verdict",
    "severity",
    "ts",
    "event_index",
    "onset",
    "attribution",
    "evidence",
    "confidence",
    "against",
    "because",
    "was",
    "radius",
]
SUMMARY = ["event", "models", "events", "predictions", "labels", "incidents", "seconds"]
RECORDED = Path(__file__).parents[4] / "shared" / "data" / "attacks"

Lines = list[dict[str, Any]]


def events(path: Path) -> Iterator[Event]:
    return read_events(FileSource([path]), pytest.fail, lambda: None)


def config(**changes: Any) -> ReplayConfig:
    usual = ReplayConfig(
        budget=20_000.0, baseline=None, until=Until(events=2800), label_ttl=604_800.0, max_waiting=100_000
    )
    return msgspec.structs.replace(usual, **changes)


def write(path: Path, events: Lines) -> Path:
    content = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def run(*paths: Path, warn: Callable[[str], None] | None = None, **changes: Any) -> Lines:
    warnings: list[str] = []
    found = list(replay(FileSource(paths), config(**changes), warn or warnings.append, lambda: None))
    assert warnings == []
    return found


def without_time(lines: Lines) -> Lines:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def seconds(text: str) -> float:
    assert text.endswith("Z")
    assert len(text) == len("2026-03-02T00:00:55.269Z")
    return datetime.fromisoformat(text).timestamp()


@pytest.fixture(scope="module")
def flipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(seed=2, onset=1700, predictions=2600, end=2100, cause=label_flip)
    return write(tmp_path_factory.mktemp("logs") / "flipped.jsonl", world.events())


@pytest.fixture(scope="module")
def lines(flipped: Path) -> Lines:
    return run(flipped, budget=2_000.0)


def test_every_transition_has_the_keys_of_the_contract_with_their_types(lines: Lines) -> None:
    assert len(lines) > 1
    for line in lines[:-1]:
        assert list(line) == KEYS
        assert line["event"] in {"opened", "updated", "resolved"}
        assert line["verdict"] in set(Verdict)
        assert line["severity"] in set(Severity)
        assert all(type(line[name]) is str for name in ("incident", "model", "version", "verdict", "severity"))
        assert type(line["event_index"]) is int
        assert list(line["onset"]) == ["ts", "low", "high"]
        assert seconds(line["onset"]["low"]) <= seconds(line["onset"]["ts"]) <= seconds(line["onset"]["high"])
        assert list(line["attribution"]) == ["source", "labeler", "features", "class_from", "class_to", "version"]
        assert all(list(each) == ["family", "stream", "log_e", "observed", "bound"] for each in line["evidence"])
        assert 0.0 < line["confidence"] < 1.0
        assert all(type(clause) is str for clause in (*line["against"], line["because"]))
        assert line["was"] is None or line["was"] in set(Verdict)
        assert msgspec.json.decode(msgspec.json.encode(line)) == json.loads(json.dumps(line, allow_nan=False))


def test_the_summary_is_last_and_adds_up(lines: Lines, flipped: Path) -> None:
    summary = lines[-1]
    assert list(summary) == SUMMARY
    kinds = [json.loads(line)["kind"] for line in flipped.read_bytes().splitlines()]
    assert (summary["event"], summary["models"]) == ("summary", 1)
    assert (summary["predictions"], summary["labels"]) == (kinds.count("prediction"), kinds.count("label"))
    assert summary["events"] == len(kinds)
    assert summary["incidents"] == sum(line["event"] == "opened" for line in lines) == 1
    assert summary["seconds"] >= 0.0


def test_an_incident_is_opened_before_it_is_updated(lines: Lines) -> None:
    by_incident: dict[str, list[str]] = {}
    for line in lines[:-1]:
        by_incident.setdefault(line["incident"], []).append(line["event"])
    assert all(events[0] == "opened" and "opened" not in events[1:] for events in by_incident.values())
    times = [seconds(line["ts"]) for line in lines[:-1]]
    assert times == sorted(times)


def test_what_was_flipped_is_said(lines: Lines) -> None:
    line = lines[0]
    assert (line["event"], line["verdict"], line["severity"]) == ("opened", "label_flip", "critical")
    assert (line["model"], line["version"]) == ("mail", "2.0.0")
    assert (line["attribution"]["class_from"], line["attribution"]["class_to"]) == ("spam", "ham")
    assert seconds(line["ts"]) > BEGAN + 1700 * EVERY
    assert line["evidence"][0]["stream"] == "confusion/spam->ham"


def test_the_same_log_gives_the_same_lines(flipped: Path, lines: Lines) -> None:
    assert without_time(run(flipped, budget=2_000.0)) == without_time(lines)


def test_compressed_or_in_parts_it_is_the_same_log(flipped: Path, lines: Lines, tmp_path: Path) -> None:
    events = [json.loads(line) for line in flipped.read_bytes().splitlines()]
    packed = write(tmp_path / "log.jsonl.gz", events)
    parts = [write(tmp_path / f"part{n}.jsonl", events[n * 2000 : (n + 1) * 2000]) for n in range(3)]
    assert without_time(run(packed, budget=2_000.0)) == without_time(lines)
    assert without_time(run(*parts, budget=2_000.0)) == without_time(lines)


def test_lines_that_are_no_events_are_named_and_change_nothing_else(
    flipped: Path, lines: Lines, tmp_path: Path
) -> None:
    good = flipped.read_bytes().splitlines()
    bad = [
        b"{",
        b'{"kind":"prediction"}',
        b"what",
        b"\xff\xfe",
        b'{"kind":"label","event_id":"e","ts":"late","label":1}',
    ]
    mixed = good[:10] + bad[:1] + good[10:3000] + bad[1:] + good[3000:]
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"\n".join(mixed))
    said: list[str] = []
    found = run(path, warn=said.append, budget=2_000.0)
    assert without_time(found[:-1]) == without_time(lines[:-1])
    assert found[-1]["events"] == lines[-1]["events"] + len(bad)
    assert [line.split(": ")[0] for line in said] == [f"{path}:{n}" for n in (11, 3002, 3003, 3004, 3005)]
    assert all("\n" not in line for line in said)
    assert [line.split(": ")[1] for line in said] == [
        "not_json",
        "missing_field",
        "not_json",
        "not_utf8",
        "bad_timestamp",
    ]


def test_a_model_whose_reference_never_ended_was_not_tested_and_that_is_said(flipped: Path) -> None:
    said: list[str] = []
    found = run(flipped, warn=said.append, until=Until(events=1_000_000))
    assert [line["event"] for line in found] == ["summary"]
    assert said == ["mail: the logs end before the reference does; nothing was tested"]


def test_a_baseline_of_another_model_tests_nothing_and_that_is_said(flipped: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", World(model="other", predictions=100).events())
    baseline = learn(events(other), None, float("inf"))
    said: list[str] = []
    assert run(flipped, warn=said.append, baseline=baseline)[-1]["models"] == 0
    assert said == ["other: the baseline's model has no events in these logs; nothing was tested"]


def test_against_a_baseline_every_event_is_tested(flipped: Path) -> None:
    until = BEGAN + 1500 * EVERY
    baseline = learn(events(flipped), "mail", until)
    assert (baseline.model, baseline.predictions, baseline.ended) == ("mail", 1500, until - EVERY)
    found = run(flipped, baseline=baseline)
    assert found[0]["verdict"] == "label_flip"


def test_a_baseline_learnt_from_a_file_is_that_of_the_stream(flipped: Path) -> None:
    """At the same event: the reference of a replay, and one that is built from the events before it."""
    until = BEGAN + 1500 * EVERY
    first = learn(events(flipped), None, until)
    assert learn(events(flipped), None, until).digest == first.digest


@pytest.mark.parametrize(
    ("model", "until", "message"),
    [
        (None, float("inf"), "name one of the models: a, b"),
        ("c", float("inf"), "name one of the models: a, b"),
        (None, 0.0, "there are no predictions"),
        ("a", BEGAN + 10 * EVERY, "a: 10 predictions in the reference, at least 50 needed"),
    ],
)
def test_what_cannot_be_learnt_is_said(model: str | None, until: float, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "two.jsonl", [e for name in "ab" for e in World(model=name, predictions=60).events()])
    with pytest.raises(BaselineError, match=message):
        learn(events(path), model, until)


def test_progress_is_called_on_the_way(flipped: Path) -> None:
    calls: list[int] = []
    list(replay(FileSource([flipped]), config(), print, lambda: calls.append(1)))
    assert len(calls) > 5


def test_lines_for_people(lines: Lines) -> None:
    assert text_line(lines[-1]).startswith(f"{lines[-1]['events']} events, 1 incident, ")
    text = text_line(lines[0])
    assert text.startswith(lines[0]["ts"])
    assert f"label_flip {lines[0]['confidence']:.0%}  class_from spam; class_to ham; version 2.0.0" in text


def test_stamps_are_utc_to_the_millisecond() -> None:
    assert stamp(1_772_409_655.2694) == "2026-03-02T00:00:55.269Z"
    assert stamp(0.0) == "1970-01-01T00:00:00.000Z"


def test_two_models_in_one_log_have_incidents_of_their_own(tmp_path: Path) -> None:
    worlds = [
        World(seed=5, model="a", onset=1700, predictions=2300, cause=nulls),
        World(seed=6, model="b", onset=1700, predictions=2300, cause=covariate_drift),
    ]
    events = sorted((event for world in worlds for event in world.events()), key=lambda event: float(event["ts"]))
    found = run(write(tmp_path / "two.jsonl", events))
    assert {(line["model"], line["verdict"]) for line in found[:-1]} == {("a", "data_fault"), ("b", "covariate_drift")}
    assert (found[-1]["models"], found[-1]["incidents"]) == (2, 2)


recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded logs at {RECORDED.name}/ beside the project")
TWO_DAYS = Until(ts=datetime.fromisoformat("2026-03-04T00:00:00Z").timestamp())


@recorded
@pytest.mark.parametrize("scenario", ["clean", "clean_daily"])
@pytest.mark.parametrize("name", ["digits", "nsl_kdd", "phishing", "spambase"])
def test_recorded_events_without_an_attack_give_no_incident(name: str, scenario: str) -> None:
    found = run(RECORDED / f"{name}__{scenario}.jsonl.gz", budget=100_000.0, until=TWO_DAYS)
    assert [line["event"] for line in found] == ["summary"]


@recorded
@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("nsl_kdd__label_flip", "label_flip"),
        ("phishing__insider_label", "label_tampering"),
        ("spambase__pipeline_bug", "data_fault"),
    ],
)
def test_recorded_attacks_are_found_after_they_began_and_called_by_their_name(name: str, verdict: str) -> None:
    truth = json.loads((RECORDED / f"{name}.truth.json").read_text(encoding="utf-8"))
    found = run(RECORDED / f"{name}.jsonl.gz", budget=100_000.0, until=TWO_DAYS)
    opened = [line for line in found if line["event"] == "opened"]
    assert all(seconds(line["ts"]) >= seconds(truth["t0"]) for line in opened)
    told = [line for line in found if line.get("incident") == opened[0]["incident"] and line["event"] != "resolved"]
    assert told[-1]["verdict"] == verdict
    affected, who = truth["affected"], told[-1]["attribution"]
    if verdict == "label_flip":
        assert (who["class_from"], who["class_to"]) == (affected["class_from"], affected["class_to"])
        assert who["version"] in affected["versions"]
    elif verdict == "label_tampering":
        assert who["labeler"] == affected["labeler"]
    else:
        assert set(who["features"]) & set(affected["features"])
