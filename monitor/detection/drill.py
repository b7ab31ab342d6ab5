"""The drill: would a fault be found now, with the baselines that are in use?

A watch that has gone deaf looks like a model that is well. So the daemon keeps asking itself: a fresh watch of a
baseline is fed with predictions that no healthy model gives, until it says so.
"""

import time
from collections.abc import Callable, Iterable

import structlog

from detectors.bets import Caution
from monitor.detection.baseline import Baseline
from monitor.detection.companions import Companions
from monitor.detection.watch import Until, Watch
from monitor.intake.events import ClassLabel, Prediction

LIMIT = 500
"""Predictions in which the fault has to be found."""
STRANGE = "(a class of the drill)"
AGAIN = 6 * 3600.0
"""Seconds until the same baseline is drilled again."""

_log = structlog.get_logger(__name__)


def drill(baseline: Baseline, budget: float) -> int | None:
    """How many predictions it takes until a watch of `baseline` opens an incident; None if LIMIT are not enough.

    Every feature is missing, and the answer is a class that never was, or a number out of any range.
    """
    watch = Watch(
        baseline.model,
        budget=budget,
        baseline=baseline,
        until=Until(),
        caution=Caution(),
        companions=Companions(()),
    )
    answer: ClassLabel = 1e300 if baseline.regression else STRANGE
    for number in range(LIMIT):
        ts = baseline.ended + number
        watch.take(Prediction(f"drill-{number}", ts, baseline.model, "", {}, answer), ts)
    found = (moment.index + 1 for moment, judgement in watch.update() if judgement is not None)
    return next(found, None)


class Drills:
    """Drills one baseline after the other, each when it is new and every AGAIN seconds. For one periodic job."""

    def __init__(
        self,
        watches: Callable[[], Iterable[Watch]],
        tell: Callable[[str, float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is drilled yet.

        Args:
            watches: what is watched now; only the baselines, which never change, are looked at.
            tell: told the model and after how many predictions the fault was found, infinity if it was not.
            clock: monotonic, in seconds.
        """
        self._watches = watches
        self._tell = tell
        self._clock = clock
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
        found = drill(bank.baseline, bank.budget)
        if found is None:
            _log.error("drill failed", model=model, predictions=LIMIT)
        self._tell(model, float("inf") if found is None else float(found))
