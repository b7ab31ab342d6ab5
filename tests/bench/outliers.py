"""Single events: who tells poisoned ones from others, by inputs and by labels, and what it costs.

Simulated worlds, and recorded logs with their truth where they are (`--shared`; they are not a part of this
repository). Each score is calibrated on the reference, so that one in a thousand clean events should be above it: shown
are the area under the ROC curve, how many of a thousand clean events were above, how many poisoned ones, and
microseconds of processor time an event.

    python -m tests.bench.outliers [--quick | --full] [--seed N] [--shared FOLDER] [--out FILE]
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from monitor.detection.columns import Columns
from monitor.detection.listing import Strangeness
from monitor.intake.events import Event, Label, Prediction
from monitor.intake.file_source import FileSource
from monitor.service.replay import learn, read_events
from tests.bench import report, rivals
from tests.bench.recorded import BESIDE, scorer
from tests.bench.report import Row
from tests.bench.rivals import Coded, coded

Floats = npt.NDArray[np.float64]
Guilty = npt.NDArray[np.bool_]

SHARE = 0.001
REFERENCE, TESTED = 2_000, 4_000
LOF_ROWS, LOF_EVENTS = 250, 300
INPUT_ATTACKS, LABEL_ATTACKS = ("backdoor", "pipeline_bug"), ("insider_label", "source_label")
SIMULATED = ("a rare combination of booleans", "usual values, unusual together", "a value out of range")


class Case(NamedTuple):
    """Events, of which the first are the reference and some later ones are guilty."""

    name: str
    events: list[Event]
    until: float
    guilty: frozenset[str]


def simulated(kind: str, seed: int) -> Case:
    """Eight numbers that go together, four rare booleans, a model that looks at the sum; 2 % guilty afterwards."""
    random = np.random.default_rng(seed)
    events: list[Event] = []
    guilty = set()
    for number in range(REFERENCE + TESTED):
        values = 0.6 * random.standard_normal() + 0.8 * random.standard_normal(8)
        values[1] = 0.95 * values[0] + 0.3 * random.standard_normal()
        flags = (random.random(4) < 0.04).astype(np.float64)
        answer = "high" if values.sum() > 0 else "low"
        if number >= REFERENCE and random.random() < 0.02:
            guilty.add(str(number))
            if kind == SIMULATED[0]:
                flags[:3] = 1.0
            elif kind == SIMULATED[1]:
                values[:2] = random.choice([-1.0, 1.0]) * np.array([1.2, -1.2])
            else:
                values[3] = 1_000.0
        features = {f"v{place}": float(value) for place, value in enumerate([*values, *flags])}
        events.append(Prediction(str(number), float(number), "m", "1", features, answer))
        events.append(Label(str(number), number + 0.5, answer))
    return Case(kind, events, float(REFERENCE), frozenset(guilty))


def recorded(folder: Path, scenarios: tuple[str, ...]) -> Iterator[Case]:
    """Logs of these scenarios, with what their truth says."""
    until = scorer(folder).when("2026-03-04T00:00:00Z").timestamp()
    for log in sorted((folder / "data" / "attacks").glob("*.jsonl.gz")):
        name = log.name.removesuffix(".jsonl.gz")
        if name.partition("__")[2] in scenarios:
            truth = json.loads(log.with_name(f"{name}.truth.json").read_text())
            events = list(read_events(FileSource([log]), report.say, lambda: None))
            yield Case(name, events, until, frozenset(truth["affected_event_ids"] or ()))


def by_inputs(case: Case, size: str) -> Iterator[Row]:
    """Every score of inputs."""
    baseline = learn(case.events, None, case.until)
    events = [event for event in case.events if isinstance(event, Prediction)]
    rows = coded(baseline, events)
    before = np.array([event.epoch < case.until for event in events])
    guilty = np.array([event.event_id in case.guilty for event in events])[~before]
    later = _some(rows, ~before)
    if baseline.outliers is None:
        raise AssertionError("the events of a case have features")
    columns = Columns(baseline)
    strange = Strangeness(baseline.outliers, columns, baseline)
    tested = columns.features([(n, event.epoch, event) for n, event in enumerate(events) if event.epoch >= case.until])
    shares, micros = _timed(lambda: strange.shares(tested), guilty.size)
    judged = _judged(strange.scores(tested), shares, guilty, baseline.outliers.rows)
    yield {"what": "inputs", "case": case.name, "score": "Tocsin", **judged, "us": micros}
    half, others = _halves(before)
    for name, rival in rivals.INPUTS.items():
        score = rival(_some(rows, half))
        found, micros = _timed(lambda score=score: score(later), guilty.size)
        shares = _shares(score(_some(rows, others)), found)
        yield {
            "what": "inputs",
            "case": case.name,
            "score": name,
            **_judged(found, shares, guilty, others.size),
            "us": micros,
        }
    if size == "full":
        chosen = np.sort(np.random.default_rng(1).permutation(guilty.size)[:LOF_EVENTS])
        chosen = np.union1d(chosen, np.flatnonzero(guilty)[:LOF_EVENTS])
        few = _some(later, chosen)
        found, micros = _timed(lambda: rivals.local_outlier_factor(_some(rows, half), few, LOF_ROWS), chosen.size)
        yield {"what": "inputs", "case": case.name, "score": "river LocalOutlierFactor", "us": micros} | {
            "auc": _auc(found, guilty[chosen]),
            "false": None,
            "hits": None,
            "of": int(guilty[chosen].sum()),
        }


def by_labels(case: Case) -> Iterator[Row]:
    """Every score of labels."""
    baseline = learn(case.events, None, case.until)
    told = {event.event_id: event for event in case.events if isinstance(event, Label)}
    events = [event for event in case.events if isinstance(event, Prediction) and event.event_id in told]
    rows = coded(baseline, events)
    classes = {name: code for code, name in enumerate(baseline.classes)}
    labels = np.array([classes.get(str(told[event.event_id].label), len(classes) - 1) for event in events])
    before = np.array([told[event.event_id].epoch < case.until for event in events])
    guilty = np.array([event.event_id in case.guilty for event in events])[~before]
    half, others = _halves(before)
    learnt, later, calibrating = (_some(rows, chosen) for chosen in (half, ~before, others))
    for name, rival in rivals.LABELS.items():
        found, micros = _timed(lambda rival=rival: rival(learnt, labels[half], later, labels[~before]), guilty.size)
        shares = _shares(rival(learnt, labels[half], calibrating, labels[others]), found)
        yield {
            "what": "labels",
            "case": case.name,
            "score": name,
            **_judged(found, shares, guilty, others.size),
            "us": micros,
        }


def run(size: str, seed: int, folder: Path) -> Iterator[Row]:
    """Every row."""
    kinds = SIMULATED[:1] if size == "quick" else SIMULATED
    for kind in kinds:
        yield from by_inputs(simulated(kind, seed), size)
    if size == "quick" or not folder.is_dir():
        return
    for case in recorded(folder, INPUT_ATTACKS):
        report.say(case.name)
        yield from by_inputs(case, size)
    for case in recorded(folder, LABEL_ATTACKS):
        report.say(case.name)
        yield from by_labels(case)


def _some(rows: Coded, chosen: npt.NDArray[Any]) -> Coded:
    return Coded(*(column[chosen] for column in rows))


def _halves(before: Guilty) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    reference = np.flatnonzero(before)
    return reference[::2], reference[1::2]


def _shares(reference: Floats, scores: Floats) -> Floats:
    """The share of a reference that is at least as strange as each."""
    above = reference.size - np.searchsorted(np.sort(reference), scores, side="left")
    return np.asarray((1 + above) / (1 + reference.size))


def _judged(scores: Floats, shares: Floats, guilty: Guilty, reference: int) -> Row:
    above = shares <= max(SHARE, 1 / (1 + reference))  # a smaller reference knows what is stranger than all of it
    return {
        "auc": _auc(scores, guilty),
        "false": round(1000 * float(above[~guilty].mean()), 1),
        "hits": int(above[guilty].sum()),
        "of": int(guilty.sum()),
    }


def _auc(scores: Floats, guilty: Guilty) -> float:
    return round(float(roc_auc_score(guilty, scores)), 3)


def _timed(work: Callable[[], Floats], events: int) -> tuple[Floats, float]:
    began = time.process_time()
    found = work()
    return found, round((time.process_time() - began) / events * 1e6, 2)


def tables(rows: list[Row]) -> str:
    """Scores down, cases across."""
    parts = []
    for what in dict.fromkeys(row["what"] for row in rows):
        here = [row for row in rows if row["what"] == what]
        cases = list(dict.fromkeys(row["case"] for row in here))
        lines = []
        for score in dict.fromkeys(row["score"] for row in here):
            mine = {row["case"]: row for row in here if row["score"] == score}
            micros = statistics.median(row["us"] for row in mine.values())
            lines.append([score, f"{micros:,.1f}", *(_cell(mine[case]) for case in cases)])
        parts.append(report.table([what, "us an event", *cases], lines))
    return "\n\n".join(parts)


def _cell(row: Row) -> str:
    hits = "" if row["hits"] is None else f", {row['hits']} of {row['of']}, {row['false']} ‰ of the clean"
    return f"{row['auc']:.3f}{hits}"


def main() -> None:
    """Run and publish."""
    folder = BESIDE
    if "--shared" in sys.argv:
        place = sys.argv.index("--shared")
        folder = Path(sys.argv[place + 1])
        del sys.argv[place : place + 2]
    options = report.options("outliers", "Poisoned events, by inputs and by labels.")
    report.publish(options, run(options.size, options.seed, folder), tables)


if __name__ == "__main__":
    main()
