"""What the engine costs without Kafka: by features, sources and models; and what a thousand models weigh."""

import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from river.drift import ADWIN

from detectors.bets import Caution
from detectors.compiled import compiled
from detectors.engine import ARRAYS, Engine
from monitor.detection.bank import Bank
from monitor.detection.baseline import Baseline
from monitor.detection.columns import FeatureColumns, LabelColumns
from monitor.intake.file_source import FileSource
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.source import Record
from tests.bench import report, traffic
from tests.bench.daemon import DETECTION, Daemon
from tests.bench.report import Row

BATCH = 500
POLLED = KafkaConfig.model_fields["max_poll_records"].default
"""Records of one poll, where models are mixed."""


SHOWN = {
    "columns": "columns",
    "engine": "engine",
    "compiled": "compiled",
    "adwin": "ADWIN per feature",
    "engine_of_adwin": "engine / ADWIN",
    "compiled_of_adwin": "compiled / ADWIN",
}


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    events: int
    features: tuple[int, ...]
    sources: tuple[int, ...]
    models: tuple[int, ...]
    mixed: int
    """Events of a round where models are mixed: as many as may come between two commits."""
    weighed: int
    """Models whose memory is measured."""


def run(size: Size) -> Iterator[Row]:
    """Every row."""
    began = time.monotonic()
    yield _weigh(size.weighed)
    for features in size.features:
        yield _engine("features", features, size, traffic.baseline(features=features), features=features)
    for sources in size.sources:
        yield _engine("sources", sources, size, traffic.baseline(sources=sources), sources=sources)
    yield from _models(size, traffic.baseline())
    report.say(f"costs: {time.monotonic() - began:.0f} s")


def _engine(what: str, count: int, size: Size, learnt: Baseline, *, features: int = 30, sources: int = 10) -> Row:
    """Microseconds an event: columns, both engines, and a plain loop over ADWINs on the same numbers, in turns."""
    events = list(traffic.events(size.events, features=features, sources=sources))
    bank = Bank(learnt, DETECTION.budget, Caution())
    batches = [
        [(start + place, event.epoch, event) for place, event in enumerate(events[start : start + BATCH])]
        for start in range(0, len(events), BATCH)
    ]
    values = np.array([list(event.features.values()) for event in events]).tolist()
    encoded = [bank.columns.features(rows) for rows in batches]
    no_labels = bank.columns.labels([])
    detectors = [ADWIN() for _ in range(features)]
    found: dict[str, list[float]] = {"columns": [], "engine": [], "compiled": [], "adwin": []}
    for _ in range(size.rounds):
        # Events that come again are not in control, so each round has an engine that has not seen them.
        fresh = Bank(learnt, DETECTION.budget, Caution())
        faster = Bank(learnt, DETECTION.budget, Caution(), compiled())
        found["columns"].append(_micros(lambda: [bank.columns.features(rows) for rows in batches], size.events))
        found["engine"].append(_micros(partial(_feed, fresh, encoded, no_labels), size.events))
        found["compiled"].append(_micros(partial(_feed, faster, encoded, no_labels), size.events))
        found["adwin"].append(_micros(partial(_loop, detectors, values), size.events))
    spreads = {name: report.spread(times) for name, times in found.items()}
    for name in ("engine", "compiled"):
        ratios = [mine / adwin for mine, adwin in zip(found[name], found["adwin"], strict=True)]
        spreads[f"{name}_of_adwin"] = report.spread(ratios)
    return {"what": what, "count": count, **spreads}


def _feed(bank: Bank, batches: Sequence[FeatureColumns], no_labels: LabelColumns) -> None:
    for columns in batches:
        for _ in bank.update(columns, no_labels):
            pass


def _loop(detectors: Sequence[ADWIN], rows: Sequence[Sequence[float]]) -> None:
    for row in rows:
        for detector, value in zip(detectors, row, strict=True):
            detector.update(value)


def _models(size: Size, learnt: Baseline) -> Iterator[Row]:
    """The whole path behind the poll, on records in memory; as many models as given take turns at random."""
    engines = {"numpy": ARRAYS, "compiled": compiled()}
    kinds = [(engine, count) for engine in engines for count in size.models]
    found: dict[tuple[str, int], list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        daemons = {
            (engine, count): _daemon(learnt, count, Path(folder, f"{engine}-{count}"), engines[engine])
            for engine, count in kinds
        }
        for number in range(size.rounds):
            for engine, count in kinds:
                records = traffic.records(traffic.events(size.mixed, models=count, seed=number + 1))
                gc.freeze()  # nobody has so many records in memory at once: the collector is not to look at them
                taken = _micros(partial(_process, daemons[engine, count], records), len(records))
                found[engine, count].append(taken)
                gc.unfreeze()
    for (engine, count), times in found.items():
        ratios = [one / many for one, many in zip(found[engine, size.models[0]], times, strict=True)]
        spreads = {"path": report.spread(times), "of_one": report.spread(ratios)}
        yield {"what": "models", "engine": engine, "count": count, **spreads}


def _daemon(learnt: Baseline, models: int, folder: Path, engine: Engine) -> Daemon:
    baselines = {of.model: of for of in (traffic.of_model(learnt, number) for number in range(models))}
    folder.mkdir()
    daemon = Daemon(FileSource([folder / "unread"]), baselines, folder, engine=engine)
    for model in baselines:
        daemon.pipeline.watch(model)  # made now, not while it is measured
    return daemon


def _process(daemon: Daemon, records: Sequence[Record]) -> None:
    """Work through polls, and finish as the next commit does."""
    for start in range(0, len(records), POLLED):
        daemon.work(records[start : start + POLLED])
    daemon.catch_up()


def _weigh(models: int) -> Row:
    """Memory of so many models, in a process of its own, where nothing that was freed before is used again."""
    command = [sys.executable, "-m", "tests.bench.memory", str(models)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"what": "memory", "count": models, **json.loads(done.stdout)}


def _micros(work: Callable[[], object], events: int) -> float:
    """CPU time of this process for each event: others on the machine disturb it less than the time on the wall."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / events * 1e6


def tables(rows: Sequence[Row]) -> str:
    """Costs, then memory."""
    engine = [
        [
            f"{row['count']:,} {row['what']}",
            *(_shown(row[name]) for name in SHOWN),
        ]
        for row in rows
        if row["what"] in ("features", "sources")
    ]
    models = [
        [f"{row['count']:,}", row["engine"], _shown(row["path"]), _shown(row["of_one"])]
        for row in rows
        if row["what"] == "models"
    ]
    memory = [
        [f"{row['count']:,}", f"{row['mebibytes']:,.0f}", f"{row['stored_mebibytes']:,.1f}"]
        for row in rows
        if row["what"] == "memory"
    ]
    header = ["microseconds an event, batches of 500", *SHOWN.values()]
    return "\n\n".join(
        [
            report.table(header, engine),
            report.table(
                ["models, events mixed", "engine", "us an event, decode to verdict", "speed of one model's"], models
            ),
            report.table(["models of 30 features", "MiB in memory", "MiB of state in the store"], memory),
        ]
    )


def _shown(found: dict[str, float]) -> str:
    return f"{found['mean']:.2f} ± {found['error'] or 0:.2f}"
