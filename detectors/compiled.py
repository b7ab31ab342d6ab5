"""The walk of `detectors.walk`, compiled when the process begins: in less than half the time, with the extra `fast`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from detectors.walk import Codes, Factors, Floats, Path, Steps, Walk

_Kernel = Callable[[Floats, Codes, Codes, Floats, Floats, Floats, Floats, Floats], None]
_SIGNATURE = (
    "void(float64[:,::1], intp[:,::1], intp[::1], float64[:,:,::1], float64[:,:,::1], float64[:,::1], "
    "float64[:,::1], float64[:,:,::1])"
)


class NotInstalledError(Exception):
    """There is no compiler; one clear line."""


@cache
def compiled() -> Walk:
    """Compile the walk, once, which takes seconds. Raises NotInstalledError."""
    try:
        from numba import njit  # noqa: PLC0415 - optional, and takes a second
    except ImportError as error:
        raise NotInstalledError(f"no compiler ({error}); install tocsin[fast]") from error
    kernel: _Kernel = njit(_SIGNATURE, nogil=True, error_model="numpy")(_follow)

    def walk(factors: Factors, steps: Steps, before: Mapping[int, Floats], ceiling: Floats | None) -> Path:
        streams, bets = steps.rows.shape[1], factors.table.shape[1]
        keys, turns = _turns(steps.keys)
        rows = np.ascontiguousarray(steps.rows)
        first = np.ones((streams, bets))
        start = np.concatenate([before.get(key, first) for key in keys]).reshape(len(keys), streams, bets)
        scales = np.empty((0, streams, bets))
        if not factors.scales.keys().isdisjoint(keys):
            scales = np.stack([factors.scales.get(key, first) for key in keys])
        limit = np.empty((0, bets)) if ceiling is None else ceiling
        held, peaks = start.copy(), np.zeros((streams, bets))
        kernel(factors.table, rows, turns, held, scales, limit, peaks, np.empty((0, streams, bets)))
        return _CompiledPath(kernel, factors.table, rows, turns, keys, start, held, scales, limit, peaks)

    return walk


@dataclass(frozen=True, slots=True)
class _CompiledPath:
    """Where a walk began and ended; what lies between is walked again, for the few streams of which somebody asks."""

    kernel: _Kernel
    table: Floats
    rows: Codes
    turns: Codes
    keys: list[int]
    start: Floats
    held: Floats
    scales: Floats
    limit: Floats
    peaks: Floats

    @property
    def last(self) -> dict[int, Floats]:
        return {key: held.copy() for key, held in zip(self.keys, self.held, strict=True)}

    def of(self, stream: int) -> Floats:
        only = slice(stream, stream + 1)
        path = np.empty((len(self.rows), 1, self.table.shape[1]))
        rows, held = np.ascontiguousarray(self.rows[:, only]), self.start[:, only].copy()
        scales, limit = np.ascontiguousarray(self.scales[:, only]), np.ascontiguousarray(self.limit[only])
        self.kernel(self.table, rows, self.turns, held, scales, limit, np.zeros_like(held[0]), path)
        return path[:, 0]


def _turns(keys: Codes) -> tuple[list[int], Codes]:
    """Which keys there are, and the place among them of each event's."""
    if not (keys != keys[0]).any():
        return [int(keys[0])], np.zeros(keys.size, dtype=np.intp)
    names = np.bincount(keys).nonzero()[0]  # keys are small numbers; sorting them would take longer than the walk
    places = np.empty(int(names[-1]) + 1, dtype=np.intp)
    places[names] = np.arange(names.size)
    return names.tolist(), places[keys]


def _follow(
    table: Floats,
    rows: Codes,
    turns: Codes,
    held: Floats,
    scales: Floats,
    limit: Floats,
    peaks: Floats,
    path: npt.NDArray[np.float64],
) -> None:
    """Walk over all events, for each stream and bet; `held` and `peaks` are changed, and `path` unless it is empty."""
    for event in range(rows.shape[0]):
        key = turns[event]
        for stream in range(rows.shape[1]):
            row = rows[event, stream]
            for bet in range(table.shape[1]):
                factor = table[row, bet]
                if scales.shape[0] > 0:
                    factor *= scales[key, stream, bet]
                now = held[key, stream, bet] * factor + 1.0
                if limit.shape[0] > 0:
                    now = min(now, limit[stream, bet])
                held[key, stream, bet] = now
                peaks[stream, bet] = max(peaks[stream, bet], now)
                if path.shape[0] > 0:
                    path[event, stream, bet] = now
