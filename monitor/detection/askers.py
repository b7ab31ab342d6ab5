"""Askers: who asks the model, and whether one of them, or newcomers together, ask far more than they used to."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.bets import RUN, Caution, Reference, dispersion, make_safe, mask, rise
from monitor.detection.grouping import Groups, counted
from monitor.detection.slots import NAMED, SHARED

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]

FLOODS = (0.15, 0.4)
"""By how much of what is left to 1 the share of who asks is bet to rise."""
SESSION = 3.0
"""Events of one that are held to say no more than one, at least: whoever asks, asks again soon."""
LONG_RUNS = 24
"""Runs that the reference is cut into, to see how long sessions are."""
GROWTH = 0.1
"""Share of all that is asked by which anybody may ask more while all is well: clients come and grow."""


def learn(names: Sequence[str | None], sources: tuple[str, ...], groups: Groups) -> Reference | None:
    """How often each of `sources` asked, then all others together, then nobody in particular.

    Returns:
        None where fewer than two are known: then nobody can ask more than the others.
    """
    if len(sources) < 2:
        return None
    code = {None: len(sources) + 1} | {name: place for place, name in enumerate(sources)}
    codes = np.array([code.get(name, len(sources)) for name in names], dtype=np.intp)
    asked = [(codes == each).astype(np.float64) for each in range(len(sources) + 2)]
    runs = (RUN, max(codes.size // LONG_RUNS, RUN))  # sessions may be of any length
    varies = max(SESSION, *(dispersion(scores, run) for scores in asked for run in runs))
    within = {partition: groups[partition] for partition in ("time", "hour")}
    return counted(codes, len(sources) + 2, within, varies)


def codes_of_slots(known: int) -> Codes:
    """The code of each slot of a source, where the reference knows so many: see `monitor.detection.slots`."""
    codes = np.full(NAMED + SHARED, known, dtype=np.intp)
    codes[0] = known + 1
    codes[1 : known + 1] = np.arange(known)
    return codes


def bets(reference: Reference, caution: Caution) -> Floats:
    """Bets that the share of each code rises by each of FLOODS, shape (codes, codes x FLOODS)."""
    lenient = msgspec.structs.replace(caution, tolerance=caution.tolerance + 2 * GROWTH)
    counts = np.asarray(reference.counts, dtype=np.float64)
    hits = [mask([code], counts.size) for code in range(counts.size)]
    columns = [rise(counts[hit].sum(), float(counts.sum()), step, hit, lenient) for hit in hits for step in FLOODS]
    return make_safe(np.stack(columns, axis=1), reference, lenient)
