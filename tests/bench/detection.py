"""How soon changes are found, at equal run length: Tocsin beside its peers, an oracle, and those who know nothing.

Every detector sees 2,000 in-control events, then 1,000 more, then the change. One knob of each (Tocsin's is the budget)
is set so that the whole detector errs once in 10,000 in-control events on average; what it achieves is measured on
other events. Runs with an alarm in the 1,000 are dropped. Delays are in events, with their standard error.

    python -m tests.bench.detection [--quick | --full] [--seed N] [--out FILE]
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

from tests.bench import engine, kernel, paths, peers, report
from tests.bench.paths import PathDetector
from tests.bench.protocol import Bench, Runs, measure, measure_peer
from tests.bench.report import Row
from tests.bench.worlds import World, correlation, errors, gaussian


class Size(NamedTuple):
    """How much is measured."""

    run_length: int
    one: Runs
    """Runs with one feature."""
    many: Runs
    """Runs with `features` of them."""
    peers: Runs
    slow: Runs | None
    """Runs of detectors that take a quarter of a millisecond an event, if there is time for them."""
    features: int = 20
    pairs: int = 10
    post: int = 10_000


SIZES = {
    "quick": Size(1_000, Runs(40, 60), Runs(20, 30), Runs(20, 20), None, features=4, pairs=4, post=1_500),
    "usual": Size(10_000, Runs(240, 400), Runs(120, 160), Runs(40, 100), None),
    "full": Size(10_000, Runs(400, 500), Runs(120, 200), Runs(100, 200), Runs(10, 20)),
}
SLOW_POST = 2_000
PAIR_POST = 3_000
"""Events after which a change of correlation counts as not found."""


def run(size: Size, seed: int) -> Iterator[Row]:
    """Every row."""
    bench = Bench(seed, size.run_length, cap=5 * size.run_length, pre=size.run_length // 10, post=size.post)
    one, many = gaussian(1), gaussian(size.features)
    yield from _engine(bench, one, engine.features(), size.one)
    yield from _engine(bench, many, engine.features(), size.many)
    for classes in (1, 2):
        yield from _engine(bench, errors(), engine.outcomes(classes, seed), size.one)
    pair = correlation(size.pairs)
    for detector in (engine.features(), kernel.density(seed)):
        yield from _engine(bench._replace(post=min(PAIR_POST, size.post)), pair, detector, size.many)
    for world, runs in ((one, size.one), (many, size.many), (errors(), size.one), (pair, size.many)):
        yield from _oracles(bench, world, runs)
    for ignorant in (paths.never(), paths.every(2 * size.run_length, seed), paths.at_random(size.run_length, seed)):
        yield from _timed(measure(bench, one, ignorant, ["mean +0.5"], size.one, {ignorant.name: 0.5}), ignorant.name)
    yield from _peers(bench, size)


def _engine(bench: Bench, world: World, detector: PathDetector, runs: Runs) -> Iterator[Row]:
    as_it_is = {f"{detector.name}, budget {bench.run_length:,} as it is": float(bench.run_length)}
    return _timed(
        measure(bench, world, detector, list(world.changes), runs, as_it_is), f"{world.name}: {detector.name}"
    )


def _oracles(bench: Bench, world: World, runs: Runs) -> Iterator[Row]:
    for change in world.changes:
        oracle = paths.oracle(change, world.features)
        if oracle is not None:
            yield from _timed(measure(bench, world, oracle, [change], runs, {}), f"{world.name}: oracle, {change}")


def _peers(bench: Bench, size: Size) -> Iterator[Row]:
    one = gaussian(1)
    for peer in peers.FEATURE_PEERS:
        yield from _timed(measure_peer(bench, one, peer, 1, size.peers), peer.name)
    for peer in peers.ERROR_PEERS:
        yield from _timed(measure_peer(bench, errors(), peer, 1, size.peers), f"errors: {peer.name}")
    for peer in peers.FEATURE_PEERS:
        several = Runs(max(size.peers.control // 2, 2), size.peers.change)
        yield from _timed(measure_peer(bench, one, peer, size.features, several), f"{size.features}: {peer.name}")
    for peer in peers.SLOW_PEERS if size.slow else ():
        shorter = bench._replace(cap=2 * bench.run_length, post=SLOW_POST)
        yield from _timed(measure_peer(shorter, one, peer, 1, size.slow or size.peers), peer.name)


def _timed(rows: Iterator[Row], what: str) -> Iterator[Row]:
    began = time.monotonic()
    yield from rows
    report.say(f"{what}: {time.monotonic() - began:.0f} s")


def tables(rows: list[Row]) -> str:
    """A table for each world: detectors down, changes across."""
    parts = []
    for world in dict.fromkeys(row["world"] for row in rows):
        here = [row for row in rows if row["world"] == world]
        changes = list(dict.fromkeys(row["change"] for row in here))
        lines = []
        for detector in dict.fromkeys(row["detector"] for row in here):
            mine = {row["change"]: row for row in here if row["detector"] == detector}
            lines.append([detector, _run_lengths(list(mine.values())), *(_delay(mine.get(c)) for c in changes)])
        parts.append(report.table([world, "run length", *changes], lines))
    return "\n\n".join(parts)


def _run_lengths(rows: list[Row]) -> str:
    lengths = [row["run_length"] for row in rows]
    if not any(length["alarms"] for length in lengths):
        return "no alarm"
    low, high = (pick(lengths, key=lambda length: length["mean"]) for pick in (min, max))
    shown = f"{low['mean']:,.0f}" if low is high else f"{low['mean']:,.0f} to {high['mean']:,.0f}"
    return f"{shown} ± {high['error']:,.0f}"


def _delay(row: Row | None) -> str:
    if row is None or row["delay"] is None:
        return ""
    delay = row["delay"]
    if row["not_found"] > delay["runs"] / 2:
        return f"not found ({row['not_found']} of {delay['runs']})"
    lost = f", {row['not_found']} not found" if row["not_found"] else ""
    digits = 1 if delay["mean"] < 30 else 0
    return f"{delay['mean']:,.{digits}f} ± {delay['error'] or 0:.{digits}f}{lost}"


def main() -> None:
    """Run and publish."""
    options = report.options("detection", "How soon changes are found, at equal run length.")
    report.publish(options, run(SIZES[options.size], options.seed), tables)


if __name__ == "__main__":
    main()
