"""Silence: a model whose events stop coming is a problem of its own; whoever blinds the watch can attack unseen."""

import time
from collections.abc import Callable, Iterable, Iterator

from alerting.incident import Attribution, Evidence, Judgement, Onset, Severity, Verdict

LONG = 6.0
"""Times the limit after which a silence is critical."""


class Silence:
    """Knows when each model was last heard of. Time is the arrival of events, not what stands in them."""

    def __init__(self, limit: float, clock: Callable[[], float], timer: Callable[[], float] = time.monotonic) -> None:
        """A model is silent after `limit` seconds without an event.

        Args:
            limit: seconds.
            clock: epoch seconds, for what is told.
            timer: seconds that only ever pass: setting the wall clock makes nobody silent.
        """
        self._limit = limit
        self._clock = clock
        self._timer = timer
        self._heard: dict[str, float] = {}

    def hear(self, models: Iterable[str]) -> None:
        """Say that events of these models have arrived now."""
        self._heard.update(dict.fromkeys(models, self._timer()))

    def judge(self) -> Iterator[tuple[str, Judgement | None]]:
        """How each model stands: None, or the judgement that it is silent."""
        now = self._timer()
        for model, heard in self._heard.items():
            silent = now - heard
            if silent < self._limit:
                yield model, None
                continue
            since = self._clock() - silent
            yield (
                model,
                Judgement(
                    verdict=Verdict.SILENCE,
                    severity=Severity.WARNING if silent < LONG * self._limit else Severity.CRITICAL,
                    onset=Onset(since, since, since),
                    attribution=Attribution(),
                    evidence=(Evidence("intake", "seconds without an event", 0.0, round(silent), self._limit),),
                ),
            )
