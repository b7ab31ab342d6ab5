"""The command line as a process of its own, and options that the commands share."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.command_line import invoke
from tests.kit.served import World, label_flip


def write(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write(folder / "clean.jsonl", World(seed=1, predictions=1200).events())
    write(folder / "bad.jsonl", World(seed=2, predictions=1500, onset=1000, cause=label_flip).events())
    write(folder / "two.jsonl", [e for name in "ab" for e in World(model=name, predictions=80).events()])
    return folder


def process(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`tocsin` as a user runs it, with no terminal."""
    command = [sys.executable, "-m", "monitor.commands.cli", *map(str, words)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONWARNINGS": "error"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=60, check=False)


def test_replay_as_a_process_is_lines_of_json_and_an_exit_code(logs: Path) -> None:
    run = process("replay", "bad.jsonl", "--reference-events", "1600", "--output", "json", cwd=logs)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert (run.returncode, run.stderr) == (1, "")
    assert [line["event"] for line in lines][:1] == ["opened"]
    assert lines[-1]["event"] == "summary"
    assert all(line["event"] != "summary" for line in lines[:-1])


def test_bad_input_as_a_process_is_one_line_and_no_traceback(logs: Path) -> None:
    run = process("replay", "none.jsonl", cwd=logs)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "none.jsonl: cannot be read\n"


@pytest.mark.parametrize(
    ("log", "options", "code"),
    [
        ("clean.jsonl", ["--reference-events", "1600"], 0),
        ("bad.jsonl", ["--reference-events", "1600"], 1),
        ("bad.jsonl", ["--reference-until", "2026-03-02T05:00:00Z", "--budget", "5000"], 1),
        ("bad.jsonl", ["--reference-until", "2026-03-02 05:00", "--label-ttl", "1", "--budget", "1e12"], 0),
    ],
)
def test_exit_codes_of_replay(log: str, options: list[str], code: int, logs: Path) -> None:
    result = invoke("replay", logs / log, *options)
    assert result.exit_code == code
    assert result.stdout.splitlines()[-1].endswith(" s")


def test_a_replay_that_tested_nothing_says_so(logs: Path) -> None:
    result = invoke("replay", logs / "clean.jsonl", "--reference-events", "100000")
    assert result.stderr == "mail: the logs end before the reference does; nothing was tested\n"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--budget", "99"),
        ("--budget", "nan"),
        ("--budget", "often"),
        ("--reference-events", "99"),
        ("--reference-events", "1.5"),
        ("--label-ttl", "0"),
        ("--label-ttl", "nan"),
        ("--output", "yaml"),
        ("--reference-until", "tomorrow"),
    ],
)
def test_an_option_out_of_range_is_bad_input(option: str, value: str, logs: Path) -> None:
    result = invoke("replay", logs / "clean.jsonl", option, value)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert value in result.stderr or option in result.stderr


def test_the_same_log_twice_is_bad_input(logs: Path) -> None:
    result = invoke("replay", logs / "clean.jsonl", logs / "clean.jsonl")
    assert (result.exit_code, result.stderr) == (2, "the same file is given twice\n")


@pytest.mark.parametrize("command", [[], ["baseline"]])
def test_without_a_command_there_is_help(command: list[str]) -> None:
    result = invoke(*command)
    assert result.exit_code == 2
    assert "Usage: " in result.output


def test_a_baseline_is_built_shown_and_verified(logs: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    built = invoke("baseline", "build", logs / "two.jsonl", "--model", "a", "--out", file, "--output", "json")
    shown = invoke("baseline", "show", file, "--output", "json")
    assert (built.exit_code, shown.exit_code) == (0, 0)
    assert built.stdout == shown.stdout
    facts = json.loads(shown.stdout)
    assert (facts["model"], facts["predictions"], facts["features"]) == ("a", 80, {"numeric": 4, "categorical": 1})
    verified = invoke("baseline", "verify", file, "--output", "json")
    assert json.loads(verified.stdout) == {"valid": True, "digest": facts["digest"]}
    people = invoke("baseline", "show", file)
    assert f"digest  {facts['digest']}" in people.stdout


def test_several_models_must_be_told_apart(logs: Path, tmp_path: Path) -> None:
    result = invoke("baseline", "build", logs / "two.jsonl", "--out", tmp_path / "x.json")
    assert (result.exit_code, result.stderr) == (2, "name one of the models: a, b\n")
    assert not (tmp_path / "x.json").exists()


def test_too_few_events_are_no_baseline(logs: Path, tmp_path: Path) -> None:
    words = ["baseline", "build", logs / "two.jsonl", "--model", "a", "--until", "2026-03-02T00:10:00+00:00"]
    result = invoke(*words, "--out", tmp_path / "x.json")
    assert (result.exit_code, result.stderr) == (2, "a: 30 predictions in the reference, at least 50 needed\n")


def test_a_changed_baseline_is_not_verified(logs: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    invoke("baseline", "build", logs / "two.jsonl", "--model", "a", "--out", file)
    content = json.loads(file.read_text(encoding="utf-8"))
    content["baseline"]["labels"] += 1
    file.write_text(json.dumps(content), encoding="utf-8")
    for words in (
        ["baseline", "verify", file],
        ["baseline", "show", file],
        ["replay", logs / "two.jsonl", "--baseline", file],
    ):
        result = invoke(*words)
        assert result.exit_code == 2
        assert "it was changed after freezing" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_version_for_people_and_programs(logs: Path) -> None:
    found = json.loads(process("version", "--output", "json", cwd=logs).stdout)
    assert found["python"] == sys.version.split()[0]
    assert invoke("version").stdout == f"tocsin {found['version']}\n"
