"""Suspects: what the events have in common that the model answered otherwise than expected.

That a source gets unexpected answers is found by the engine, within the budget. What it sends to get them is looked for
only then, among its last unexpected answers: a trigger is a value that most of them share and the reference hardly had.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from monitor.detection.baseline import FeatureReference

Codes = npt.NDArray[np.intp]
Ints = npt.NDArray[np.int64]

KEPT = 24
"""Unexpected answers remembered for each source."""
RARE = 0.05
"""A value with a larger share in the reference is no trigger: natural rows that resemble each other share many."""
SHARED = 0.6
"""Share of the suspects that have the value."""
LEAST = 4
"""Suspects that have it."""


class Suspects:
    """The last unexpected answers of each source, as codes."""

    def __init__(self, features: Sequence[FeatureReference]) -> None:
        """Remember how rare each code of each stream was."""
        counts = [np.array(feature.reference.counts, dtype=np.float64) for feature in features]
        self._shares = np.ones((len(counts), max(count.size for count in counts)))
        for place, count in enumerate(counts):
            self._shares[place, : count.size] = count / max(count.sum(), 1.0)
        self._held: dict[int, deque[bytes]] = {}
        self._offered: list[tuple[int, int, bytes]] = []
        self._settled: list[int] = []

    def offer(self, index: Ints, sources: Codes, codes: Codes) -> None:
        """Take in unexpected answers of a batch, of which the engine has not judged any yet."""
        rows = (row.tobytes() for row in codes.astype(np.int16))
        self._offered = list(zip(index.tolist(), sources.tolist(), rows, strict=True))

    def settle(self, index: int) -> None:
        """Remember the offered ones up to `index`."""
        kept = 0
        for at, source, row in self._offered:
            if at > index:
                break
            self._held.setdefault(source, deque(maxlen=KEPT)).append(row)
            self._settled.append(at)
            kept += 1
        del self._offered[:kept]

    def take_settled(self) -> list[int]:
        """The events that were remembered since the last call."""
        settled, self._settled = self._settled, []
        return settled

    def common(self, source: int) -> list[int]:
        """The streams in which most suspects of a source have the same rare code, the rarest first."""
        held = self._held.get(source, ())
        if len(held) < LEAST:
            return []
        rows = np.array([np.frombuffer(row, dtype=np.int16) for row in held], dtype=np.intp)
        found = []
        for stream, column in enumerate(rows.T):
            codes, seen = np.unique(column, return_counts=True)
            most = int(seen.argmax())
            share = self._shares[stream, codes[most]]
            if seen[most] >= max(LEAST, SHARED * len(held)) and share <= RARE:
                found.append((float(share), stream))
        return [stream for _, stream in sorted(found)]

    def dump(self) -> dict[int, list[bytes]]:
        """The state, for the store."""
        return {source: list(rows) for source, rows in sorted(self._held.items())}

    def restore(self, state: Mapping[int, Sequence[bytes]]) -> None:
        """Take up a stored state."""
        self._held = {source: deque(rows, maxlen=KEPT) for source, rows in state.items()}
