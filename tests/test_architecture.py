"""What the documents, the package and the folders promise, held against what is there."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry
from typer.main import get_command
from typer.testing import CliRunner

from alerting.config import AnyReceiver
from alerting.incident import Verdict
from detectors.scalar import CATALOG
from grafana import NOT_SHOWN
from monitor.commands import cli
from monitor.detection import verdict as verdict_module
from monitor.detection.families import WEIGHTS
from monitor.intake.decode import Decoder, DecodeReason
from monitor.intake.source import Partition, Record
from monitor.rollback import file_registry
from monitor.rollback.config import Mode
from monitor.service.config import AnyRegistry, Config, json_schema, load
from monitor.service.replay import line
from monitor.telemetry.metrics import Metrics
from tests.kit.boards import panel_expressions, rule_expressions
from tests.kit.documents import ROOT, blocks, quoted, rows, sections, text
from tests.kit.incidents import opened

PACKAGES = ("alerting", "detectors", "monitor")
DOCUMENTS = ("README.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "runbook.md")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def kinds(union: Any) -> list[str]:
    return [get_args(config.model_fields["kind"].annotation)[0] for config in get_args(get_args(union)[0])]


def commands(group: Any = None, prefix: str = "tocsin") -> Iterator[str]:
    for name, command in (group or get_command(cli.app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


# The documents.


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_name_in_a_document_exists(document: str) -> None:
    names = [name for name in quoted(text(document)) if "<" not in name and "*" not in name]
    paths = [name for name in names if re.fullmatch(r"[\w./-]*(/|\.(py|md|toml|lock|svg|example\.yaml))", name)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    dotted = [name for name in names if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", name)]
    assert [name for name in dotted if resolve(name) is None and not is_setting(name.split("."))] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_setting_command_target_and_link_in_a_document_exists(document: str) -> None:
    body = text(document)
    dotted = re.compile(rf"({'|'.join(Config.model_fields)})((?:\.\w+)+)")
    settings = [found[0] for name in quoted(body) if (found := dotted.match(name)) and not name.endswith(".py")]
    assert [name for name in settings if not is_setting(name.split(".")) and resolve(name) is None] == []
    told = {name for name in re.findall(r"`(tocsin [a-z-]+(?: [a-z]+)?)", body) if name != "tocsin baseline"}
    assert told - {command for known in commands() for command in (known, f"{known} ")} == set()
    targets = set(re.findall(r"\bmake ([a-z-]+)\b(?= *(?:#|`|\n))", body))
    assert targets <= set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    links = re.findall(r"\]\(([^)#:]+)\)", body)
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, "tocsin.example.yaml", "monitor/http/server.py"])
def test_every_metric_in_a_document_is_made(document: str) -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    made = {f.name + suffix for f in registry.collect() for suffix in ("", "_total", "_bucket", "_sum", "_count")}
    assert set(re.findall(r"\btocsin_[a-z_]*[a-z]\b", text(document))) <= made


def test_metrics_of_boards_and_rules_are_made_and_metrics_that_are_made_are_shown() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    parts = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    made = {
        family.name: {family.name + part for part in parts.get(family.type, ("",))} for family in registry.collect()
    }
    used = {name for expression in (*panel_expressions(), *rule_expressions()) for name in expression.metrics}
    assert used <= set().union(*made.values())
    shown = {name for name, samples in made.items() if samples & used}
    assert made.keys() - shown == NOT_SHOWN.keys(), "put a new metric into a panel of grafana/, or into NOT_SHOWN"


def test_metrics_are_made_in_one_place() -> None:
    makers = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
    found = [
        path.relative_to(ROOT).as_posix()
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client")
        if makers & {name.name for name in node.names}
    ]
    assert set(found) == {"monitor/telemetry/metrics.py", "monitor/telemetry/series.py"}


SOURCES = [path.name.removesuffix("_source.py") for path in (ROOT / "monitor" / "intake").glob("?*_source.py")]
GROWING = {
    "A receiver": kinds(AnyReceiver),
    "A registry": kinds(AnyRegistry),
    "A source of records": SOURCES,
    "A companion": list(CATALOG),
    "A verdict": [verdict.value for verdict in Verdict],
    "A section of the configuration": list(Config.model_fields),
    "A command": sorted({command.split()[1] for command in commands()}),  # or the group of commands
}


@pytest.mark.parametrize(("section", "name"), [(title, name) for title, names in GROWING.items() for name in names])
def test_what_contributing_tells_to_touch_was_touched_for_what_is_there(section: str, name: str) -> None:
    places = re.findall(r"^- `([^`]+)`:", sections("CONTRIBUTING.md", 3)[section], re.MULTILINE)
    assert places
    for place in places:
        path = ROOT / place.replace("<name>", name)
        assert path.is_file()
        spelt = name, f".{name.upper()}"  # the second is a member of an enum
        assert name in path.name or any(word in path.read_text() for word in spelt), place


def test_readme_and_runbook_have_everything_that_can_happen() -> None:
    readme, runbook = sections("README.md", 2), sections("runbook.md", 3)
    severities = {quoted(row[0])[0]: row[1] for row in rows(readme["What it finds"]) if len(row) == 3}
    assert severities == {verdict: verdict_module._severity(verdict) for verdict in Verdict}
    assert set(Verdict) <= runbook.keys()
    reasons = {reason for row in rows(readme["Events"]) for reason in quoted(row[0])}
    assert set(DecodeReason) <= reasons
    assert {quoted(row[0])[0] for row in rows(readme["Rollback"]) if len(row) == 2} == set(Mode)
    marks = [(quoted(row[0])[0], quoted(row[1])[0]) for row in rows(readme["Rollback"]) if len(row) == 3]
    assert {key for _, key in marks} == set(file_registry._Version.__struct_fields__) - {"created", "uri", "ready"}
    assert all(tag == f"tocsin.{key}" for tag, key in marks)
    assert {quoted(row[0])[0] for row in rows(readme["Who is told"])} == set(kinds(AnyReceiver))
    told = {re.split(r" (?=[-A-Z])", quoted(row[0])[0])[0] for row in rows(readme["Commands"])}
    assert told == set(commands())


def test_help_lists_the_commands() -> None:
    for group in ([], ["baseline"]):
        listed = CliRunner().invoke(cli.app, [*group, "--help"]).output
        prefix = " ".join(["tocsin", *group])
        below = {command.removeprefix(prefix).split()[0] for command in commands() if command.startswith(prefix)}
        assert below <= set(re.findall(r"^ +([a-z-]+) {2,}", listed, re.MULTILINE))


# The examples in the documents.


def test_the_first_configuration_loads(tmp_path: Path) -> None:
    (example,) = blocks(sections("README.md", 2)["First configuration"], "yaml")
    (tmp_path / "tocsin.yaml").write_text(example)
    config = load(tmp_path / "tocsin.yaml", {"SLACK_WEBHOOK_URL": "https://hooks.example.com/x"})
    assert [receiver.kind for receiver in config.alerting.receivers] == ["slack"]
    assert config.rollback.mode is Mode.OBSERVE


def test_the_events_are_events() -> None:
    (lines,) = blocks(sections("README.md", 2)["Events"], "json")
    events = [
        Decoder().decode(Record(Partition("t", 0), number, raw.encode(), 0.0))
        for number, raw in enumerate(lines.splitlines())
    ]
    fields = {name for event in events for name in event.__struct_fields__} | {"kind"}
    told = {name for row in rows(sections("README.md", 2)["Events"]) for name in quoted(row[0])}
    assert fields == told - set(DecodeReason)


def test_the_lines_of_replay_have_the_keys_that_design_tells() -> None:
    section = sections("DESIGN.md", 2)["Replay output"]
    (example,) = blocks(section, "json")
    first, *_, last = map(json.loads, example.splitlines())
    assert shape(first) == shape(line(opened()))
    assert last["event"] == "summary"
    assert first.keys() == {name for row in rows(section) for name in quoted(row[0])}


def test_the_constants_in_design_are_those_of_the_code() -> None:
    found = [row for row in rows(sections("DESIGN.md", 2)["Bets"]) if len(row) == 3]
    assert len(found) > 10
    for name, told, _ in found:
        value = resolve(quoted(name)[0])
        values = value if isinstance(value, tuple) else (value,)
        assert told == ", ".join(f"{each:.10g}" for each in values), name


def test_the_budget_in_design_is_that_of_the_code_and_is_spent_once() -> None:
    found = [row for row in rows(sections("DESIGN.md", 2)["One budget"]) if len(row) == 3]
    assert {quoted(name)[0]: float(weight) for name, weight, _ in found} == WEIGHTS
    clocks = {clock: sum(float(row[1]) for row in found if row[2] == clock) for *_, clock in found}
    assert clocks == {"predictions": 1.0, "labels": 1.0}


def test_decisions_are_numbered_and_dated() -> None:
    heads = re.findall(r"^\*\*(\d+)\. (.+?)\*\* \((\d{4}-\d\d-\d\d)\)", text("DESIGN.md"), re.MULTILINE)
    assert [int(number) for number, *_ in heads] == list(range(1, len(heads) + 1))
    assert len(re.findall(r"^\*\*\d+\.", text("DESIGN.md"), re.MULTILINE)) == len(heads) > 20


def test_every_dependency_has_its_reason() -> None:
    project = PYPROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    groups += [*PYPROJECT["dependency-groups"].values(), PYPROJECT["build-system"]["requires"]]
    wanted = {re.split(r"[<>=\[ ]", entry)[0] for group in groups for entry in group if isinstance(entry, str)}
    assert {row[0] for row in rows(sections("DESIGN.md", 2)["Dependencies"])} == wanted


# The package and the folders.


def test_the_newest_version_is_in_the_changelog() -> None:
    newest = re.search(r"^## \[([^\]]+)\]", text("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == PYPROJECT["project"]["version"]


def test_the_license_is_there() -> None:
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in text("LICENSE")


def test_no_package_under_tests() -> None:
    # One there would be imported in place of the package of the same name.
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_the_command_line_starts_without_the_daemons_imports() -> None:
    heavy = ("apscheduler", "httpx", "kafka", "river", "scipy", "sqlalchemy", "starlette", "uvicorn")
    code = f"import sys, monitor.commands.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_wheel_has_the_three_packages_and_nothing_else(tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is not in the virtual environment; `make setup` puts it there")
    build = [str(uv), "build", "--wheel", "--quiet", "--out-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, env=os.environ | {"UV_NO_PROGRESS": "1"})
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {
        *PACKAGES,
        f"tocsin-{PYPROJECT['project']['version']}.dist-info",
    }
    assert {name for name in names if name.endswith(".py")} == {path.relative_to(ROOT).as_posix() for path in modules()}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "monitor" / "http" / "templates").iterdir()}
    assert pages <= set(names)


def resolve(dotted: str) -> object:
    """The module, or what is in it, by its dotted name; None if there is no such thing."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None


def is_setting(keys: list[str]) -> bool:
    """Whether the configuration may have this key, in any kind of its section."""
    schema = json_schema()
    nodes: list[Mapping[str, Any]] = [schema]
    for key in keys:
        leaves = [leaf for node in nodes for leaf in alternatives(node, schema)]
        nodes = [leaf["properties"][key] for leaf in leaves if key in leaf.get("properties", ())]
    return bool(nodes)


def alternatives(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "$ref" in node:
        yield from alternatives(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    for below in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from alternatives(below, schema)
    yield node


def shape(value: object) -> object:
    """Keys and types, with one example of a list's items."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shape(item) for item in value[:1]] if value and isinstance(value[0], dict) else list
    return "number" if isinstance(value, int | float) else "text or null"
