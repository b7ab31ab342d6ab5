"""The board of incidents: judgements in, transitions out; one problem of one model is one incident while it lasts."""

from collections.abc import Callable, Iterable
from hashlib import sha256

import msgspec

from alerting import life as steps
from alerting.incident import Change, Incident, Judgement, Plan, Problem, Radius, Status, Transition
from alerting.life import LifeConfig, Step

Reach = Callable[[Incident], Radius | None]
"""Counts how far an incident reaches by now."""
Place = tuple[str, Problem]
"""A model, and a problem of it."""


class Incidents:
    """Keeps every incident from its first judgement on. Not thread-safe: one loop owns it.

    What was told is in the store as incidents; what else the board remembers is `dump` and `restore`.
    """

    def __init__(self, incidents: Iterable[Incident] = (), life: LifeConfig | None = None) -> None:
        """Take up the incidents of an earlier run; resolved ones are ignored."""
        self._life = life or LifeConfig()
        self._open = {(i.model, i.problem): i for i in incidents if i.status is not Status.RESOLVED}
        self._ended: dict[Place, Incident] = {}
        """The last incident of each place, as long as it may come back."""

    def firing(self) -> list[Incident]:
        """Incidents that have been told and are not over, acknowledged ones too; the oldest first."""
        told = (incident for incident in self._open.values() if incident.status is not Status.PENDING)
        return sorted(told, key=lambda incident: (incident.opened_at, incident.id))

    def find(self, model: str, problem: Problem) -> Incident | None:
        """The open incident of one problem of one model, told or pending."""
        return self._open.get((model, problem))

    def report(
        self,
        model: str,
        version: str,
        problem: Problem,
        judgement: Judgement | None,
        *,
        index: int,
        ts: float,
        now: float | None = None,
        reach: Reach | None = None,
    ) -> Transition | None:
        """Say how a problem stands; return what people should be told: nothing, if only the evidence grew.

        Args:
            model: whose problem it is.
            version: the one that is served, for incidents that blame none.
            problem: which one.
            judgement: what is known of it; None if it is over.
            index: number of the event that shows it.
            ts: the time of that event, epoch seconds.
            now: the newest time by then, which never goes back; `ts` if it is not given.
            reach: counts how far the incident reaches by then; None if it is not known.
        """
        now = ts if now is None else now
        current = self._open.get((model, problem))
        if judgement is not None:
            incident, change = self._judge(model, version, problem, judgement, index, ts, now)
        elif current is not None:
            incident, change = steps.quiet(current, self._life, ts, now)
        else:
            return None
        if reach is not None:
            incident = msgspec.structs.replace(incident, radius=reach(incident))
        return self._take((incident, change))

    def _judge(
        self, model: str, version: str, problem: Problem, judgement: Judgement, index: int, ts: float, now: float
    ) -> Step:
        """What a judgement makes of the incident that it is about, or of none."""
        place = model, problem
        current, ended = self._open.get(place), self._ended.get(place)
        if current is not None:
            return steps.judged(current, judgement, ts)
        if ended is not None and steps.returns(ended, judgement, self._life, now):
            return steps.reopened(ended, judgement, ts)
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
            confidence=judgement.confidence,
            against=judgement.against,
            because=judgement.because,
            radius=judgement.radius,
            action=judgement.action,
            problem=problem,
        )
        return steps.begun(opened, self._life)

    def elapse(self, model: str, problem: Problem, now: float) -> Transition | None:
        """Let time pass for one problem of one model, up to `now` (epoch seconds, of the clock its reports have)."""
        place = model, problem
        ended = self._ended.get(place)
        if ended is not None and now - (ended.resolved_at or now) > self._life.reopen_within:
            del self._ended[place]
        current = self._open.get(place)
        return None if current is None else self._take(steps.elapsed(current, self._life, now))

    def tick(self, now: float) -> list[Transition]:
        """Let the wall clock pass for what has no events of its own: silent models, held partitions."""
        places = sorted(place for place in self._open.keys() | self._ended.keys() if place[1] is not Problem.DETECTION)
        steps = [self.elapse(model, problem, now) for model, problem in places]
        return [step for step in steps if step is not None]

    def act(
        self, incident: str, action: str, *, plan: Plan | None = None, rolled_back_to: str | None = None
    ) -> Transition | None:
        """Record in the open incident with this id what Tocsin did or proposes; None if it is closed or knows it.

        `plan` says what it waits for, and `rolled_back_to` which version serves again, if the alias was moved.
        """

        def acted(current: Incident) -> Step:
            if current.action == action:
                return current, None
            done = msgspec.structs.replace(current, action=action, plan=plan, rolled_back_to=rolled_back_to)
            return done, Change.ACTED

        return self._decide(incident, acted)

    def acknowledge(self, incident: str, by: str) -> Transition | None:
        """Somebody looks after the open incident with this id; None if it is closed, or somebody does already."""
        return self._decide(
            incident,
            lambda current: (
                (current, None) if current.status is Status.ACKNOWLEDGED else steps.acknowledged(current, by)
            ),
        )

    def close(self, incident: str, by: str, ts: float) -> Transition | None:
        """Somebody says that the open incident with this id is over; if something new alarms, it comes back."""
        return self._decide(incident, lambda current: steps.resolved(current, ts, by))

    def relate(self, incident: str, related: tuple[str, ...]) -> None:
        """Note in the open incident with this id what is told together with it; that is no step."""
        for place, current in self._open.items():
            if current.id == incident and current.related != related:
                self._open[place] = msgspec.structs.replace(current, related=related)
                return

    def dump(self) -> dict[str, bytes]:
        """What the board remembers beside the incidents that were told, by model, for the store."""
        remembered: dict[str, list[Incident]] = {}
        pending = (incident for incident in self._open.values() if incident.status is Status.PENDING)
        for incident in (*pending, *self._ended.values()):
            remembered.setdefault(incident.model, []).append(incident)
        return {
            model: msgspec.msgpack.encode(sorted(held, key=lambda incident: incident.problem))
            for model, held in remembered.items()
        }

    def restore(self, blobs: Iterable[bytes]) -> None:
        """Take up what `dump` gave."""
        for blob in blobs:
            for incident in msgspec.msgpack.decode(blob, type=list[Incident]):
                kept = self._open if incident.status is Status.PENDING else self._ended
                kept[incident.model, incident.problem] = incident

    def remembered(self) -> frozenset[str]:
        """Ids of the incidents that are open, or may come back."""
        return frozenset(incident.id for incident in (*self._open.values(), *self._ended.values()))

    def _decide(self, incident: str, decide: Callable[[Incident], Step]) -> Transition | None:
        found = next((current for current in self.firing() if current.id == incident), None)
        return None if found is None else self._take(decide(found))

    def _take(self, step: Step) -> Transition | None:
        """Put an incident where it belongs now; count and return the step if it is one to tell."""
        incident, change = step
        if change is not None:
            incident = msgspec.structs.replace(incident, transitions=incident.transitions + 1)
        place = incident.model, incident.problem
        if incident.status is not Status.RESOLVED:
            self._ended.pop(place, None)
            self._open[place] = incident
        else:
            self._open.pop(place, None)
            if change is not None and self._life.reopen_within > 0.0:
                self._ended[place] = incident
        return None if change is None else Transition(change, incident.transitions, incident)


def incident_id(model: str, problem: Problem, index: int) -> str:
    """A short id that is the same in every replay of the same events."""
    return sha256(f"{model}\0{problem}\0{index}".encode()).hexdigest()[:12]
