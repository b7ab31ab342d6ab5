"""The loop of the daemon: poll, work through, commit. One thread owns it; other threads see only the store."""

import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from alerting.incident import Incident, Transition
from alerting.outbox import Message
from monitor.detection.watch import Watch
from monitor.intake.quarantine import Publisher
from monitor.intake.source import EventSource, Partition, Record
from monitor.rollback.action import Action
from monitor.service.gate import Gate
from monitor.service.observer import Observer
from monitor.service.shard import Shard, ShardOf, Taken
from monitor.service.stall import StallWatch
from monitor.store.audit import of_transition
from monitor.store.store import Claim, Commit, Store
from monitor.telemetry import traces

_log = structlog.get_logger(__name__)

POLL = 0.25
"""Seconds that one poll waits for records: the longest that a stop or a due commit waits."""

COMMIT_SHARE = 0.04
"""Commits that nobody waits for take at most this share of the time: where one takes long, the next one is later."""
LONGEST_REST = 60.0
"""Seconds between two such commits at most, whatever they take; a crash repeats the work since the last one."""

MakeShard = Callable[[str, Claim], Shard]
"""A shard of this name, as the store has it."""


class Reactions(NamedTuple):
    """What follows from transitions; pure functions of the configuration, and a bell."""

    messages: Callable[[Iterable[Transition], float], Sequence[Message]]
    rollback: Callable[[Incident, float], Action | None]
    wake: Callable[[], None]
    """Called after a commit that left work for other threads."""


class Due:
    """What the loop is asked to do at its next turn, by any thread."""

    def __init__(self) -> None:
        self.commit = threading.Event()
        self.silence = threading.Event()
        self.stall = threading.Event()


class Loop:
    """Reads until it is asked to stop, or until a finite source has ended.

    It may raise SourceError, StoreError or QuarantineError at any turn. What it had not committed then is of no use:
    going on takes a new loop, which begins where the store says.
    """

    def __init__(
        self,
        source: EventSource,
        shard_of: ShardOf,
        make: MakeShard,
        gate: Gate,
        store: Store,
        reactions: Reactions,
        observer: Observer,
        *,
        due: Due | None = None,
        stalls: StallWatch | None = None,
        suspects: Publisher | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Compose the loop; `suspects` is where to write events to leave out, `clock` gives epoch seconds."""
        self.due = due or Due()
        self.shards: dict[str, Shard] = {}
        """Those that are read here."""
        self._source = source
        self._shard_of = shard_of
        self._make = make
        self._gate = gate
        self._store = store
        self._reactions = reactions
        self._observer = observer
        self._clock = clock
        self._stalls = stalls or StallWatch()
        self._suspects = suspects
        self._rest_until = 0.0
        """When, on the monotonic clock, a commit that nobody waits for may be made."""
        self._owner = f"{socket.gethostname()} (process {os.getpid()})"

    def start(self) -> None:
        """Begin to read; shards are claimed when their partitions are assigned."""
        self._store.hold({})
        self._source.start(self._positions)

    def watches(self) -> list[Watch]:
        """The models of all shards. Any thread; whoever is not the loop reads only what is replaced as a whole."""
        return [watch for shard in self.shards.values() for watch in list(shard.pipeline.watches.values())]

    @property
    def ready(self) -> bool:
        """Whether partitions are assigned, and read."""
        return self._source.ready

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Turn until asked to stop, beating once a turn; what was read by then is committed."""
        while not stop.is_set() and not self._source.finished:
            self.turn()
            beat()
        self.commit()

    def turn(self) -> None:
        """Poll once, work through what came, and commit if it is time or somebody must be told."""
        records = self._source.poll(POLL)
        with traces.span("turn", records=len(records)) if records else nullcontext():
            self._work(records)

    def _work(self, records: Sequence[Record]) -> None:
        began = time.perf_counter()
        self._follow_jumps()
        worked = []
        for name, share in self._divided(records).items():
            worked.append(self.shards[name])
            worked[-1].work(share, self._gate, self._source)
        for shard in self.shards.values():
            shard.keep_pace()
        if self.due.silence.is_set():
            self.due.silence.clear()
            for shard in self.shards.values():
                shard.listen()
        if self.due.stall.is_set():
            self._look_for_stalls()
        rested = time.monotonic() >= self._rest_until
        if (self.due.commit.is_set() and rested) or any(shard.steps for shard in self.shards.values()):
            self.commit()
        seconds = time.perf_counter() - began
        self._observer.turned(len(records), seconds, [shard.pipeline for shard in worked])

    @traces.span("commit")
    def commit(self) -> None:
        """Write everything that has changed, in one transaction; then wake whoever has work."""
        self.due.commit.clear()
        began, now = time.perf_counter(), self._clock()
        for shard in self.shards.values():
            shard.catch_up()
        written = time.perf_counter()
        self._hear_of_actions()
        self._gate.flush()
        self._name_suspects()
        changed = [shard.pipeline.watches[model] for shard in self.shards.values() for model in shard.pipeline.changed]
        self._hear_of_decisions()
        silences = self._store.desk.silences(now)
        taken = [found for shard in self.shards.values() if (found := shard.take(silences)) is not None]
        commits = [self._with_reactions(found, now) for found in taken]
        if commits:
            self._store.commit(*commits)
        if any(commit.messages for commit in commits):
            self._reactions.wake()
        transitions = [step for found in taken for step in found.steps]
        for transition in transitions:
            incident = transition.incident
            _log.warning(
                f"incident {transition.change}", incident=incident.id, model=incident.model, verdict=incident.verdict
            )
        self._source.commit({p: offset for commit in commits for p, offset in commit.offsets.items()})
        pipelines = [shard.pipeline for shard in self.shards.values()]
        self._observer.told(transitions, pipelines)
        self._observer.committed(changed, pipelines, self._source, time.perf_counter() - began)
        self._rest_until = time.monotonic() + self.rest(time.perf_counter() - written)

    def _name_suspects(self) -> None:
        """Write down the events that open incidents are about, before the store forgets that they were doubted."""
        found = [suspect for shard in self.shards.values() for suspect in shard.take_suspects()]
        if self._suspects is None or not found:
            return
        for suspect in found:
            self._suspects.publish(msgspec.json.encode(suspect), ())
        self._suspects.flush()
        self._observer.suspected(found)

    @staticmethod
    def rest(seconds: float) -> float:
        """How long to do without a commit after one that took so many seconds."""
        return min(seconds * (1 / COMMIT_SHARE - 1), LONGEST_REST)

    def _with_reactions(self, taken: Taken, now: float) -> Commit:
        asked = (self._reactions.rollback(incident, now) for incident in taken.commit.incidents)
        actions = [action for action in asked if action is not None]
        acts = [of_transition(step, now) for step in taken.steps]
        told = self._reactions.messages(taken.told, now)
        return replace(taken.commit, messages=told, actions=actions, acts=acts)

    def _hear_of_decisions(self) -> None:
        decisions = self._store.desk.decisions()
        for shard in self.shards.values():
            shard.obey(decisions)

    def _positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Take over the shards of all these partitions, give up the others, and say where to go on.

        A source asks again whenever partitions are assigned anew, in ordinary life too. A shard that nobody has claimed
        meanwhile goes on where this process is; any other one where the store is.
        """
        self._observer.assigned()
        wanted = sorted({self._shard_of(partition) for partition in partitions})
        epochs = self._store.epochs()
        kept = {name: self.shards[name] for name in wanted if name in self.shards}
        kept = {name: shard for name, shard in kept.items() if shard.epoch == epochs.get(name)}
        self.shards = {name: kept.get(name) or self._adopt(name) for name in wanted}
        self._store.hold({name: shard.epoch for name, shard in self.shards.items()})
        known = {p: offset for shard in self.shards.values() for p, offset in shard.positions.items()}
        return {partition: known[partition] for partition in partitions if partition in known}

    def _adopt(self, name: str) -> Shard:
        shard = self._make(name, self._store.claim(name, self._owner, self._clock()))
        for note in shard.notes:
            _log.warning("state", note=note)
        return shard

    def _follow_jumps(self) -> None:
        """Take in where the source began, or went on, of its own accord, and write it down at once."""
        jumps = self._source.jumps()
        for jump in jumps:
            shard = self.shards[self._shard_of(jump.partition)]
            shard.pipeline.offsets[jump.partition] = jump.offset
            shard.steps += self._gate.report_jump(jump, shard.pipeline.incidents)
        if jumps:
            self.commit()

    def _look_for_stalls(self) -> None:
        self.due.stall.clear()
        self._stalls.wait(ready=self._source.ready)
        behind = {p: count for p, count in self._source.lag(ask=True).items() if p not in self._gate.held}
        self._stalls.look(behind, {p: o for shard in self.shards.values() for p, o in shard.positions.items()})

    def _divided(self, records: Sequence[Record]) -> dict[str, list[Record]]:
        shares: dict[str, list[Record]] = defaultdict(list)
        for partition, run in groupby(records, attrgetter("partition")):
            shares[self._shard_of(partition)].extend(run)
        return shares

    def _hear_of_actions(self) -> None:
        firing = [shard for shard in self.shards.values() if shard.pipeline.incidents.firing()]
        if firing:
            actions = self._store.actions.all()
            for shard in firing:
                shard.hear_of(actions)
