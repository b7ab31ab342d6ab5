import sys

import numpy as np
import pytest

from detectors.automatic import automatic
from detectors.cells import numeric_cells
from detectors.compiled import compiled
from detectors.engine import ARRAYS, Engine
from detectors.grid import Grid

GRID = Grid.of([numeric_cells(np.arange(100.0)), numeric_cells(np.arange(50.0))], [0, 2])


class Counting:
    """The compiled engine, and how often it cuts."""

    def __init__(self) -> None:
        self.cuts = 0

    def made(self) -> Engine:
        return Engine(self.cut, compiled().walk)

    def cut(self, *given: object) -> int:
        self.cuts += 1
        return compiled().cut(*given)


def rows(engine: Engine, count: int) -> np.ndarray:
    values = np.random.default_rng(count).uniform(-10.0, 110.0, (count, 2))
    found, expected = np.full((count, 3), -1), np.full((count, 3), -1)
    assert engine.cut(GRID, values, found) == ARRAYS.cut(GRID, values, expected)
    assert (found == expected).all()
    return found


def test_the_compiler_is_used_once_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    monkeypatch.setattr("detectors.automatic.compiled", counting.made)
    engine = automatic(worth=90)
    rows(engine, 20)
    rows(engine, 9)
    assert counting.cuts == 0
    rows(engine, 1)  # the ninetieth code
    rows(engine, 1)
    assert counting.cuts == 2


def test_without_a_compiler_everything_goes_on_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr("detectors.automatic.compiled", compiled.__wrapped__)
    engine = automatic(worth=3)
    rows(engine, 1)
    rows(engine, 5)
