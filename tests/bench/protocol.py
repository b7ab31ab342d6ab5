"""One knob of a detector is set so that it errs as rarely as the others; then its delays are measured."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tests.bench import report
from tests.bench.paths import PathDetector, Start, first_passages
from tests.bench.peers import Peer, first_alarms
from tests.bench.report import Row
from tests.bench.worlds import LEARN, World

Ints = npt.NDArray[np.int64]

CHUNK = 500
HIGHEST = 1e30
"""Statistics are not told apart above this."""
CALIBRATE, CHECK, DETECT = 1, 2, 3
"""Which events: to set the knob, to measure what it achieves, to find changes in."""


class Bench(NamedTuple):
    """How much is measured, and with which seed."""

    seed: int
    run_length: int
    """In-control events per false alarm that every detector is set to."""
    cap: int
    """Events after which a run in control is cut off."""
    pre: int
    """In-control events before the change; runs with an alarm in them are dropped."""
    post: int
    """Events after the change; a run without an alarm in them counts as that long, and as not found."""

    def random(self, purpose: int) -> np.random.Generator:
        """The same events for the same purpose, for every detector."""
        return np.random.default_rng([self.seed, purpose])


class Runs(NamedTuple):
    """How many independent runs, each with its own reference."""

    control: int
    change: int


def measure(
    bench: Bench, world: World, detector: PathDetector, changes: Sequence[str], runs: Runs, fixed: dict[str, float]
) -> Iterator[Row]:
    """Rows of a detector whose threshold is its knob, and under other names of the same one at fixed thresholds."""
    threshold = _calibrated(_in_control(bench, world, detector, CALIBRATE, runs.control), bench)
    cuts = {detector.name: threshold, **fixed}
    peaks = _in_control(bench, world, detector, CHECK, runs.control)
    achieved = {name: report.run_length(first_passages(peaks, cut), bench.cap) for name, cut in cuts.items()}
    start = detector.learn(world.control(bench.random(DETECT), runs.change)(LEARN))
    for change in changes:
        peaks = _through(bench, world, change, start, runs.change, max(cuts.values()))
        for name, cut in cuts.items():
            yield _row(name, world.name, change, achieved[name], first_passages(peaks, cut), bench) | {"knob": cut}


def measure_peer(bench: Bench, world: World, peer: Peer, share: int, runs: Runs) -> Iterator[Row]:
    """Rows of a detector of one sequence; of `share` such detectors side by side, if one of so many features changes.

    Each of them may then err `share` times less often, and the delay is that of the one whose feature has changed.
    """
    cap = bench.cap * share
    knob = _tuned(bench, world, peer, share, runs.control)
    lengths = _alone(bench.random(CHECK), world, peer, knob, runs.control, cap)
    achieved = report.run_length(lengths, cap)
    achieved |= {name: achieved[name] / share for name in ("mean", "error", "at_least")}
    name = world.name if share == 1 else f"one of {share} features"
    for change, changed in world.changes.items():
        random = bench.random(DETECT)
        draw = world.control(random, runs.change)
        learnt, before, after = draw(LEARN), draw(bench.pre), draw(bench.post)
        after = changed(after, np.arange(1.0, bench.post + 1), random)
        values = np.concatenate([before, after])[..., 0]
        found = first_alarms(lambda: peer.make(knob), learnt[..., 0], values)
        yield _row(peer.name, name, change, achieved, found, bench) | {"knob": knob}


def running_maxima(
    step: Callable[[int, int], npt.NDArray[np.float64]], runs: int, events: int, limit: float
) -> npt.NDArray[np.float32]:
    """Running maxima of what `step(events, place)` gives, (runs, events), until all are above the limit."""
    peaks = np.empty((runs, events), dtype=np.float32)
    last = np.full(runs, -np.inf)
    for place in range(0, events, CHUNK):
        levels = step(min(CHUNK, events - place), place)
        levels[0] = np.maximum(levels[0], last)
        np.minimum(levels, HIGHEST, out=levels)
        np.maximum.accumulate(levels, axis=0, out=levels)
        peaks[:, place : place + len(levels)] = levels.T
        last = levels[-1]
        if (last > limit).all():
            peaks[:, place + len(levels) :] = last[:, np.newaxis]
            break
    return peaks


def _in_control(bench: Bench, world: World, detector: PathDetector, purpose: int, runs: int) -> npt.NDArray[np.float32]:
    """Running maxima of the statistic, (runs, cap)."""
    draw = world.control(bench.random(purpose), runs)
    follow = detector.learn(draw(LEARN))()
    return running_maxima(lambda events, _: follow(draw(events)), runs, bench.cap, math.inf)


def _through(bench: Bench, world: World, change: str, start: Start, runs: int, limit: float) -> npt.NDArray[np.float32]:
    """Running maxima of the statistic over the events before and after a change, (runs, pre + post)."""
    random = bench.random(DETECT)
    draw, follow = world.control(random, runs), start()
    draw(LEARN)

    def step(events: int, place: int) -> npt.NDArray[np.float64]:
        values = draw(events)
        since = np.arange(place + 1.0, place + events + 1) - bench.pre
        after = since > 0
        if after.any():
            values[after] = world.changes[change](values[after], since[after], random)
        return follow(values)

    return running_maxima(step, runs, bench.pre + bench.post, limit)


def _calibrated(peaks: npt.NDArray[np.float32], bench: Bench) -> float:
    """The threshold at which the run length is the one that is wanted."""
    levels = np.unique(peaks)  # of very different size, so that halving distances would miss most of them

    def too_short(level: float) -> bool:
        return bool(report.run_length(first_passages(peaks, level), bench.cap)["mean"] < bench.run_length)

    place = bisect_left(levels, True, key=lambda level: not too_short(float(level)))
    return float(levels[place]) if place < levels.size else float(levels[-1]) * 2 + 1


def _tuned(bench: Bench, world: World, peer: Peer, share: int, runs: int) -> float:
    """The knob at which the run length is the one that is wanted, by bisection."""
    low, high = math.log(peer.low), math.log(peer.high)
    for _ in range(10):
        knob = math.exp((low + high) / 2)
        lengths = _alone(bench.random(CALIBRATE), world, peer, knob, runs, bench.cap * share)
        reached = report.run_length(lengths, bench.cap * share)["mean"]
        if abs(math.log(reached / (bench.run_length * share))) < 0.05:
            break
        if (reached < bench.run_length * share) == peer.rises:
            low = math.log(knob)
        else:
            high = math.log(knob)
    return knob


def _alone(random: np.random.Generator, world: World, peer: Peer, knob: float, runs: int, cap: int) -> Ints:
    """First alarms in control, one run after the other, because a run can be long."""
    draw = world.control(random, 1)
    return np.concatenate(
        [first_alarms(lambda: peer.make(knob), draw(LEARN)[..., 0], draw(cap)[..., 0]) for _ in range(runs)]
    )


def _row(detector: str, world: str, change: str, achieved: dict[str, float], first: Ints, bench: Bench) -> Row:
    kept = first[(first == 0) | (first > bench.pre)]
    delays = np.where(kept > 0, kept - bench.pre, bench.post)
    return {
        "detector": detector,
        "world": world,
        "change": change,
        "run_length": achieved,
        "delay": report.spread(delays) if kept.size else None,
        "dropped": int(first.size - kept.size),
        "not_found": int((kept == 0).sum()),
    }
