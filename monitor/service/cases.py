"""What the store knows about an incident whose model may be rolled back."""

from typing import Protocol

from alerting.incident import Incident, Problem, Verdict
from monitor.detection.answers import STATE, Answers
from monitor.rollback.action import Action
from monitor.rollback.config import RollbackConfig
from monitor.rollback.policy import LIVE, POISONED_MODEL, Case
from monitor.store.stop_table import StopTable


class Known(Protocol):
    """What is read of the store."""

    @property
    def stops(self) -> StopTable:
        """What stops rollbacks."""

    def incidents(self, *, open_only: bool = False, limit: int | None = None) -> list[Incident]:
        """Incidents, the one opened last first."""

    def state(self, name: str) -> bytes | None:
        """One state by name; None if there is none."""


def case_of(action: Action, known: Known, config: RollbackConfig) -> Case:
    """What is known now. A read that fails raises whatever the store raises."""
    firing = [incident for incident in known.incidents(open_only=True) if incident.status in LIVE]
    own = next((incident for incident in firing if incident.id == action.incident), None)
    others = [incident for incident in firing if incident.model == action.model and incident is not own]
    troubles = {
        "its events have stopped": any(other.problem is Problem.SILENCE for other in others),
        "its inputs are faulty": any(other.verdict is Verdict.DATA_FAULT for other in others),
        "a partition is held, because most of its records are invalid": config.heed_held_partitions
        and any(incident.problem is Problem.INTAKE for incident in firing),
    }
    poisoned = {incident.model for incident in firing if incident.verdict in POISONED_MODEL}
    stop = known.stops.of(action.model)
    stopped = None if stop is None else stop.told
    blob = known.state(STATE + action.model)
    return Case(own, Answers(blob), tuple(what for what, there in troubles.items() if there), len(poisoned), stopped)
