"""Is the budget kept? Run lengths of Tocsin as it is, on in-control events of several kinds.

    python -m tests.bench.run_length [--quick | --full] [--seed N] [--out FILE]

`at least` is the average of runs that were cut off, each counted as if it had alarmed there: a lower bound. `mean` is
all events over all alarms. `early` is the share of runs with an alarm within a twentieth of the budget.
"""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tests.bench import bank_runs, engine, report
from tests.bench.paths import first_passages
from tests.bench.protocol import running_maxima
from tests.bench.report import Row
from tests.bench.worlds import LEARN, World, in_control


class Size(NamedTuple):
    """How much is measured."""

    runs: dict[int, int]
    """Runs for each number of features."""
    budgets: tuple[int, ...]
    cap: int
    """Events after which a run is cut off."""
    bank_runs: int


SIZES = {
    "quick": Size({1: 30, 5: 16}, (300,), 900, 2),
    "usual": Size({1: 60, 20: 12}, (10_000,), 30_000, 12),
    "full": Size({1: 40, 20: 16, 200: 6}, (10_000, 100_000), 250_000, 24),
}


def run(size: Size, seed: int) -> Iterator[Row]:
    """Every row."""
    for features, runs in size.runs.items():
        for world in in_control(features):
            began = time.monotonic()
            yield from _rows(size, world, runs, seed)
            report.say(f"{world.name}, {features} features: {time.monotonic() - began:.0f} s")
    budget = size.budgets[0]
    began = time.monotonic()
    first = bank_runs.first_alarms(budget, 3 * budget, size.bank_runs, seed)
    yield _row("Gaussian, all default streams and labels", bank_runs.FEATURES, budget, first, 3 * budget)
    report.say(f"whole bank: {time.monotonic() - began:.0f} s")


def _rows(size: Size, world: World, runs: int, seed: int) -> Iterator[Row]:
    draw = world.control(np.random.default_rng([seed, world.features]), runs)
    follow = engine.features().learn(draw(LEARN))()
    peaks = running_maxima(lambda events, _: follow(draw(events)), runs, size.cap, math.inf)
    for budget in size.budgets:
        yield _row(world.name, world.features, budget, first_passages(peaks, budget), size.cap)


def _row(kind: str, features: int, budget: int, first: np.ndarray, cap: int) -> Row:
    early = float(((first > 0) & (first <= budget / 20)).mean())
    return {"kind": kind, "features": features, "budget": budget, "cap": cap, "early": early} | report.run_length(
        first, cap
    )


def table(rows: list[Row]) -> str:
    """One line each."""
    header = ["in control", "features", "budget", "mean run length", "at least", "alarms", "runs of", "early"]
    return report.table(
        header,
        [
            [
                row["kind"],
                str(row["features"]),
                f"{row['budget']:,}",
                f"{row['mean']:,.0f} ± {row['error']:,.0f}" if row["alarms"] else "no alarm",
                f"{row['at_least']:,.0f}",
                str(row["alarms"]),
                f"{row['runs']} x {row['cap']:,}",
                f"{100 * row['early']:.1f} %",
            ]
            for row in rows
        ],
    )


def main() -> None:
    """Run and publish."""
    options = report.options("run_length", "Is the false-alarm budget kept?")
    report.publish(options, run(SIZES[options.size], options.seed), table)


if __name__ == "__main__":
    main()
