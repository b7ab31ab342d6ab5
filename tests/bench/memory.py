"""What so many models weigh, as JSON: `python -m tests.bench.memory 1000`. They share nothing, not even names."""

import gc
import json
import sys
from pathlib import Path

from detectors.bets import Caution
from monitor.detection.bank import Bank
from monitor.detection.baseline import canonical, decode
from tests.bench import traffic
from tests.bench.daemon import DETECTION

EVENTS = 500
PAGE = 4096


def weigh(models: int) -> dict[str, float]:
    """Mebibytes of banks that have seen events of ten sources, in memory and as they are stored."""
    learnt = traffic.baseline()
    raw = [canonical(traffic.of_model(learnt, number)) for number in range(models)]
    rows = [(place, event.epoch, event) for place, event in enumerate(traffic.events(EVENTS))]
    gc.collect()
    before = _resident()
    banks = [Bank(decode(each), DETECTION.budget, Caution()) for each in raw]
    for bank in banks:
        for _ in bank.update(bank.columns.features(rows), bank.columns.labels([])):
            pass
    gc.collect()
    used = _resident() - before
    stored = sum(len(bank.dump()) for bank in banks)
    return {"mebibytes": round(used / 2**20, 1), "stored_mebibytes": round(stored / 2**20, 1)}


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


if __name__ == "__main__":
    sys.stdout.write(json.dumps(weigh(int(sys.argv[1]))))
