"""Pairs: which features are watched together, and the codes of their pairs."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from detectors.cells import NumericCells
from detectors.pairs import FOLDED, OCTILES, SCORES, UNKNOWN, octiles
from monitor.detection.baseline import ANSWERS, FeatureReference

Codes = npt.NDArray[np.intp]

PAIRS = 45
"""Pairs that are watched: all of ten features; of more, those that go together most closely in the reference."""

MOST = 512
"""Numeric features of which pairs are chosen; further ones are watched alone."""


class Pairs:
    """Codes of pairs from the codes of features."""

    def __init__(self, features: Mapping[str, FeatureReference], pairs: Sequence[tuple[str, str]]) -> None:
        """Take the features in the order of their columns, and the names of the pairs."""
        names = {name: place for place, name in enumerate(features)}
        used = sorted({name for pair in pairs for name in pair}, key=names.__getitem__)
        places = {name: place for place, name in enumerate(used)}
        self._columns = np.array([names[name] for name in used], dtype=np.intp)
        tables = [octiles(features[name].reference.counts) for name in used]
        self._starts = np.cumsum([0, *map(len, tables)])[:-1]
        self._octiles = np.concatenate(tables) if tables else np.zeros(0, dtype=np.intp)
        self._first = np.array([places[first] for first, _ in pairs], dtype=np.intp)
        self._second = np.array([places[second] for _, second in pairs], dtype=np.intp)

    def of(self, codes: Codes) -> Codes:
        """The codes of the pairs, shape (n, pairs), from those of all features, shape (n, streams)."""
        held = self._octiles.take(codes.take(self._columns, axis=1) + self._starts)
        squares = held.take(self._first, axis=1) * (OCTILES + 1) + held.take(self._second, axis=1)
        return np.asarray(FOLDED.take(squares))


def rank(features: Mapping[str, FeatureReference], codes: Mapping[str, Codes]) -> list[tuple[str, str]]:
    """All pairs that could be watched, the most closely correlated first.

    Args:
        features: what was learnt of each feature, the prediction and others included.
        codes: of reference events, shape (n,) each.
    """
    numeric = [
        name for name, feature in features.items() if name not in ANSWERS and isinstance(feature.cells, NumericCells)
    ]
    scores = {}
    for name in numeric[:MOST]:
        places = octiles(features[name].reference.counts)[codes[name]]
        if len({*places.tolist()} - {UNKNOWN}) > 1:
            column = np.append(SCORES, 0.0)[places]
            scores[name] = (column - column.mean()) / column.std()
    if len(scores) < 2:
        return []
    names = list(scores)
    matrix = np.column_stack(list(scores.values()))
    together = np.abs(matrix.T @ matrix) / len(matrix)
    first, second = np.triu_indices(len(names), 1)
    closest = np.argsort(-together[first, second].round(6), kind="stable")
    return [(names[first[place]], names[second[place]]) for place in closest]
