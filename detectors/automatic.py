"""The engine that is compiled once that pays: it begins with numpy, and nobody waits for a compiler in vain."""

from collections.abc import Mapping

from detectors.compiled import NotInstalledError, compiled
from detectors.engine import ARRAYS, Engine
from detectors.grid import Codes, Floats, Grid
from detectors.walk import Factors, Path, Steps

WORTH = 16_000_000
"""Codes after which the compiler's seconds are earned: of half a million events with thirty features."""


def automatic(worth: int = WORTH) -> Engine:
    """An engine that becomes the compiled one after `worth` codes, if there is a compiler; its numbers are the same.

    That takes seconds, once for the process, in the middle of the batch at which it happens.
    """
    found = _Automatic(worth)
    return Engine(found.cut, found.walk)


class _Automatic:
    """Goes by what it has found best so far."""

    def __init__(self, worth: int) -> None:
        self._left = worth
        self._engine = ARRAYS

    def cut(self, grid: Grid, values: Floats, codes: Codes) -> int:
        if self._left > 0:
            self._left -= codes.size
            if self._left <= 0:
                self._engine = _best()
        return self._engine.cut(grid, values, codes)

    def walk(self, factors: Factors, steps: Steps, before: Mapping[int, Floats], ceiling: Floats | None) -> Path:
        return self._engine.walk(factors, steps, before, ceiling)


def _best() -> Engine:
    try:
        return compiled()
    except NotInstalledError:
        return ARRAYS
