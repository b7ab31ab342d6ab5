"""A shard: a part of the stream with all that is known about it. One replica reads it, and it is handed over whole.

Where one replica reads everything there is one shard, WHOLE. Where several do, each partition number is a shard: the
records of a model, and the labels of its predictions, have the same key, so they are in partitions of one number.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from alerting.decision import Decision, Verb
from alerting.desk import Desk
from alerting.incident import Change, Problem, Transition
from alerting.mutes import Silence as Silenced
from monitor.detection.doubts import Suspect
from monitor.detection.pipeline import Pipeline
from monitor.detection.silence import Silence
from monitor.http.evidence import gather
from monitor.intake.source import EventSource, Partition, Record
from monitor.pictures.exhibit import Exhibit
from monitor.rollback.action import ACTED_STATES, Action, ActionState
from monitor.rollback.consent import awaited
from monitor.service.gate import Gate
from monitor.service.snapshot import Snapshots
from monitor.store.store import Claim, Commit
from monitor.store.tables import WHOLE

UNKNOWN = 3600.0
"""Seconds after which a decision about an incident that no shard knows is dropped."""
ShardOf = Callable[[Partition], str]
"""Which shard a partition belongs to."""

BUSY = 100
"""Records of one poll from which on there are probably more at once."""
PATIENCE = 1.0
"""Seconds that events wait for more of their models at most. Otherwise they wait for as long as working through took
the last time: what they say may be worth a page, and a replica that has little to do need not save anything."""


def undivided(_partition: Partition) -> str:
    """The shard of every partition where one replica reads everything."""
    return WHOLE


def by_number(partition: Partition) -> str:
    """The shard of a partition where several replicas share the stream."""
    return str(partition.number)


_SHOWN = frozenset({Change.OPENED, Change.UPDATED, Change.REOPENED})


class Taken(NamedTuple):
    """What one shard has to say at a commit."""

    commit: Commit
    steps: list[Transition]
    """What happened to its incidents."""
    told: list[Transition]
    """What receivers are to be told of that, and of what happened before."""


class Shard:
    """Not thread-safe: the loop that claimed it owns it.

    Attributes:
        steps: what people should be told, and is not committed yet.
        notes: what of the stored state could not be used, one line each.
    """

    def __init__(
        self,
        name: str,
        claim: Claim,
        pipeline: Pipeline,
        desk: Desk,
        silence: Silence,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take up what the last owner left.

        Args:
            name: of the shard.
            claim: what the store holds of it.
            pipeline: a new one, whose board has the claim's incidents.
            desk: a new one, for that board.
            silence: a new one.
            clock: epoch seconds.
        """
        self.name = name
        self.epoch = claim.epoch
        self.pipeline = pipeline
        self._desk = desk
        self._silence = silence
        self._clock = clock
        self._committed = dict(claim.offsets)
        self._snapshots = Snapshots(pipeline, desk)
        self.notes = self._snapshots.restore(claim.states)
        self._silence.hear(pipeline.watches)
        self._waiting_since: float | None = None
        """When the first event came that has not been worked through."""
        self._patience = 0.0
        """Seconds that it may wait."""
        self._suspects: list[Suspect] = []
        """Events that incidents are about, or that are unlike all others, and that are not written down yet."""
        self._settled: list[str] = []
        """Decisions that have been taken up, and are not committed yet."""
        self.steps: list[Transition] = self._end_what_is_gone()

    @property
    def positions(self) -> dict[Partition, int]:
        """The next offset of each partition: what is in memory is ahead of what is committed."""
        return {**self._committed, **self.pipeline.offsets}

    def work(self, records: Sequence[Record], gate: Gate, source: EventSource) -> None:
        """Work through records of this shard.

        Where many models take turns in a stream that has more, each has few events in one poll. They wait for more, but
        not for long; see PATIENCE.
        """
        self.pipeline.take(records)
        if len(records) < BUSY or not self.pipeline.thin:
            self.catch_up()
        elif self._waiting_since is None:
            self._waiting_since = self._clock()
        self.steps += gate.close_on(records, source, self.pipeline.incidents)
        self._silence.hear(self.pipeline.heard)

    def keep_pace(self) -> None:
        """Work through what has waited for long enough."""
        if self._waiting_since is not None and not 0.0 <= self._clock() - self._waiting_since < self._patience:
            self.catch_up()

    def catch_up(self) -> None:
        """Work through what waits."""
        self._waiting_since, waited, began = None, self.pipeline.waiting, self._clock()
        self.steps += self.pipeline.report()
        self._suspect()
        if waited:
            self._patience = min(self._clock() - began, PATIENCE)

    def take_suspects(self) -> list[Suspect]:
        """Events that open incidents were about, and outliers, since the last call."""
        found, self._suspects = self._suspects, []
        return found

    def _suspect(self) -> None:
        """Look which doubted events the open incidents are about; at once, for few doubts are remembered."""
        firing = {i.model: i for i in self.pipeline.incidents.firing() if i.problem is Problem.DETECTION}
        watches = self.pipeline.watches
        for model, incident in firing.items():
            if model in watches:
                self._suspects += watches[model].doubts.take(incident)
        for model in sorted(model for model in self.pipeline.changed if watches[model].listing.waiting):
            self._suspects += watches[model].listing.take(model, firing.get(model))

    def listen(self) -> None:
        """Open and close incidents for models that have gone silent, and let time pass for incidents without events."""
        board = self.pipeline.incidents
        self.steps += board.tick(self._clock())
        for model, judgement in self._silence.judge():
            watch = self.pipeline.watches[model]
            version = watch.version_at(watch.events)
            step = board.report(model, version, Problem.SILENCE, judgement, index=watch.events, ts=self._clock())
            if step is not None:
                self.steps.append(step)

    def hear_of(self, actions: Collection[Action]) -> None:
        """Take in what the executor has done since, as steps of the incidents it was done for."""
        for action in actions:
            if not action.reason or action.state is ActionState.INTENDED:
                continue
            target = action.to_version if action.state in ACTED_STATES else None
            board, plan = self.pipeline.incidents, awaited(action)
            step = board.act(action.incident, action.reason, plan=plan, rolled_back_to=target)
            if step is not None:
                self.steps.append(step)

    def obey(self, decisions: Iterable[Decision]) -> None:
        """Do what people have decided about incidents of this shard; drop what nobody has known for an hour."""
        board, now = self.pipeline.incidents, self._clock()
        known = board.remembered()
        for decision in decisions:
            members = [member for member in self._desk.members(decision.incident) if member in known]
            for incident in members:
                if decision.verb is Verb.ACKNOWLEDGE:
                    step = board.acknowledge(incident, decision.by)
                else:
                    step = board.close(incident, decision.by, now)
                self.steps += [] if step is None else [step]
            if members or decision.decided_at < now - UNKNOWN:
                self._settled.append(decision.id)

    def take(self, silences: Sequence[Silenced] = ()) -> Taken | None:
        """What is to be committed and told; None if nothing has changed. `silences` are those that people have set."""
        steps, self.steps = self.steps, []
        settled, self._settled = self._settled, []
        told = self._desk.tell(steps, silences, self._clock())
        steps += told.own
        offsets = {p: offset for p, offset in self.pipeline.offsets.items() if self._committed.get(p) != offset}
        changes = self._snapshots.take()
        if not (steps or told.messages or settled or offsets or changes.more):
            return None
        self._committed.update(offsets)
        incidents = {i.id: i for i in (*(step.incident for step in steps), *self.pipeline.incidents.firing())}
        commit = Commit(
            shard=self.name,
            epoch=self.epoch,
            offsets=offsets,
            states=changes.states,
            forget=changes.forget,
            incidents=tuple(incidents.values()),
            settled=settled,
            exhibits=self._exhibits(steps),
        )
        return Taken(commit, steps, told.messages)

    def _exhibits(self, steps: Iterable[Transition]) -> dict[str, Exhibit]:
        """What stands behind the incidents that have begun or changed; when one ends, what was kept last stays."""
        shown = {
            step.incident.id: step.incident.model
            for step in steps
            if step.incident.problem is Problem.DETECTION and step.change in _SHOWN
        }
        watches = self.pipeline.watches
        made = {incident: gather(watches[model]) for incident, model in shown.items() if model in watches}
        return {incident: exhibit for incident, exhibit in made.items() if exhibit is not None}

    def _end_what_is_gone(self) -> list[Transition]:
        """Resolve incidents that nothing stands behind any more: the model is gone, or has another baseline."""
        board, ended = self.pipeline.incidents, []
        for incident in board.firing():
            watch = self.pipeline.watches.get(incident.model)
            if incident.problem in {Problem.INTAKE, Problem.FORGERY, Problem.DESK} or (
                watch is not None and (watch.alarming or incident.problem is Problem.SILENCE)
            ):
                continue
            place = incident.model, incident.version, incident.problem
            ended.append(board.report(*place, None, index=incident.event_index, ts=self._clock()))
        return [step for step in ended if step is not None]
