"""The committed dashboards and rules, as data: every expression with the place where it stands."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from tests.kit.documents import ROOT

DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
RULES = sorted((ROOT / "grafana" / "rules").glob("*.yaml"))

_METRIC = re.compile(r"(?<![\w:$])((?:tocsin|process)_\w+)(?![\w:])")


class Expression(NamedTuple):
    """One PromQL expression."""

    place: str
    text: str

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics in it."""
        return set(_METRIC.findall(self.text))

    def filled_in(self, interval: str = "30s", **variables: str) -> str:
        """The expression as Grafana sends it: every variable has a value, `.*` unless it is given."""
        found = self.text.replace("$__rate_interval", interval)
        return re.sub(r"\$(\w+)", lambda name: variables.get(name[1], ".*"), found)


def boards() -> Iterator[dict[str, Any]]:
    """Every dashboard."""
    for path in DASHBOARDS:
        yield json.loads(path.read_text())


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a board, without its rows."""
    yield from (panel for panel in board["panels"] if panel["type"] != "row")


def rules() -> Iterator[dict[str, Any]]:
    """Every rule, recording and alerting."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def panel_expressions() -> Iterator[Expression]:
    """What the panels and the marks of all boards ask."""
    for board in boards():
        for panel in panels(board):
            for target in panel["targets"]:
                yield Expression(f"{board['uid']} / {panel['title']} / {target['refId']}", target["expr"])
        for mark in board["annotations"]["list"]:
            yield Expression(f"{board['uid']} / mark {mark['name']}", mark["expr"])


def rule_expressions() -> Iterator[Expression]:
    """What the rules ask."""
    for rule in rules():
        yield Expression(rule.get("alert") or rule["record"], rule["expr"])
