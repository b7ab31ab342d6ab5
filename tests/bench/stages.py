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
from monitor.detection.listing import Strangeness
from monitor.detection.pipeline import Pipeline
from monitor.intake.decode import Decoder
from monitor.intake.events import Prediction
from monitor.intake.join import Join
from monitor.intake.source import Record
from tests.bench import report, traffic
from tests.bench.daemon import JOIN, watches

BATCH = 1_000
BATCHES = 20
ROUNDS = 4
BARE, DECODE, TAKE, ENCODE, ENGINE, COMPILED, OUTLIERS, REPORT, PATH = (
    "msgspec alone",
    "decode with all checks",
    "all until the engine: decode, join, count, pack (`Pipeline.take`)",
    "values to codes (`Columns.encode`)",
    "codes to evidence (`Bank.update`)",
    "codes to evidence, compiled",
    "codes to outliers (`Strangeness.shares`), where suspects are written down",
    "all of the engine (`Pipeline.report`)",
    "the whole path",
)


def run(batches: int = BATCHES, rounds: int = ROUNDS) -> dict[str, float]:
    """Microseconds an event by stage."""
    learnt = traffic.baseline()
    records = traffic.records(traffic.events(batches * BATCH))
    parts = [records[start : start + BATCH] for start in range(0, len(records), BATCH)]
    found: dict[str, list[float]] = {}
    gc.freeze()  # nobody has so many records in memory at once: the collector is not to look at them
    for _ in range(rounds):
        pipeline = Pipeline(
            Decoder(), Join(JOIN.label_ttl, JOIN.max_pending), watches({learnt.model: learnt}), Incidents(), _refuse
        )
        spare = watches({learnt.model: learnt})(learnt.model)
        faster = watches({learnt.model: learnt}, compiled())(learnt.model)
        if spare is None or spare.bank is None or faster is None or faster.bank is None or learnt.outliers is None:
            raise AssertionError("the model of the baseline is watched")
        strange = Strangeness(learnt.outliers, spare.bank.columns, learnt)
        for part in parts:
            _time(found, BARE, lambda part=part: _decode(traffic.JSON.decode, [record.value for record in part]))
            _time(found, DECODE, lambda part=part: Decoder().decode_all(part, _refuse))
            _time(found, TAKE, lambda part=part, pipeline=pipeline: pipeline.take(part))
            _time(found, REPORT, lambda pipeline=pipeline: pipeline.report())
            events, times = Decoder().decode_all(part, _refuse)
            served = [event for event in events if isinstance(event, Prediction)]
            spare.bank.columns.take(range(len(served)), times, served)
            columns = _time(found, ENCODE, spare.bank.columns.encode)
            _time(found, OUTLIERS, lambda strange=strange, columns=columns: strange.shares(columns))
            labels = spare.bank.columns.labels([])
            for stage, bank in ((ENGINE, spare.bank), (COMPILED, faster.bank)):
                _time(found, stage, lambda bank=bank, found=(columns, labels): list(bank.update(*found)))
    gc.unfreeze()
    lowest = {stage: sorted(times)[len(times) // 10] for stage, times in found.items()}
    return lowest | {PATH: lowest[TAKE] + lowest[REPORT]}


def _decode(decode: Callable[..., object], values: Sequence[object]) -> None:
    for value in values:
        decode(value)


def _time(found: dict[str, list[float]], stage: str, work: Callable[[], Any]) -> Any:
    began = time.process_time()
    result = work()
    found.setdefault(stage, []).append((time.process_time() - began) / BATCH * 1e6)
    return result


def _refuse(record: Record, error: Exception) -> None:
    raise AssertionError(f"record {record.offset} is no event: {error}")


if __name__ == "__main__":
    lines = [[stage, f"{micros:.2f}"] for stage, micros in run().items()]
    sys.stdout.write(report.table(["stage, 30 features, batches of 1,000", "us an event"], lines) + "\n")
