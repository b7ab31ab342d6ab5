"""A shard: a part of the stream with all that is known about it. One replica reads it, and it is handed over whole.

Where one replica reads everything there is one shard, WHOLE. Where several do, each partition number is a shard: the
records of a model, and the labels of its predictions, have the same key, so they are in partitions of one number.
"""

import time
from collections.abc import Callable, Collection, Sequence

from alerting.incident import Problem, Transition
from monitor.action import OPEN_STATES, Action, ActionState
from monitor.gate import Gate
from monitor.pipeline import Pipeline
from monitor.silence import Silence
from monitor.snapshot import Snapshots
from monitor.source import EventSource, Partition, Record
from monitor.store import Claim, Commit
from monitor.tables import WHOLE

ShardOf = Callable[[Partition], str]
"""Which shard a partition belongs to."""


def undivided(_partition: Partition) -> str:
    """The shard of every partition where one replica reads everything."""
    return WHOLE


def by_number(partition: Partition) -> str:
    """The shard of a partition where several replicas share the stream."""
    return str(partition.number)


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
        silence: Silence,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take up what the last owner left.

        Args:
            name: of the shard.
            claim: what the store holds of it.
            pipeline: a new one, whose board has the claim's incidents.
            silence: a new one.
            clock: epoch seconds.
        """
        self.name = name
        self.epoch = claim.epoch
        self.pipeline = pipeline
        self._silence = silence
        self._clock = clock
        self._committed = dict(claim.offsets)
        self._snapshots = Snapshots(pipeline)
        self.notes = self._snapshots.restore(claim.states)
        self._silence.hear(pipeline.watches)
        self.steps: list[Transition] = self._end_what_is_gone()

    @property
    def positions(self) -> dict[Partition, int]:
        """The next offset of each partition: what is in memory is ahead of what is committed."""
        return {**self._committed, **self.pipeline.offsets}

    def work(self, records: Sequence[Record], gate: Gate, source: EventSource) -> None:
        """Work through records of this shard."""
        self.steps += self.pipeline.process(records)
        self.steps += gate.close_on(records, source, self.pipeline.incidents)
        self._silence.hear(self.pipeline.heard)

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
            if action.state in OPEN_STATES:
                continue
            target = action.to_version if action.state is ActionState.DONE else None
            step = self.pipeline.incidents.act(action.incident, action.reason, rolled_back_to=target)
            if step is not None:
                self.steps.append(step)

    def take(self) -> tuple[Commit, list[Transition]] | None:
        """What is to be committed, and the steps among it; None if nothing has changed."""
        steps, self.steps = self.steps, []
        offsets = {p: offset for p, offset in self.pipeline.offsets.items() if self._committed.get(p) != offset}
        changes = self._snapshots.take()
        if not (steps or offsets or changes.more):
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
        )
        return commit, steps

    def _end_what_is_gone(self) -> list[Transition]:
        """Resolve incidents that nothing stands behind any more: the model is gone, or has another baseline."""
        board, ended = self.pipeline.incidents, []
        for incident in board.firing():
            watch = self.pipeline.watches.get(incident.model)
            if incident.problem is Problem.INTAKE or (
                watch is not None and (watch.alarming or incident.problem is Problem.SILENCE)
            ):
                continue
            place = incident.model, incident.version, incident.problem
            ended.append(board.report(*place, None, index=incident.event_index, ts=self._clock()))
        return [step for step in ended if step is not None]
