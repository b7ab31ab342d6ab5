"""Names that an attacker invents: memory, state and a scrape stay bounded, however many there are.

`TOCSIN_BOMB` is the number of events; the second half of them is held against the first.
"""

import os
from pathlib import Path

import pytest

from monitor.service.reader import MAX_MODELS
from tests.bench import bombs
from tests.bench.bombs import LOOKS, MAX_PENDING, Bomb

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

EVENTS = int(os.environ.get("TOCSIN_BOMB", "40000"))
GROWTH = 60
"""Mebibytes by which the second half may be larger in memory than the first: noise of the allocator."""
SCRAPE = STATE = 5


@pytest.mark.parametrize(
    "bomb",
    [bombs.sources, bombs.models, bombs.classes, bombs.versions, bombs.features, bombs.ALL],
    ids=["sources", "models", "classes", "versions", "features", "all"],
)
def test_label_cardinality_bomb(bomb: Bomb | tuple[Bomb, ...], tmp_path: Path) -> None:
    looks = list(bombs.run(EVENTS, bomb if isinstance(bomb, tuple) else (bomb,), tmp_path))
    assert [look["events"] for look in looks][-1] == EVENTS
    assert max(look["models"] for look in looks) <= MAX_MODELS + 1
    assert max(look["waiting_for_labels"] for look in looks) <= MAX_PENDING
    assert max(look["scrape_mebibytes"] for look in looks) < SCRAPE
    assert max(look["state_mebibytes"] for look in looks) < STATE
    half = looks[LOOKS // 2 - 1]
    assert looks[-1]["memory_mebibytes"] - half["memory_mebibytes"] < GROWTH, looks
