"""The desk: what of all that happens is told, and when. Steps of incidents in, transitions for receivers out.

Incidents with one cause are one thread, told under the id of the incident that began it: one page, one message that is
updated, one end. Whoever was told of the beginning is told of the end; whatever was muted at its beginning is told when
the mute ends and it still fires. The desk reads no clock, and all that it knows is stored with the messages, so a crash
repeats nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, NamedTuple

import msgspec
from pydantic import Field

from alerting.causes import Faults, cause
from alerting.digest import digest
from alerting.incident import Change, Incident, Problem, Severity, Status, Transition
from alerting.incidents import Incidents
from alerting.life import Seconds, worse
from alerting.message import clean
from alerting.mutes import MaintenanceWindow, Silence, reaches
from alerting.section import Section
from alerting.thread import Thread

MAX_RELATED = 20
"""Other incidents of a thread that a message names; the rest is counted."""
_AT_ONCE = frozenset({Change.ACTED, Change.ACKNOWLEDGED})
_FOLDS = frozenset({Change.OPENED, Change.REOPENED, Change.UPDATED})
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


class DeskConfig(Section):
    """How much is told, and how often. Times are seconds of the wall clock, unless they say otherwise."""

    group_within: Seconds = 600.0
    """Incidents with one cause are told together if one opens so soon after another, by the time of events."""
    update_every: Seconds = 60.0
    """What changes sooner is told together; what becomes worse, what Tocsin does and the end are told at once."""
    remind_every: dict[Severity, Seconds] = Field(
        default_factory=lambda: {Severity.CRITICAL: 4 * 3600.0, Severity.WARNING: 86400.0}
    )
    """What fires and nobody has acknowledged is told again, by severity; without an entry it is not."""
    pages: Annotated[int, Field(ge=1)] = 20
    """New problems that are told one by one within `pages_within`; a digest tells of the others."""
    pages_within: Seconds = 600.0
    digest_every: Seconds = 300.0
    """How often the digest is told anew while it changes."""


class Told(NamedTuple):
    """What the desk has to say."""

    own: list[Transition]
    """Steps of its own incidents, which are on the board: silences and floods."""
    messages: list[Transition]
    """What to tell, in order: each is about a thread, under the id of the incident that began it."""


class Desk:
    """Decides what is told. Not thread-safe: the loop that owns the board owns it."""

    def __init__(self, board: Incidents, config: DeskConfig, windows: Sequence[MaintenanceWindow] = ()) -> None:
        """Take the board, on which silences and floods become incidents too."""
        self._board = board
        self._config = config
        self._windows = windows
        self._silences: Sequence[Silence] = ()
        self._faults = Faults(())
        self._threads: dict[str, Thread] = {}
        self._of: dict[str, Thread] = {}
        """Threads by the incidents that fire in them."""
        self._by_cause: defaultdict[str, dict[str, Thread]] = defaultdict(dict)
        self._room = 0
        """Pages that people can still read."""
        self._firing = {incident.id: incident for incident in board.firing()}

    def tell(self, steps: Iterable[Transition], silences: Sequence[Silence], now: float) -> Told:
        """Take in what happened to incidents, in order; return what to tell now.

        Call it now and then without steps too: reminders come due and mutes end. `now` is epoch seconds of the wall
        clock.
        """
        told, own = list[Transition](), self._mutings(silences, now)
        self._silences = silences
        self._faults = Faults(self._firing.values())
        since = now - self._config.pages_within
        self._room = self._config.pages - sum(thread.paged_at > since for thread in self._threads.values())
        for step in (*_folded(steps), *own):
            told += self._absorb(step, now)
        self._firing = {incident.id: incident for incident in self._board.firing()}
        self._faults = Faults(self._firing.values())
        held = []
        for thread in sorted(self._threads.values(), key=lambda thread: (_RANK[thread.severity], thread.id)):
            told += self._look(thread, now)
            if not thread.open and self._face(thread, now) is not None:
                held.append(thread)
        flood = self._flood(held, now)
        if flood is not None:
            own.append(flood)
            told += self._absorb(flood, now)
        self._forget(now)
        return Told(own, told)

    def members(self, incident: str) -> list[str]:
        """The incidents that people mean by this id: all of its thread if it began one, otherwise itself."""
        thread = self._threads.get(incident)
        return [incident] if thread is None or not thread.members else list(thread.members)

    def dump(self) -> dict[str, bytes]:
        """What the desk knows, by thread, for the store."""
        return {thread.id: msgspec.msgpack.encode(thread) for thread in self._threads.values()}

    def restore(self, blobs: Iterable[bytes]) -> None:
        """Take up what `dump` gave."""
        for blob in blobs:
            thread = msgspec.msgpack.decode(blob, type=Thread)
            self._threads[thread.id] = self._by_cause[thread.cause][thread.id] = thread
            self._of.update(dict.fromkeys(thread.members, thread))

    def _mutings(self, silences: Sequence[Silence], now: float) -> list[Transition]:
        """Silences that have begun or ended, as steps of incidents."""
        active = {f"silence {silence.id}": silence for silence in silences if silence.active(now)}
        known = [i.model for i in self._board.firing() if i.problem is Problem.DESK and i.model.startswith("silence ")]
        steps = []
        for model in sorted({*active, *known}):
            judgement = active[model].judgement(now) if model in active else None
            began = int(active[model].starts_at) if model in active else 0
            steps.append(self._board.report(model, "", Problem.DESK, judgement, index=began, ts=now))
        return [step for step in steps if step is not None]

    def _absorb(self, step: Transition, now: float) -> list[Transition]:
        """Take in one step; return what it gives to tell at once."""
        incident = step.incident
        thread = self._place(incident)
        thread.severity = worse(thread.severity, incident.severity)
        if incident.status is not Status.RESOLVED:
            self._firing[incident.id] = incident
            self._faults.add(incident)
            return self._say(thread, step.change, now)
        self._firing.pop(incident.id, None)
        del self._of[incident.id]
        thread.members.remove(incident.id)
        if thread.members:
            return self._say(thread, Change.UPDATED, now)
        thread.news = False
        return self._tell(thread, Change.RESOLVED, incident, now) if thread.open else []

    def _place(self, incident: Incident) -> Thread:
        """The thread of an incident; if its cause turns out to be another one, it moves there, unless it began this."""
        because = cause(incident)
        thread = self._of.get(incident.id) or self._threads.get(incident.id)
        if thread is not None and thread.cause != because and thread.id != incident.id:
            thread.members.remove(incident.id)
            thread.news = True
            del self._of[incident.id]
            thread = None
        if thread is None:
            thread = self._join(incident, because)
        self._file(thread, because)
        if incident.id not in self._of:
            thread.members.append(incident.id)
            self._of[incident.id] = thread
        return thread

    def _file(self, thread: Thread, because: str | None) -> None:
        """Put a thread under another cause, or under none; causes have names from events: none is kept for nothing."""
        held = self._by_cause[thread.cause]
        held.pop(thread.id, None)
        if not held:
            del self._by_cause[thread.cause]
        if because is not None:
            self._by_cause[because][thread.id] = thread
            thread.cause = because

    def _join(self, incident: Incident, because: str) -> Thread:
        """The thread that an incident belongs to by its cause and its time; a new one if there is none."""
        near = [
            thread
            for thread in self._by_cause.get(because, {}).values()
            if thread.members and abs(incident.opened_at - thread.joined_at) <= self._config.group_within
        ]
        if not near:
            self._threads[incident.id] = Thread(incident.id, because, incident.opened_at, incident.severity, [])
            return self._threads[incident.id]
        thread = max(near, key=lambda thread: (thread.joined_at, thread.id))
        thread.joined_at = max(thread.joined_at, incident.opened_at)
        return thread

    def _look(self, thread: Thread, now: float) -> list[Transition]:
        """What the passing of time gives to tell about a thread."""
        if not thread.members:
            return []
        if thread.news or not thread.open or (len(thread.members) > 1 and len(self._seen(thread, now)) > thread.shown):
            return self._say(thread, Change.UPDATED, now)
        patience = self._config.remind_every.get(thread.severity)
        if patience is None or now - thread.told_at < patience:
            return []
        face = self._face(thread, now)
        reminds = face is not None and face.status is Status.FIRING and face.problem is not Problem.DESK
        return self._tell(thread, Change.REMINDED, face, now) if face is not None and reminds else []

    def _say(self, thread: Thread, change: Change, now: float) -> list[Transition]:
        """Tell of a thread that fires, unless it is muted, told a moment ago, or one too many."""
        every = self._config.digest_every if thread.cause.startswith("desk/") else self._config.update_every
        waits = thread.open and thread.severity is thread.told_severity and change not in _AT_ONCE
        if waits and now - thread.told_at < every:
            thread.news = True
            return []
        face = self._face(thread, now)
        if face is None or (not thread.open and face.problem is not Problem.DESK and self._room <= 0):
            thread.news = True
            return []
        if not thread.open:
            change = Change.REOPENED if thread.tellings else Change.OPENED
        elif change in {Change.OPENED, Change.REOPENED}:
            change = Change.UPDATED  # one more incident of a cause that people know
        return self._tell(thread, change, face, now)

    def _tell(self, thread: Thread, change: Change, face: Incident, now: float) -> list[Transition]:
        thread.tellings += 1
        thread.open = change is not Change.RESOLVED
        thread.news = False
        thread.told_at, thread.told_severity = now, thread.severity
        if change in {Change.OPENED, Change.REOPENED} and face.problem is not Problem.DESK:
            thread.paged_at = now
            self._room -= 1
        seen = self._seen(thread, now)
        related = _named(incident for incident in seen if incident.id != face.id)
        if max(len(seen), thread.shown) > 1:
            self._board.relate(thread.id, related)
        thread.shown = len(seen)
        told = msgspec.structs.replace(face, id=thread.id, severity=thread.severity, related=related)
        return [Transition(change, thread.tellings, told)]

    def _face(self, thread: Thread, now: float) -> Incident | None:
        """The incident that speaks for a thread: the worst that is not muted, the earliest of several."""
        return min(self._seen(thread, now), key=lambda incident: _RANK[incident.severity], default=None)

    def _seen(self, thread: Thread, now: float) -> list[Incident]:
        """The incidents of a thread that are not muted."""
        return [self._firing[member] for member in thread.members if not self._muted(self._firing[member], now)]

    def _muted(self, incident: Incident, now: float) -> bool:
        if incident.problem is Problem.DESK:
            return False
        return (
            self._faults.shadow(incident)
            or any(silence.active(now) and reaches(silence.matchers, incident) for silence in self._silences)
            or any(window.mutes(incident, now) for window in self._windows)
        )

    def _flood(self, held: Sequence[Thread], now: float) -> Transition | None:
        """Open, feed or end the incident that is the digest of everything that is held back."""
        shown = [face for thread in held if (face := self._face(thread, now)) is not None]
        judgement = digest(shown, self._config.pages, now)
        step = self._board.report("tocsin", "", Problem.DESK, judgement, index=int(now), ts=now)
        current = self._board.find("tocsin", Problem.DESK)
        if step is None and current is not None and current.evidence != self._firing[current.id].evidence:
            self._firing[current.id] = current
            self._of[current.id].news = True  # told with the next look that is late enough
        return step

    def _forget(self, now: float) -> None:
        """Drop threads that are over, and whose incident will not come back."""
        since = now - self._config.pages_within
        over = [thread for thread in self._threads.values() if not thread.members and thread.paged_at <= since]
        remembered = self._board.remembered() if over else frozenset()
        for thread in over:
            if thread.id not in remembered:
                del self._threads[thread.id]
                self._file(thread, None)


def _folded(steps: Iterable[Transition]) -> list[Transition]:
    """The steps of one turn, without changes of what nobody has been told of yet: it is told as it stands now.

    The first streams to alarm may point at one source where soon all do. With its first cause, such an incident would
    be a page of its own, and with the one that is known by now it joins the others.
    """
    kept: list[Transition] = []
    last: dict[str, int] = {}
    for step in steps:
        name = step.incident.id
        if step.change is Change.UPDATED and name in last and kept[last[name]].change in _FOLDS:
            kept[last[name]] = msgspec.structs.replace(kept[last[name]], incident=step.incident)
        else:
            last[name] = len(kept)
            kept.append(step)
    return kept


def _named(incidents: Iterable[Incident]) -> tuple[str, ...]:
    names = [f"{clean(incident.model, 60)} {incident.verdict}" for incident in incidents]
    rest = len(names) - MAX_RELATED
    return (*names[:MAX_RELATED], f"and {rest} more") if rest > 0 else tuple(names)
