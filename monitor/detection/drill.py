"""The drill: would a fault be found now, with the baselines that are in use?

A watch that has gone deaf looks like a model that is well. So the daemon keeps asking itself: a fresh watch of a
baseline is fed with what no healthy model gives, on one of its clocks after the other, until it says so.
"""

import time
from collections.abc import Callable, Iterable

import msgspec
import structlog

from detectors.bets import Caution
from detectors.cells import NumericCells
from monitor.detection.baseline import OTHER, PREDICTION, Baseline
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.watch import Watch
from monitor.intake.events import ClassLabel, Prediction
from monitor.intake.join import Joined

LIMIT = 500
"""Events in which the fault has to be found."""
STRANGE = "(a class of the drill)"
AGAIN = 6 * 3600.0
"""Seconds until the same baseline is drilled again."""
KINDS = {"inputs": "features", "answers": "predicted", "labels": "confusion"}
"""What can be faulty, and what has to find it: another finding does not show that this one works."""

_log = structlog.get_logger(__name__)


def kinds(baseline: Baseline) -> list[str]:
    """What can be drilled: not the labels of a model that had none."""
    return [kind for kind in KINDS if kind != "labels" or baseline.labels]


def drill(baseline: Baseline, budget: float, kind: str) -> int | None:
    """How many faulty events it takes until a watch of `baseline` opens an incident; None if LIMIT are not enough.

    Args:
        baseline: what is normal.
        budget: events per false alarm.
        kind: one of KINDS. `inputs`: every feature is missing; `answers`: the model says a class that never was, or a
            number out of any range; `labels`: each contradicts what the model said.
    """
    watch = Watch(
        baseline.model,
        budget=budget,
        baseline=baseline,
        until=Until(),
        caution=Caution(),
        companions=Companions(()),
    )
    answer = _strange(baseline) if kind == "answers" else _usual(baseline)
    for number in range(LIMIT):
        ts = baseline.ended + number
        if kind == "labels":
            watch.take(_contradicted(baseline, number, ts), ts)
        else:
            watch.take(Prediction(f"drill-{number}", ts, baseline.model, "", {}, answer), ts)
    for moment, _ in watch.update():
        if any(finding.watched == KINDS[kind] for finding in watch.episode):
            return moment.index + 1
    return None


def _usual(baseline: Baseline) -> ClassLabel:
    """What the model said most often, or a number in the middle of its range."""
    cells = baseline.features[PREDICTION].cells
    if isinstance(cells, NumericCells):
        return cells.uppers[len(cells.uppers) // 2]
    return cells.values[0] if cells.values else OTHER


def _strange(baseline: Baseline) -> ClassLabel:
    return 1e300 if baseline.regression else STRANGE


def _contradicted(baseline: Baseline, number: int, ts: float) -> Joined:
    """A label of the classes in turn, for which the model said another, or a number far away."""
    if baseline.regression:
        said, label = _strange(baseline), _usual(baseline)
    else:
        named = [name for name in baseline.classes if sum(baseline.confusion[name].counts)]
        label = named[number % len(named)]
        said = next((name for name in baseline.classes if name not in (label, OTHER)), STRANGE)
    return Joined(baseline.model, "", None, said, ts, label, None, ts)


class Drilled(msgspec.Struct, frozen=True):
    """What came of one drill."""

    model: str
    kind: str
    events: int | None
    """Faulty events until it was found; None if it was not."""
    at: float
    """Epoch seconds."""
    baseline: str
    """The digest of the baseline that was drilled."""


class Drills:
    """Drills one baseline after the other, with every kind of fault, each when it is new and every AGAIN seconds.

    For one periodic job.
    """

    def __init__(
        self,
        watches: Callable[[], Iterable[Watch]],
        tell: Callable[[Drilled], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is drilled yet.

        Args:
            watches: what is watched now; only the baselines, which never change, are looked at.
            tell: told what came of each.
            clock: monotonic, in seconds.
            wall: epoch seconds, for people.
        """
        self._watches = watches
        self._tell = tell
        self._clock = clock
        self._wall = wall
        self._last: dict[tuple[str, str], Drilled] = {}
        self._drilled: dict[str, float] = {}
        """When each baseline was drilled last, by its digest."""

    def run_once(self) -> None:
        """Drill the baseline that has waited longest, if one is due."""
        now = self._clock()
        banks = {watch.model: watch.bank for watch in self._watches() if watch.bank is not None}
        last = {model: self._drilled.get(bank.digest, -AGAIN) for model, bank in banks.items()}
        model = min(last, key=last.__getitem__, default=None)
        if model is None or now < last[model] + AGAIN:
            return
        bank = banks[model]
        self._drilled[bank.digest] = now
        for kind in kinds(bank.baseline):
            found = drill(bank.baseline, bank.budget, kind)
            if found is None:
                _log.error("drill failed", model=model, kind=kind, events=LIMIT)
            told = Drilled(model, kind, found, self._wall(), bank.digest)
            self._last = {**self._last, (model, kind): told}
            self._tell(told)

    def last(self) -> list[Drilled]:
        """What came of the last drill of each kind, by model. Safe to ask from any thread."""
        return [self._last[place] for place in sorted(self._last)]
