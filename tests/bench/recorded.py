"""Verdicts on recorded logs: Tocsin beside those who know nothing, by the scorer that comes with the logs.

The logs, their truth and the scorer (`score.py`) are not a part of this repository; `--shared` says where they are.
Who knows nothing opens an incident never, every 1,500 events, or at random once in 1,500; says `label_flip` or any
verdict, and names somebody whom the reference has. Each log begins with a reference of two days.

    python -m tests.bench.recorded [--quick | --full] [--seed N] [--shared FOLDER] [--out FILE]
"""

import importlib.util
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

from alerting.incident import Verdict
from monitor.detection.lessons import Until
from monitor.intake.events import Event, Label, Prediction, class_name
from monitor.intake.file_source import FileSource
from monitor.service.replay import ReplayConfig, read_events, replay, stamp
from tests.bench import report
from tests.bench.report import Row

EVERY = 1_500
PASSES = {"quick": 3, "usual": 10, "full": 50}
"""How often chance is tried on each log."""
VERDICTS = [verdict.value for verdict in Verdict if verdict not in {Verdict.SILENCE, Verdict.MUTED, Verdict.FLOOD}]
RATES = ("found", "side", "exact", "who")
BESIDE = Path(__file__).parents[3] / "shared"

Lines = list[dict[str, Any]]
Ignorant = Callable[[Sequence[Event], float, Random], Lines]


def scorer(folder: Path) -> ModuleType:
    """The module `score.py` in a folder. Raises FileNotFoundError if there is none."""
    path = folder / "score.py"
    spec = importlib.util.spec_from_file_location("score", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path}: the scorer of the recorded logs is not here")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def never(_events: Sequence[Event], _until: float, _draw: Random) -> Lines:
    """Nothing is ever said."""
    return []


def every(events: Sequence[Event], until: float, draw: Random) -> Lines:
    """Every so many events somebody is accused of a label flip."""
    after = [event.epoch for event in events if event.epoch >= until]
    return [_accused(events, until, ts, draw, Verdict.LABEL_FLIP) for ts in after[EVERY - 1 :: EVERY]]


def at_random(events: Sequence[Event], until: float, draw: Random) -> Lines:
    """As often, but at any event and of anything."""
    after = [event.epoch for event in events if event.epoch >= until]
    hits = [ts for ts in after if draw.random() < 1 / EVERY]
    return [_accused(events, until, ts, draw, draw.choice(VERDICTS)) for ts in hits]


IGNORANT: dict[str, Ignorant] = {"never": never, f"every {EVERY:,} events": every, "random": at_random}


def _accused(events: Sequence[Event], until: float, ts: float, draw: Random, verdict: str) -> dict[str, Any]:
    before = [event for event in events if event.epoch < until]
    predictions = [event for event in before if isinstance(event, Prediction)]
    one, other = (class_name(draw.choice(predictions).prediction) for _ in range(2))
    who = {
        "source": draw.choice(predictions).source,
        "labeler": draw.choice([event for event in before if isinstance(event, Label)]).labeler,
        "features": [draw.choice(sorted(predictions[0].features))],
        "class_from": one,
        "class_to": other,
    }
    return {"event": "opened", "incident": str(ts), "ts": stamp(ts), "verdict": verdict, "attribution": who}


def tocsin(log: Path, until: float, budget: float) -> Lines:
    """What a replay says."""
    config = ReplayConfig(
        budget=budget, baseline=None, until=Until(ts=until), label_ttl=604_800.0, max_waiting=1_000_000
    )
    return list(replay(FileSource([log]), config, report.say, lambda: None))


def covered(score: ModuleType, log: Path, lines: Lines) -> tuple[bool, bool] | None:
    """Whether the onset's interval has the true onset, of the first true incident: as it opened, and at last.

    Where the poisoned model is served before the first input that makes use of it, either is true.
    """
    truth = json.loads(log.with_name(log.name.replace(".jsonl.gz", ".truth.json")).read_text())
    if truth["kind"] == "control":
        return None
    onsets = {score.when(truth["t0"]), score.when(truth["details"].get("model_poisoned_from") or truth["t0"])}
    opened = [line for line in lines if line["event"] == "opened" and score.when(line["ts"]) >= min(onsets)]
    if not opened:
        return None
    history = [line["onset"] for line in lines if line.get("incident") == opened[0]["incident"]]
    first, last = (
        any(score.when(onset["low"]) <= true <= score.when(onset["high"]) for true in onsets)
        for onset in (history[0], history[-1])
    )
    return first, last


def rates(rows: Sequence[dict[str, Any]]) -> Row:
    """The figures of one pass over the logs, as the scorer itself sums them up."""
    told = [row for row in rows if row["kind"] != "control" and row["effective"]]
    hours = sorted(row["hours"] for row in told if row["hours"] is not None)
    return {
        "false": sum(row["false"] for row in rows),
        **{name: sum(bool(row[name]) for row in told) / len(told) for name in RATES},
        "hours": hours[len(hours) // 2] if hours else None,
    }


def run(folder: Path, size: str, seed: int) -> Iterator[Row]:
    """A row for each detector: the means over its passes."""
    score = scorer(folder)
    logs = sorted((folder / "data" / "attacks").glob("spambase*.jsonl.gz" if size == "quick" else "*.jsonl.gz"))
    until = score.when(score.REFERENCE_UNTIL).timestamp()
    ours, onsets = [], []
    passes: dict[str, list[list[Row]]] = {name: [[] for _ in range(PASSES[size])] for name in IGNORANT}
    for log in logs:
        report.say(log.name)
        lines = tocsin(log, until, score.BUDGET)
        ours.append(score.score(log, lines))
        onsets.append(covered(score, log, lines))
        events = list(read_events(FileSource([log]), report.say, lambda: None))
        for name, ignorant in IGNORANT.items():
            for number, rows in enumerate(passes[name]):
                draw = Random(f"{seed} {log.name} {name} {number}")
                rows.append(score.score(log, ignorant(events, until, draw)))
    for name, tried in {"tocsin": [ours], **passes}.items():
        known = [onset for onset in onsets if onset is not None] if name == "tocsin" else []
        onset = {"incidents": len(known), "opened": sum(a for a, _ in known), "last": sum(b for _, b in known)}
        means = _means([rates(rows) for rows in tried])
        yield {"detector": name, "logs": len(logs), "runs": len(tried), **means, "onset": onset}


def _means(found: Sequence[Row]) -> Row:
    hours = [row["hours"] for row in found if row["hours"] is not None]
    means = {name: round(statistics.fmean(row[name] for row in found), 3) for name in ("false", *RATES)}
    return means | {"hours": round(statistics.fmean(hours), 1) if hours else None}


def tables(rows: list[Row]) -> str:
    """Detectors down, what the scorer asks for across."""
    header = ["detector", "false incidents", *RATES, "median hours", "passes"]
    shown = [[str(row[name]) for name in ("detector", "false", *RATES, "hours", "runs")] for row in rows]
    onset = "The onset's interval has the true onset in {opened} of {incidents} as the incident opens, {last} at last."
    return report.table(header, shown) + "\n\n" + onset.format(**rows[0]["onset"])


def folder() -> Path:
    """Where the logs are, by the command line, of which this takes that part away."""
    if "--shared" not in sys.argv:
        return BESIDE
    place = sys.argv.index("--shared")
    named = Path(sys.argv[place + 1])
    del sys.argv[place : place + 2]
    return named


def main() -> None:
    """Run and publish."""
    shared = folder()
    options = report.options("recorded", "Verdicts on recorded logs, beside those who know nothing.")
    report.publish(options, run(shared, options.size, options.seed), tables)


if __name__ == "__main__":
    main()
