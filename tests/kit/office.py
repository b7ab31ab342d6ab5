"""An office: a board and its desk on a timeline, for the tests of what people are told."""

from collections.abc import Sequence
from typing import Any

from alerting.desk import Desk, DeskConfig
from alerting.incident import (
    Attribution,
    Judgement,
    Onset,
    Problem,
    Severity,
    Transition,
    Verdict,
)
from alerting.incidents import Incidents
from alerting.life import LifeConfig
from alerting.mutes import MaintenanceWindow, Silence, silence

NOON = 1_772_452_800.0
"""2026-03-02 12:00:00 UTC, a Monday."""


def judged(
    verdict: Verdict = Verdict.LABEL_FLIP, severity: Severity | None = None, began: float = NOON, **who: Any
) -> Judgement:
    attack = verdict in {Verdict.LABEL_FLIP, Verdict.BACKDOOR, Verdict.LABEL_TAMPERING}
    worst = severity or (Severity.CRITICAL if attack else Severity.WARNING)
    return Judgement(verdict, worst, Onset(began, began, began), Attribution(**who), ())


class Office:
    """A board and its desk; time is seconds since noon."""

    def __init__(
        self, *, windows: Sequence[MaintenanceWindow] = (), life: LifeConfig | None = None, **desk: Any
    ) -> None:
        self.life, self.config, self.windows = life, DeskConfig.model_validate(desk), windows
        self.board = Incidents(life=life)
        self.desk = Desk(self.board, self.config, windows)
        self.silences: list[Silence] = []
        self.told: list[tuple[float, Transition]] = []
        self._waiting: list[Transition] = []

    def report(self, at: float, model: str, judgement: Judgement | None, problem: Problem = Problem.DETECTION) -> None:
        """Something is judged; nothing is told before `tell`."""
        step = self.board.report(model, "1", problem, judgement, index=int(at), ts=NOON + at)
        if step is not None:
            self._waiting.append(step)

    def tell(self, at: float) -> list[tuple[str, str]]:
        """What is told now, as pairs of change and model."""
        waiting, self._waiting = self._waiting, []
        told = self.desk.tell(waiting, self.silences, NOON + at).messages
        self.told += [(at, step) for step in told]
        return [(step.change.value, step.incident.model) for step in told]

    def happens(self, at: float, model: str, judgement: Judgement | None, **kinds: Problem) -> list[tuple[str, str]]:
        self.report(at, model, judgement, **kinds)
        return self.tell(at)

    def restart(self) -> None:
        memory, threads = self.board.dump(), self.desk.dump()
        self.board = Incidents(self.board.firing(), self.life)
        self.board.restore(memory.values())
        self.desk = Desk(self.board, self.config, self.windows)
        self.desk.restore(threads.values())
        assert self.desk.dump() == threads

    def last(self) -> Transition:
        return self.told[-1][1]


def muting(*matchers: str, at: float = 0, seconds: float = 100) -> Silence:
    return silence(matchers, author="ada", comment="moving house", now=NOON + at, seconds=seconds)
