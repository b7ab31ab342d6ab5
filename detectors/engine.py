"""An engine: how numbers are made of events. All engines make the same ones, to the last bit."""

from typing import NamedTuple

from detectors.grid import Cut, cut
from detectors.walk import Walk, arrays


class Engine(NamedTuple):
    """The two loops over every value of every event."""

    cut: Cut
    """From values to codes."""
    walk: Walk
    """From codes to evidence."""


ARRAYS = Engine(cut, arrays)
"""By numpy alone; `detectors.compiled` has the other."""
