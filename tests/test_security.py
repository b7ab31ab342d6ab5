"""What SECURITY.md says is tested, is."""

import ast
import re

from tests.kit.documents import ROOT, rows, sections


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
