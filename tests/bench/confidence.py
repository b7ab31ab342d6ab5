"""Whether confidence is earned: of the verdicts that people are told with so much of it, how many are right?

Every step that is told (an incident opens, or its verdict, severity or attribution changes) counts, on the recorded
logs, and in the drills of `tocsin drill` on those of them in which nothing happens. The logs are not a part of this
repository; `--shared` says where they are.

    python -m tests.bench.confidence [--quick | --full] [--shared FOLDER] [--out FILE]
"""

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from detectors.bets import Caution
from monitor.detection.attacks import ATTACKS
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.scene import Nothing
from monitor.detection.watch import Watch
from monitor.intake.file_source import FileSource
from monitor.service.rehearsal import Rehearsal, of_model
from monitor.service.replay import learn, line, read_events
from tests.bench import report
from tests.bench.recorded import folder, scorer, tocsin
from tests.bench.report import Row

BANDS = {"high": 0.6, "middle": 0.4, "low": 0.0}
"""Each has what is at least this sure, and less than the one before it."""

Said = list[tuple[float, bool]]
"""Of each told step the confidence, and whether the verdict is right."""


def judged(lines: Iterable[dict[str, Any]], wanted: Collection[str]) -> Said:
    """The told steps of a replay, of which each should have a wanted verdict."""
    told = (each for each in lines if each["event"] in {"opened", "updated"})
    return [(each["confidence"], each["verdict"] in wanted) for each in told]


def drilled(log: Path, until: float, budget: float) -> Iterator[Said]:
    """What is said of each attack that is played on a log."""
    events = list(read_events(FileSource([log]), report.say, lambda: None))
    baseline = learn(events, None, until)
    _, after = of_model([event for event in events if event.epoch >= until], None)

    def watch() -> Watch:
        companions = Companions(())
        return Watch(
            baseline.model, budget=budget, baseline=baseline, until=Until(), caution=Caution(), companions=companions
        )

    rehearsal = Rehearsal(after, watch)
    for attack in ATTACKS.values():
        try:
            injected = rehearsal.inject(attack)
        except Nothing:
            continue
        wanted = {verdict.value for verdict in attack.wanted}
        yield judged(map(line, rehearsal.steps(injected.changes)), wanted)


def bands(cases: Collection[Said]) -> Row:
    """By band: how many verdicts were right, and of how many; of all that were told, and as incidents opened."""
    found: Row = {}
    for name, steps in (("told", [step for said in cases for step in said]), ("opened", [said[0] for said in cases])):
        above = 2.0
        for band, least in BANDS.items():
            right = [is_right for confidence, is_right in steps if least <= confidence < above]
            found[f"{name} {band}"], above = [sum(right), len(right)], least
    return found


def run(shared: Path, size: str) -> Iterator[Row]:
    """A row for the logs, and one for the drills."""
    score = scorer(shared)
    logs = sorted((shared / "data" / "attacks").glob("spambase*.jsonl.gz" if size == "quick" else "*.jsonl.gz"))
    until = score.when(score.REFERENCE_UNTIL).timestamp()
    recorded, drills = [], []
    for log in logs:
        report.say(log.name)
        truth = json.loads(log.with_name(log.name.replace(".jsonl.gz", ".truth.json")).read_text())
        if truth["kind"] != "control":
            recorded.append(judged(tocsin(log, until, score.BUDGET), score.WANTED[truth["scenario"]]))
        elif truth["scenario"] == "clean":
            drills += drilled(log, until, score.BUDGET)
    for name, cases in (("recorded logs", recorded), ("drills", drills)):
        yield {"on": name, "cases": len(cases), **bands([case for case in cases if case])}


def tables(rows: list[Row]) -> str:
    """Right of all, by confidence."""
    header = ["", *(f"{name}, {band}" for name in ("told", "opened") for band in BANDS)]
    shown = [[row["on"], *("{} of {}".format(*row[name.replace(", ", " ")]) for name in header[1:])] for row in rows]
    return report.table(header, shown)


def main() -> None:
    """Run and publish."""
    shared = folder()
    options = report.options("confidence", "How often verdicts of which confidence are right.")
    report.publish(options, run(shared, options.size), tables)


if __name__ == "__main__":
    main()
