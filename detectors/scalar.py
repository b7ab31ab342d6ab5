"""River's scalar detectors by name, behind one guarded door.

They are offered beside the engine to those who want them. None of them states how often it errs on all that a model
has, so their detections are counted and shown, and never open an incident.

The door guards against two traps, both measured: one NaN disables ADWIN and Page-Hinkley for good and without a word,
as 1e300 does ADWIN; and FHDDM wants 1 for a correct prediction where the other error detectors want 1 for a wrong one.
"""

import importlib
from collections.abc import Mapping
from typing import NamedTuple, Protocol, cast


class _River(Protocol):
    """What all of river's drift detectors have."""

    drift_detected: bool

    def update(self, x: float) -> object: ...


class Kind(NamedTuple):
    """Where one of river's detectors is, and what it is fed."""

    place: str
    """`module:class`; imported when it is first used, because river takes seconds to import."""
    errors: bool
    """True if it reads a sequence of errors (0 or 1), False if it reads any numbers."""
    correct_is_one: bool = False


CATALOG: Mapping[str, Kind] = {
    "adwin": Kind("river.drift:ADWIN", errors=False),
    "page_hinkley": Kind("river.drift:PageHinkley", errors=False),
    "kswin": Kind("river.drift:KSWIN", errors=False),
    "ddm": Kind("river.drift.binary:DDM", errors=True),
    "eddm": Kind("river.drift.binary:EDDM", errors=True),
    "fhddm": Kind("river.drift.binary:FHDDM", errors=True, correct_is_one=True),
}

LARGEST = 1e100
"""Largest value, either way, that is fed: the sum of a few larger squares overflows."""
TRIAL = 300
"""Values that a spare detector is fed at once: river looks at many parameters only when it needs them."""


class ScalarDetector:
    """One of river's detectors on one sequence of numbers."""

    def __init__(self, name: str, params: Mapping[str, object] | None = None) -> None:
        """Make the detector.

        Args:
            name: a key of CATALOG.
            params: keyword arguments of river's class. KSWIN draws at random: it is seeded unless `seed` is given.

        Raises:
            ValueError: no such detector, or river does not accept the parameters.
        """
        if name not in CATALOG:
            raise ValueError(f"no such detector: {name}; there are {', '.join(CATALOG)}")
        self.name = name
        self.detections = 0
        self.refused = 0
        """Values that were not finite or too large, and were not fed."""
        self._kind = CATALOG[name]
        module, _, cls = self._kind.place.partition(":")
        make = getattr(importlib.import_module(module), cls)
        arguments = {**({"seed": 0} if name == "kswin" else {}), **(params or {})}
        try:
            spare = cast("_River", make(**arguments))
            for number in range(TRIAL):
                spare.update(float(number % 3 == 0))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # what river's parts in Rust raise is no Exception
            raise ValueError(f"{name}: {error}") from error
        self._detector = cast("_River", make(**arguments))

    def update(self, value: float) -> bool:
        """Feed one value (for error detectors: 1.0 is an error, 0.0 none); return whether it detects a change now."""
        if not abs(value) <= LARGEST:  # this way round NaN is refused too
            self.refused += 1
            return False
        self._detector.update(1.0 - value if self._kind.correct_is_one else value)
        detected = bool(self._detector.drift_detected)
        self.detections += detected
        return detected
