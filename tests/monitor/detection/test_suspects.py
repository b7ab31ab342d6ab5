"""Suspects: what unexpected answers have in common."""

import numpy as np
import pytest

from detectors.bets import Reference
from detectors.cells import numeric_cells
from monitor.detection.baseline import FeatureReference
from monitor.detection.suspects import KEPT, LEAST, Suspects


def feature(*counts: int) -> FeatureReference:
    """A feature whose codes came so often in the reference."""
    return FeatureReference(numeric_cells(np.arange(20.0)), Reference(counts, {}))


FEATURES = (feature(500, 490, 10), feature(400, 600), feature(0, 980, 20))


def offered(suspects: Suspects, *rows: tuple[int, int, int], source: int = 1, start: int = 0) -> None:
    index = np.arange(start, start + len(rows), dtype=np.int64)
    suspects.offer(index, np.full(len(rows), source, dtype=np.intp), np.array(rows, dtype=np.intp))
    suspects.settle(start + len(rows))


def test_a_rare_value_that_most_share_is_common() -> None:
    suspects = Suspects(FEATURES)
    offered(suspects, (2, 0, 1), (2, 1, 1), (2, 0, 1), (0, 1, 1), (2, 1, 1))
    assert suspects.common(1) == [0]


def test_the_rarest_comes_first() -> None:
    suspects = Suspects(FEATURES)
    offered(suspects, *[(2, 0, 0)] * 5)
    assert suspects.common(1) == [2, 0]


def test_a_value_that_is_frequent_anyway_is_not() -> None:
    suspects = Suspects(FEATURES)
    offered(suspects, *[(0, 1, 1)] * 10)
    assert suspects.common(1) == []


@pytest.mark.parametrize("events", range(LEAST))
def test_a_few_say_nothing(events: int) -> None:
    suspects = Suspects(FEATURES)
    offered(suspects, *[(2, 0, 1)] * events) if events else None
    assert suspects.common(1) == []


def test_sources_are_apart() -> None:
    suspects = Suspects(FEATURES)
    offered(suspects, *[(2, 0, 1)] * 6, source=1)
    offered(suspects, *[(0, 0, 2)] * 6, source=2, start=6)
    assert (suspects.common(1), suspects.common(2), suspects.common(3)) == ([0], [2], [])


def test_what_the_engine_has_not_judged_does_not_count() -> None:
    suspects = Suspects(FEATURES)
    rows = np.array([(2, 0, 1)] * 8, dtype=np.intp)
    suspects.offer(np.arange(8, dtype=np.int64), np.ones(8, dtype=np.intp), rows)
    suspects.settle(2)
    assert suspects.common(1) == []
    suspects.settle(7)
    assert suspects.common(1) == [0]


def test_only_the_last_are_kept_and_survive_a_restart() -> None:
    suspects, restored = Suspects(FEATURES), Suspects(FEATURES)
    offered(suspects, *[(2, 0, 1)] * KEPT)
    offered(suspects, *[(0, 0, 2)] * KEPT, start=KEPT)
    restored.restore(suspects.dump())
    assert restored.common(1) == suspects.common(1) == [2]
    assert restored.dump() == suspects.dump()
    assert len(suspects.dump()[1]) == KEPT
