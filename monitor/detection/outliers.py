"""Outliers: what `detectors.outliers` learns of the features of a reference."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from detectors import outliers
from detectors.cells import ABOVE, BELOW, RESERVED, CategoryCells, Cells
from monitor.detection.baseline import ANSWERS, FeatureReference, category
from monitor.intake.events import Value

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


def learn(
    values: Mapping[str, Sequence[Value]],
    codes: Mapping[str, Codes],
    features: Mapping[str, FeatureReference],
    rows: slice,
) -> outliers.Outliers | None:
    """Learn from some `rows` of the reference: its values, and their codes. None if events have no features."""
    served = inputs(features)
    if not served:
        return None
    known, left_out = list[Codes](), list[Codes]()
    beyond = np.zeros(len(codes[served[0]][rows]))
    for name in served:
        held = codes[name][rows]
        others, far = _left_out(features[name].cells, values[name][rows], held)
        known.append(held)
        left_out.append(others)
        beyond += far
    cells, counts = known_of(features, served)
    return outliers.learn(cells, counts, np.column_stack(known), np.column_stack(left_out), beyond)


def inputs(features: Mapping[str, FeatureReference]) -> list[str]:
    """The features that an event is judged by: not what the model made of them."""
    return sorted(features.keys() - ANSWERS)


def known_of(
    features: Mapping[str, FeatureReference], served: Sequence[str]
) -> tuple[list[Cells], list[tuple[int, ...]]]:
    """Cells and counts of some features."""
    return [features[name].cells for name in served], [features[name].reference.counts for name in served]


def _left_out(cells: Cells, values: Sequence[Value], codes: Codes) -> tuple[Codes, Floats]:
    """The codes that reference values would have, and how far they would be outside, had each alone not been in it."""
    found, outside = codes.copy(), np.zeros(len(codes))
    if isinstance(cells, CategoryCells):
        seen = Counter(map(category, values))
        found[[seen[category(value)] == 1 for value in values]] = cells.unseen
        return found, outside
    numbers = np.array([np.nan if value is None or isinstance(value, str) else float(value) for value in values])
    distinct = np.unique(numbers[np.isfinite(numbers)])
    for place, code in ((-1, ABOVE), (0, BELOW)) if distinct.size > 1 else ():
        alone = np.flatnonzero(numbers == distinct[place])
        if alone.size == 1:
            found[alone] = cells.size - RESERVED + code
            outside[alone] = outliers.lone_reach(cells, code, distinct[-2 if place else 1])
    return found, outside
