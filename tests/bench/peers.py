"""River's detectors, through the product's own door, with one knob each that sets how often they err."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.scalar import ScalarDetector
from tests.bench.worlds import Floats


class Peer(NamedTuple):
    """A detector of one sequence."""

    name: str
    make: Callable[[float], ScalarDetector]
    low: float
    high: float
    """Between these the knob is looked for, on a logarithmic scale."""
    rises: bool
    """True if a larger knob means fewer alarms."""


FEATURE_PEERS = (
    Peer("river ADWIN", lambda knob: ScalarDetector("adwin", {"delta": knob}), 1e-9, 0.9, rises=False),
    Peer(
        "river Page-Hinkley (delta 0.25)",
        lambda knob: ScalarDetector("page_hinkley", {"threshold": knob, "delta": 0.25}),
        2.0,
        400.0,
        rises=True,
    ),
)
SLOW_PEERS = (Peer("river KSWIN", lambda knob: ScalarDetector("kswin", {"alpha": knob}), 1e-9, 0.05, rises=False),)
"""A quarter of a millisecond an event."""
ERROR_PEERS = (
    Peer("river ADWIN", lambda knob: ScalarDetector("adwin", {"delta": knob}), 1e-9, 0.9, rises=False),
    Peer("river DDM", lambda knob: ScalarDetector("ddm", {"drift_threshold": knob}), 2.1, 12.0, rises=True),
    Peer("river FHDDM", lambda knob: ScalarDetector("fhddm", {"confidence_level": knob}), 1e-12, 0.5, rises=False),
)


def first_alarms(make: Callable[[], ScalarDetector], learnt: Floats, values: Floats) -> npt.NDArray[np.int64]:
    """Event (1, 2, ...) of the first alarm in each column of `values`, (events, repeats); 0 if there is none."""
    return np.array(
        [_first(make(), before.tolist(), column.tolist()) for before, column in zip(learnt.T, values.T, strict=True)]
    )


def _first(detector: ScalarDetector, learnt: Sequence[float], values: Sequence[float]) -> int:
    for value in learnt:
        detector.update(value)  # an alarm here starts it anew, as in use
    for number, value in enumerate(values, 1):
        if detector.update(value):
            return number
    return 0
