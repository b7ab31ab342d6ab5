"""What SECURITY.md says is tested, is."""

import ast
import re

from tests.kit.documents import ROOT, rows, sections

WAYS_IN = {
    "monitor/http/console.py",  # a session for whoever has a token; forms of its own pages only
    "monitor/http/endpoint.py",  # the API: a role for each call, in one table
    "monitor/http/hooks.py",  # signed messages
    "monitor/http/pages.py",  # for whoever may look
    "monitor/http/server.py",  # metrics and probes, open
}
"""Where routes are made; each has its tests of who may come in."""


def test_there_are_no_other_ways_in() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "monitor").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Route", "Mount")
        if "demo" not in path.parts
    }
    assert found == WAYS_IN


def test_every_attack_has_its_tests() -> None:
    attacks = [row for row in rows(sections("SECURITY.md", 2)["What holds this up"]) if len(row) == 3]
    assert len(attacks) > 15
    for attack, _, told in attacks:
        places = re.findall(r"`([^`]+\.py)`: ((?:`\w+`(?:, )?)+)", told)
        assert places, attack
        for path, names in places:
            tree = ast.parse((ROOT / path).read_text())
            there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert set(re.findall(r"`(\w+)`", names)) <= there, (attack, path)
