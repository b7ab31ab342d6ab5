"""The engine compiled when the process begins: in less than half the time, with the extra `fast`."""

import gc
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from detectors.engine import Engine
from detectors.grid import Grid
from detectors.walk import Codes, Factors, Floats, Path, Steps

_Kernel = Callable[[Floats, int, int, Codes, Codes, Codes, Floats, Floats, Floats, Floats, Floats], None]
_FOLLOW = (
    "void(float64[:,::1], intp, intp, intp[:,::1], intp[::1], intp[::1], float64[:,:,::1], float64[:,:,::1], "
    "float64[:,::1], float64[:,::1], float64[:,:,::1])"
)
_TURNS = "Tuple((intp[::1], intp[::1]))(intp[::1])"
_CUT = "intp(float64[::1], intp[::1], intp[::1], intp[::1], float64[:,:], intp[:,::1])"


class NotInstalledError(Exception):
    """There is no compiler; one clear line."""


@cache
def compiled() -> Engine:
    """Compile the loops, once, which takes seconds. Raises NotInstalledError."""
    try:
        from numba import njit  # noqa: PLC0415 - optional, and takes a second
    except ImportError as error:
        raise NotInstalledError(f"no compiler ({error}); install tocsin[fast]") from error
    kernel: _Kernel = njit(_FOLLOW, nogil=True, error_model="numpy")(_follow)
    turns_of: Callable[[Codes], tuple[Codes, Codes]] = njit(_TURNS, nogil=True)(_turns)
    cut_all: Callable[[Floats, Codes, Codes, Codes, Floats, Codes], int] = njit(_CUT, nogil=True)(_cut)

    gc.collect()
    gc.freeze()  # the compiler's hundred thousand objects stay, and are not to be looked at again and again

    def cut(grid: Grid, values: Floats, codes: Codes) -> int:
        return cut_all(grid.edges, grid.starts, grid.order, grid.columns, values, codes)

    def walk(factors: Factors, steps: Steps, before: Mapping[int, Floats], ceiling: Floats | None) -> Path:
        shape, fresh = factors.fresh.shape, factors.fresh
        steps = Steps(np.ascontiguousarray(steps.keys), np.ascontiguousarray(steps.codes))
        names, turns = turns_of(steps.keys)
        keys = names.tolist()
        start = np.concatenate([before.get(key, fresh) for key in keys]).reshape(-1, *shape)
        nothing = np.empty((0, *shape))
        scales = nothing
        if not factors.scales.keys().isdisjoint(keys):
            scales = np.concatenate([factors.scales.get(key, fresh) for key in keys]).reshape(-1, *shape)
        limit = np.empty((0, shape[1])) if ceiling is None else ceiling
        walked = _CompiledPath(kernel, factors, steps, turns, keys, start, scales, limit, start.copy(), np.zeros(shape))
        kernel(
            factors.table,
            factors.codes,
            factors.kinds,
            steps.codes,
            steps.keys,
            turns,
            walked.held,
            scales,
            limit,
            walked.peaks,
            nothing,
        )
        return walked

    return Engine(cut, walk)


class _CompiledPath(NamedTuple):
    """Where a walk began and ended; what lies between is walked again, for the few streams of which somebody asks."""

    kernel: _Kernel
    factors: Factors
    steps: Steps
    turns: Codes
    keys: list[int]
    start: Floats
    scales: Floats
    limit: Floats
    held: Floats
    peaks: Floats

    @property
    def last(self) -> dict[int, Floats]:
        return {key: held.copy() for key, held in zip(self.keys, self.held, strict=True)}

    def of(self, stream: int) -> Floats:
        factors, only = self.factors, slice(stream, stream + 1)
        kinds, codes, bets = factors.kinds, factors.codes, factors.table.shape[1]
        table = factors.table.reshape(kinds, factors.streams, codes, bets)[:, stream].copy()
        events = np.ascontiguousarray(self.steps.codes[:, only])
        held, scales = self.start[:, only].copy(), np.ascontiguousarray(self.scales[:, only])
        limit = np.ascontiguousarray(self.limit[only])
        path = np.empty((len(events), 1, bets))
        self.kernel(
            table.reshape(-1, bets),
            codes,
            kinds,
            events,
            self.steps.keys,
            self.turns,
            held,
            scales,
            limit,
            np.zeros_like(held[0]),
            path,
        )
        return path[:, 0]


def _cut(edges: Floats, starts: Codes, order: Codes, columns: Codes, values: Floats, codes: Codes) -> int:
    """Write the code of each value; return how many are NaN.

    All values of a feature take each step of the search together: one after the other, each would wait for its own
    comparisons, which no processor can guess.
    """
    lost = 0
    column = np.empty(values.shape[0])
    places = np.empty(values.shape[0], dtype=np.intp)
    for feature in range(values.shape[1]):
        first, end = starts[feature], starts[feature + 1]
        for event in range(values.shape[0]):
            column[event] = values[event, feature]
            places[event] = first
        left = end - first
        while left > 1:
            half = left // 2
            for event in range(values.shape[0]):
                places[event] += half * (edges[places[event] + half - 1] < column[event])
            left -= half
        for event in range(values.shape[0]):
            place = places[event] + (edges[places[event]] < column[event])
            if np.isnan(column[event]):
                place = end + 1
                lost += 1
            codes[event, columns[feature]] = order[2 * feature + place]
    return lost


def _turns(keys: Codes) -> tuple[Codes, Codes]:
    """Which keys there are, and the place among them of each event's; keys are small numbers."""
    places = np.full(keys.max() + 1, -1, dtype=np.intp)
    names = np.empty(min(keys.size, places.size), dtype=np.intp)
    turns = np.empty(keys.size, dtype=np.intp)
    known = 0
    for event in range(keys.size):
        key = keys[event]
        if places[key] < 0:
            places[key] = known
            names[known] = key
            known += 1
        turns[event] = places[key]
    return names[:known], turns


def _follow(
    table: Floats,
    codes: int,
    kinds: int,
    events: Codes,
    keys: Codes,
    turns: Codes,
    held: Floats,
    scales: Floats,
    limit: Floats,
    peaks: Floats,
    path: Floats,
) -> None:
    """Walk over all events, for each stream and bet; `held` and `peaks` are changed, and `path` unless it is empty."""
    for event in range(events.shape[0]):
        turn = turns[event]
        start = keys[event] % kinds * events.shape[1] * codes
        for stream in range(events.shape[1]):
            row = start + stream * codes + events[event, stream]
            for bet in range(table.shape[1]):
                factor = table[row, bet]
                if scales.shape[0] > 0:
                    factor *= scales[turn, stream, bet]
                now = held[turn, stream, bet] * factor + 1.0
                if limit.shape[0] > 0:
                    now = min(now, limit[stream, bet])
                held[turn, stream, bet] = now
                peaks[stream, bet] = max(peaks[stream, bet], now)
                if path.shape[0] > 0:
                    path[event, stream, bet] = now
