"""The board of incidents: judgements in, transitions out; one problem of one model is one incident while it lasts."""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from alerting.incident import Change, Incident, Judgement, Problem, Severity, Status, Transition


class Incidents:
    """Opens, updates and resolves incidents. Not thread-safe: one loop owns it."""

    def __init__(self, incidents: Iterable[Incident] = ()) -> None:
        """Take up the incidents of an earlier run; resolved ones are ignored."""
        self._open = {(i.model, i.problem): i for i in incidents if i.status is Status.FIRING}

    def firing(self) -> list[Incident]:
        """Open incidents, the oldest first."""
        return sorted(self._open.values(), key=lambda incident: (incident.opened_at, incident.id))

    def find(self, model: str, problem: Problem) -> Incident | None:
        """The open incident of one problem of one model."""
        return self._open.get((model, problem))

    def report(
        self, model: str, version: str, problem: Problem, judgement: Judgement | None, *, index: int, ts: float
    ) -> Transition | None:
        """Say how a problem stands at event `index`, epoch seconds `ts`; None as judgement means it is over.

        Returns what people should be told: nothing, if only the evidence grew.
        """
        current = self._open.get((model, problem))
        if judgement is None:
            return None if current is None else self._resolve(current, ts)
        if current is None:
            opened = Incident(
                id=incident_id(model, problem, index),
                model=model,
                version=judgement.attribution.version or version,
                verdict=judgement.verdict,
                severity=judgement.severity,
                status=Status.FIRING,
                opened_at=ts,
                updated_at=ts,
                event_index=index,
                onset=judgement.onset,
                attribution=judgement.attribution,
                evidence=judgement.evidence,
                problem=problem,
            )
            return self._step(Change.OPENED, opened)
        told = (current.verdict, current.severity, current.attribution)
        updated = msgspec.structs.replace(
            current,
            verdict=judgement.verdict,
            severity=worse(current.severity, judgement.severity),
            version=judgement.attribution.version or current.version,
            updated_at=ts,
            # What it is judged by now may have come later; but it cannot have begun after it was opened.
            onset=judgement.onset if judgement.onset.ts <= current.opened_at else current.onset,
            attribution=judgement.attribution,
            evidence=judgement.evidence,
        )
        if told == (updated.verdict, updated.severity, updated.attribution):
            self._open[model, problem] = updated
            return None
        return self._step(Change.UPDATED, updated)

    def act(self, incident: str, action: str, *, rolled_back_to: str | None = None) -> Transition | None:
        """Record in the open incident with this id what Tocsin did or proposes; None if it is closed or knows it.

        `rolled_back_to` is the version that serves again, if the alias was moved.
        """
        for current in self._open.values():
            if current.id == incident and current.action != action:
                acted = msgspec.structs.replace(current, action=action, rolled_back_to=rolled_back_to)
                return self._step(Change.ACTED, acted)
        return None

    def _resolve(self, current: Incident, ts: float) -> Transition:
        resolved = msgspec.structs.replace(current, status=Status.RESOLVED, updated_at=ts, resolved_at=ts)
        return self._step(Change.RESOLVED, resolved)

    def _step(self, change: Change, incident: Incident) -> Transition:
        incident = msgspec.structs.replace(incident, transitions=incident.transitions + 1)
        if incident.status is Status.RESOLVED:
            del self._open[incident.model, incident.problem]
        else:
            self._open[incident.model, incident.problem] = incident
        return Transition(change, incident.transitions, incident)


def worse(first: Severity, second: Severity) -> Severity:
    """The more severe of two: an incident never becomes less severe, or who was told would not hear of its end."""
    ranks = list(Severity)  # declared from the most severe down
    return min(first, second, key=ranks.index)


def incident_id(model: str, problem: Problem, index: int) -> str:
    """A short id that is the same in every replay of the same events."""
    return sha256(f"{model}\0{problem}\0{index}".encode()).hexdigest()[:12]
