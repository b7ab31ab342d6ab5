"""The command line: the contract of `replay`, one clear line for what is wrong, and the exit codes."""

import json
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.rollback.action import Action, ActionState
from monitor.store.store import Store
from tests.kit.command_line import tocsin
from tests.kit.recording import recording

ROLLBACKS = ["rollback status", "rollback approve"]
COMMANDS = [
    *ROLLBACKS,
    "run",
    "check",
    "replay",
    "demo",
    "version",
    "baseline build",
    "baseline show",
    "baseline verify",
]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "mail.jsonl"
    path.write_bytes(b"\n".join(recording(3000, flip_from=2000)) + b"\n")
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    code, out, _ = tocsin(*command.split(), "--help")
    assert code == 0
    assert f"Example: tocsin {command}" in " ".join(out.split())


def test_replay_prints_the_lines_of_the_contract(log: Path) -> None:
    code, out, err = tocsin("replay", log, "--output", "json")
    assert (code, err) == (1, "")
    opened, *later, summary = [json.loads(line) for line in out.splitlines()]
    keys = ["event", "incident", "model", "version", "verdict", "severity", "ts", "event_index", "onset"]
    assert list(opened)[: len(keys) + 2] == [*keys, "attribution", "evidence"]  # test_replay has the others
    assert (opened["event"], opened["model"], opened["version"]) == ("opened", "mail", "2")
    assert (opened["verdict"], opened["severity"]) == ("label_flip", "critical")
    assert list(opened["attribution"]) == ["source", "labeler", "features", "class_from", "class_to", "version"]
    assert (opened["attribution"]["class_from"], opened["attribution"]["class_to"]) == ("spam", "ham")
    for evidence in opened["evidence"]:
        assert list(evidence) == ["family", "stream", "log_e", "observed", "bound"]
        assert evidence["observed"] > evidence["bound"]
    moments = [opened["onset"][name] for name in ("low", "ts", "high")] + [opened["ts"]]
    assert moments == sorted(moments)
    assert all(datetime.fromisoformat(moment).tzinfo is not None for moment in moments)
    assert {line["event"] for line in later} <= {"updated", "resolved"}
    assert list(summary) == ["event", "models", "events", "predictions", "labels", "incidents", "seconds"]
    assert (summary["events"], summary["predictions"], summary["incidents"]) == (
        len(log.read_bytes().splitlines()),
        3000,
        1,
    )


def test_replay_says_the_same_twice(log: Path) -> None:
    def said() -> list[dict[str, Any]]:
        return [json.loads(line) for line in tocsin("replay", log, "--output", "json")[1].splitlines()[:-1]]

    assert said() == said()


def test_replay_against_a_baseline_file(log: Path, tmp_path: Path) -> None:
    file = tmp_path / "mail.baseline.json"
    until = "2026-03-02T02:00:00Z"
    code, out, _ = tocsin("baseline", "build", log, "--until", until, "--out", file, "--output", "json")
    assert code == 0
    built = json.loads(out)
    assert (built["model"], built["predictions"], built["classes"]) == ("mail", 720, ["ham", "spam"])
    assert tocsin("baseline", "verify", file, "--digest", built["digest"])[0] == 0
    assert tocsin("baseline", "verify", file, "--digest", "sha256:0")[0] == 1
    code, out, _ = tocsin("replay", log, "--baseline", file)
    assert code == 1
    assert "label_flip" in out
    file.write_text(file.read_text().replace('"predictions": 720', '"predictions": 721'))
    code, _, err = tocsin("replay", log, "--baseline", file)
    assert code == 2
    assert "does not match its digest" in err


def test_clean_events_exit_with_0(tmp_path: Path) -> None:
    path = tmp_path / "clean.jsonl"
    path.write_bytes(b"\n".join(recording(2500)))
    code, out, _ = tocsin("replay", path)
    assert code == 0
    assert out.count("\n") == 1


def test_bad_lines_are_named_and_the_others_are_read(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines()
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"\n".join([lines[0], b"{oops", b'{"kind":"guess"}', *lines[1:]]))
    code, out, err = tocsin("replay", path, "--output", "json")
    assert code == 1
    assert [line.partition(": ")[0] for line in err.splitlines()] == [f"{path}:2", f"{path}:3"]
    assert json.loads(out.splitlines()[-1])["predictions"] == 3000


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["replay", "nothing.jsonl"], "nothing.jsonl"),
        (["replay", "LOG", "--reference-until", "yesterday"], "'yesterday' is no ISO 8601 time"),
        (["replay", "LOG", "--baseline", "nothing.json"], "nothing.json"),
        (["replay", "NO-EVENTS"], "no predictions"),
        (["baseline", "build", "LOG", "--until", "2020-01-01", "--out", "x.json"], "there are no predictions"),
        (["baseline", "build", "LOG", "--out", "no/such/folder.json"], "No such file or directory"),
        (["baseline", "show", "LOG"], "not a baseline"),
        (["check", "--config", "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(
    words: list[str], complaint: str, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    paths = {"LOG": str(log), "NO-EVENTS": "empty.jsonl"}
    code, _, err = tocsin(*(paths.get(word, word) for word in words))
    assert code == 2
    assert complaint in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_check_lists_every_problem_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "tocsin.yaml"
    (tmp_path / "other.json").write_text("{}")
    path.write_text(
        "kafka: {bootstrap_servers: [here:1], topics: [t]}\n"
        f"models: {{a: {{baseline: {tmp_path}/other.json}}}}\n"
        "detection: {companions: [{detector: adwin, params: {delta: wrong, nonsense: 1}}]}\n"
    )
    code, _, err = tocsin("check", "--config", path)
    assert code == 2
    baseline, companions = err.splitlines()
    assert "models.a.baseline: " in baseline
    assert "not a baseline" in baseline
    assert "detection.companions: adwin: " in companions


def test_version_names_the_distribution() -> None:
    code, out, _ = tocsin("version", "--output", "json")
    assert code == 0
    assert json.loads(out)["version"].count(".") == 2


def test_a_proposed_rollback_is_seen_and_approved_once(tmp_path: Path) -> None:
    config, path = tmp_path / "tocsin.yaml", tmp_path / "tocsin.db"
    config.write_text(
        "kafka: {bootstrap_servers: [here:1], topics: [t]}\n"
        "models: {mail: {reference: {events: 1000}}}\n"
        f"store: {{path: {path}}}\n"
    )
    code, _, err = tocsin("rollback", "status", "--config", config)
    assert (code, "there is no store" in err) == (2, True)
    now = time.time()
    proposed = Action(
        incident="i1",
        model="mail",
        from_version="2",
        to_version="1",
        onset_low=now - 60.0,
        state=ActionState.PROPOSED,
        requested_at=now,
        updated_at=now,
        reason="Proposes it.",
    )
    with closing(Store(path)) as store:
        store.actions.save(proposed)
    code, out, _ = tocsin("rollback", "status", "--config", config, "--output", "json")
    assert (code, json.loads(out)["state"]) == (0, "proposed")
    approve = ["rollback", "approve", "i1", "--by", "ada", "--config", config]
    code, out, _ = tocsin(*approve)
    assert (code, "Approved by ada" in out) == (0, True)
    with closing(Store(path)) as store:
        assert [(action.state, action.to_version) for action in store.actions.unfinished()] == [
            (ActionState.INTENDED, "1")
        ]
    code, _, err = tocsin(*approve)
    assert (code, "is intended, not proposed" in err) == (2, True)
    assert tocsin("rollback", "approve", "i2", "--by", "ada", "--config", config)[0] == 2
