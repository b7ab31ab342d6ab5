"""The loop of the daemon: poll, work through, commit. One thread owns it; other threads see only the store."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from alerting.incident import Incident, Problem, Transition
from alerting.outbox import Message
from monitor.action import OPEN_STATES, Action, ActionState
from monitor.gate import Gate
from monitor.observer import Observer
from monitor.pipeline import Pipeline
from monitor.silence import Silence
from monitor.snapshot import Snapshots
from monitor.source import EventSource, Partition
from monitor.store import Commit, Store

_log = structlog.get_logger(__name__)

POLL = 0.25
"""Seconds that one poll waits for records: the longest that a stop or a due commit waits."""


class Reactions(NamedTuple):
    """What follows from transitions; pure functions of the configuration, and a bell."""

    messages: Callable[[Iterable[Transition], float], Sequence[Message]]
    rollback: Callable[[Incident, float], Action | None]
    wake: Callable[[], None]
    """Called after a commit that left work for other threads."""


class Loop:
    """Reads until it is asked to stop, or until a finite source has ended."""

    def __init__(
        self,
        source: EventSource,
        pipeline: Pipeline,
        gate: Gate,
        silence: Silence,
        store: Store,
        reactions: Reactions,
        observer: Observer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Compose the loop; `start` takes up what the store holds, `clock` gives epoch seconds."""
        self.commit_due = threading.Event()
        self.silence_due = threading.Event()
        self._source = source
        self._pipeline = pipeline
        self._gate = gate
        self._silence = silence
        self._store = store
        self._reactions = reactions
        self._observer = observer
        self._clock = clock
        self._snapshots = Snapshots(pipeline)
        self._committed: dict[Partition, int] = {}
        self._left_over: list[Transition] = []
        """Steps that have been made and not committed yet."""

    def start(self) -> list[str]:
        """Go on where the store says; return what of it could not be used, one line each."""
        notes = self._snapshots.restore(self._store.states())
        self._silence.hear(self._pipeline.watches)
        self._committed = self._store.offsets()
        self._source.start(self._positions)
        self._left_over = self._end_what_is_gone()
        return notes

    def _end_what_is_gone(self) -> list[Transition]:
        """Resolve incidents that nothing stands behind any more: the model is gone, or has another baseline."""
        ended = []
        for incident in self._pipeline.incidents.firing():
            watch = self._pipeline.watches.get(incident.model)
            if incident.problem is Problem.INTAKE or (
                watch is not None and (watch.alarming or incident.problem is Problem.SILENCE)
            ):
                continue
            ended.append(
                self._pipeline.incidents.report(
                    incident.model,
                    incident.version,
                    incident.problem,
                    None,
                    index=incident.event_index,
                    ts=self._clock(),
                )
            )
        return [transition for transition in ended if transition is not None]

    def _positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Where to go on: where this process is, and for what it has not read yet, where the store is.

        A source asks again whenever partitions are assigned anew; what is in memory is ahead of what is committed.
        """
        self._observer.assigned()
        known = {**self._committed, **self._pipeline.offsets}
        return {partition: known[partition] for partition in partitions if partition in known}

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Turn until asked to stop, beating once a turn; what was read by then is committed."""
        while not stop.is_set() and not self._source.finished:
            self.turn()
            beat()
        self.commit([])

    def turn(self) -> None:
        """Poll once, work through what came, and commit if it is time or somebody must be told."""
        records = self._source.poll(POLL)
        began = time.perf_counter()
        transitions = self._pipeline.process(records)
        transitions += self._gate.close_on(records, self._source, self._pipeline.incidents)
        transitions += self._listen()
        if transitions or self.commit_due.is_set():
            self.commit(transitions)
        self._observer.turned(len(records), time.perf_counter() - began, self._pipeline)

    def commit(self, transitions: list[Transition]) -> None:
        """Write everything that has changed, in one transaction; then wake whoever has work."""
        self.commit_due.clear()
        began, now = time.perf_counter(), self._clock()
        transitions = [*self._left_over, *transitions, *self._news()]
        self._left_over = []
        messages = self._reactions.messages(transitions, now)
        actions = [action for t in transitions if (action := self._reactions.rollback(t.incident, now)) is not None]
        self._gate.flush()
        offsets = {p: offset for p, offset in self._pipeline.offsets.items() if self._committed.get(p) != offset}
        models = sorted(self._pipeline.changed)
        changes = self._snapshots.take()
        incidents = {i.id: i for i in (*(t.incident for t in transitions), *self._pipeline.incidents.firing())}
        self._store.commit(
            Commit(
                offsets=offsets,
                states=changes.states,
                forget=changes.forget,
                incidents=tuple(incidents.values()),
                messages=messages,
                actions=actions,
            )
        )
        for transition in transitions:
            incident = transition.incident
            _log.warning(
                f"incident {transition.change}", incident=incident.id, model=incident.model, verdict=incident.verdict
            )
        self._committed.update(offsets)
        self._source.commit(offsets)
        self._observer.told(transitions, self._pipeline)
        self._observer.committed(models, self._pipeline, self._source, time.perf_counter() - began)
        if messages or actions:
            self._reactions.wake()

    def _listen(self) -> list[Transition]:
        """Open and close incidents for models that have gone silent."""
        self._silence.hear(self._pipeline.heard)
        if not self.silence_due.is_set():
            return []
        self.silence_due.clear()
        found: list[Transition | None] = [*self._pipeline.incidents.tick(self._clock())]
        for model, judgement in self._silence.judge():
            watch = self._pipeline.watches[model]
            version = watch.version_at(watch.events)
            found.append(
                self._pipeline.incidents.report(
                    model, version, Problem.SILENCE, judgement, index=watch.events, ts=self._clock()
                )
            )
        return [transition for transition in found if transition is not None]

    def _news(self) -> list[Transition]:
        """What the executor has done since, as steps of the incidents it was done for."""
        open_ids = {incident.id for incident in self._pipeline.incidents.firing()}
        if not open_ids:
            return []
        found = [
            self._pipeline.incidents.act(
                action.incident,
                action.reason,
                rolled_back_to=action.to_version if action.state is ActionState.DONE else None,
            )
            for action in self._store.actions.all()
            if action.incident in open_ids and action.state not in OPEN_STATES
        ]
        return [transition for transition in found if transition is not None]
