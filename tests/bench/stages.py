"""Where the time of a record goes, from bytes to verdict: microseconds of CPU an event, stage by stage.

    python -m tests.bench.stages

The lowest tenth over many batches is shown: what else runs on the machine can only make a batch slower.
"""

import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from alerting.incidents import Incidents
from detectors.compiled import compiled
from detectors.engine import ARRAYS, Engine
from monitor.detection.baseline import Baseline
from monitor.detection.listing import Strangeness
from monitor.detection.pipeline import Pipeline
from monitor.detection.watch import TOGETHER
from monitor.intake.decode import Decoder
from monitor.intake.events import Prediction
from monitor.intake.join import Join
from monitor.intake.source import Record
from tests.bench import report, traffic
from tests.bench.daemon import JOIN, watches

BATCH = 1_000
BATCHES = 20
ROUNDS = 4
BARE, DECODE, TAKE, OUTLIERS = (
    "msgspec alone",
    "decode with all checks",
    "all until the engine: decode, join, count, pack (`Pipeline.take`)",
    "codes to outliers (`Strangeness.shares`), where suspects are written down",
)
ENCODE, ENGINE, REPORT, PATH = (
    "values to codes (`Columns.encode`)",
    "codes to evidence (`Bank.update`)",
    "all of the engine (`Pipeline.report`)",
    "the whole path",
)
COMPILED = ", compiled"


def run(batches: int = BATCHES, rounds: int = ROUNDS) -> dict[str, float]:
    """Microseconds an event by stage."""
    learnt = traffic.baseline()
    records = traffic.records(traffic.events(batches * BATCH))
    parts = [records[start : start + BATCH] for start in range(0, len(records), BATCH)]
    found: dict[str, list[float]] = {}
    gc.freeze()  # nobody has so many records in memory at once: the collector is not to look at them
    for _ in range(rounds):
        for part in parts:
            _time(found, BARE, lambda part=part: _decode(traffic.JSON.decode, [record.value for record in part]))
            _time(found, DECODE, lambda part=part: _decode(_together, _chunks(part)))
        for engine, name in ((ARRAYS, ""), (compiled(), COMPILED)):
            _round(found, learnt, parts, engine, name)
    gc.unfreeze()
    lowest = {stage: sorted(times)[len(times) // 10] for stage, times in found.items()}
    return lowest | {PATH + name: lowest[TAKE] + lowest[REPORT + name] for name in ("", COMPILED)}


def _round(
    found: dict[str, list[float]], learnt: Baseline, parts: Sequence[Sequence[Record]], engine: Engine, name: str
) -> None:
    """The stages that an engine has a part in, on everything once."""
    join = Join(JOIN.label_ttl, JOIN.max_pending)
    pipeline = Pipeline(Decoder(), join, watches({learnt.model: learnt}, engine), Incidents(), _refuse)
    spare = watches({learnt.model: learnt}, engine)(learnt.model)
    if spare is None or spare.bank is None or learnt.outliers is None:
        raise AssertionError("the model of the baseline is watched")
    bank = spare.bank
    strange, labels = Strangeness(learnt.outliers, bank.columns, learnt), bank.columns.labels([])
    for part in parts:
        _time(found, TAKE, lambda part=part: pipeline.take(part))
        _time(found, REPORT + name, pipeline.report)
        events, times = Decoder().decode_all(part, _refuse)
        served = [event for event in events if isinstance(event, Prediction)]
        bank.columns.take(range(len(served)), times, served)
        columns = _time(found, ENCODE + name, bank.columns.encode)
        _time(found, OUTLIERS, lambda columns=columns: strange.shares(columns))
        _time(found, ENGINE + name, lambda columns=columns: list(bank.update(columns, labels)))


def _decode(decode: Callable[..., object], values: Sequence[object]) -> None:
    for value in values:
        decode(value)


def _time(found: dict[str, list[float]], stage: str, work: Callable[[], Any]) -> Any:
    began = time.process_time()
    result = work()
    found.setdefault(stage, []).append((time.process_time() - began) / BATCH * 1e6)
    return result


def _chunks(part: Sequence[Record]) -> list[Sequence[Record]]:
    """As the pipeline cuts them."""
    return [part[start : start + TOGETHER] for start in range(0, len(part), TOGETHER)]


def _together(records: Sequence[Record]) -> object:
    return Decoder().decode_all(records, _refuse)


def _refuse(record: Record, error: Exception) -> None:
    raise AssertionError(f"record {record.offset} is no event: {error}")


if __name__ == "__main__":
    lines = [[stage, f"{micros:.2f}"] for stage, micros in run().items()]
    sys.stdout.write(report.table(["stage, 30 features, batches of 1,000", "us an event"], lines) + "\n")
