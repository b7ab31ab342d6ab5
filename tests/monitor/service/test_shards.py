"""Replicas that take over from each other, die and come back stale: the end is that of one replica which read all."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from alerting.desk import Desk, DeskConfig
from alerting.incident import Transition
from alerting.incidents import Incidents
from alerting.outbox import Message
from detectors import edetector
from monitor.detection.lessons import Until
from monitor.detection.silence import Silence
from monitor.intake.quarantine import FileQuarantine, InvalidRatio
from monitor.intake.source import Partition, Record
from monitor.service.gate import Gate
from monitor.service.loop import Loop, Reactions
from monitor.service.observer import Observer
from monitor.service.shard import Shard, by_number
from monitor.store.store import Claim, FencedError, Store
from monitor.telemetry.metrics import Metrics
from tests.kit.memory_source import MemorySource
from tests.kit.replicas import digest, told
from tests.kit.served import World, backdoor, make_pipeline, nulls, records, unit_fault

PARTITIONS = [Partition("events", number) for number in range(3)]
SHARDS = [str(partition.number) for partition in PARTITIONS]
CAUSES = (nulls, unit_fault, backdoor)


@pytest.fixture(autouse=True, scope="module")
def _short_episodes() -> Iterator[None]:
    """With so small a budget an incident would outlast the stream; here it ends soon, and others begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edetector, "QUIET", 0.1)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        yield
        structlog.reset_defaults()


def make_log() -> dict[Partition, list[Record]]:
    log = {}
    for partition, cause in zip(PARTITIONS, CAUSES, strict=True):
        world = World(
            seed=partition.number, predictions=300, onset=180, end=240, cause=cause, model=f"m{partition.number}"
        )
        log[partition] = [record._replace(partition=partition) for record in records(world.events())]
    return log


LOG = make_log()
ENDS = {partition: len(stream) for partition, stream in LOG.items()}


class Replica:
    def __init__(self, location: str | Path, folder: Path) -> None:
        self.store = Store(location)
        self.source = MemorySource(LOG)
        metrics = Metrics(CollectorRegistry())
        self.gate = Gate(FileQuarantine(folder / "q"), InvalidRatio(), 0.5, metrics.reading, lambda: 0.0)
        reactions = Reactions(self._messages, lambda _incident, _now: None, lambda: None)
        self.loop = Loop(
            self.source, by_number, self._shard, self.gate, self.store, reactions, Observer(metrics), clock=lambda: 0.0
        )
        self.loop.start()

    def _shard(self, name: str, claim: Claim) -> Shard:
        pipeline = make_pipeline(
            budget=300.0, until=Until(events=200), ttl=3600.0, incidents=Incidents(claim.incidents)
        )
        desk, silence = Desk(pipeline.incidents, DeskConfig()), Silence(1e9, lambda: 0.0, lambda: 0.0)
        return Shard(name, claim, pipeline, desk, silence, clock=lambda: 0.0)

    def _messages(self, transitions: Iterable[Transition], now: float) -> list[Message]:
        return [Message("hook", transition, now) for transition in transitions]

    def deliver(self) -> list[str]:
        sent = self.store.outbox.due(0.0, 1000)
        for message in sent:
            self.store.outbox.delivered(message, 0.0)
        return [message.id for message in sent]


def take_all(replica: Replica) -> list[str]:
    """Take everything over, and read a little of it."""
    replica.source.assign(PARTITIONS)
    for _ in range(3):
        replica.loop.turn()
    replica.loop.commit()
    return replica.deliver()


def read_all(replica: Replica) -> list[str]:
    sent = []
    while replica.source.lag() and any(replica.source.lag().values()):
        replica.loop.turn()
        sent += replica.deliver()
    replica.loop.commit()
    return sent + replica.deliver()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[tuple[object, ...]], list[str]]:
    """State, incidents and messages of one replica that reads everything, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with closing(Replica(folder / "db", folder).store) as store:
        replica = Replica(folder / "db", folder)
        replica.source.assign(PARTITIONS)
        replica.loop.turn()
        sent = read_all(replica)
        found = digest(store, SHARDS), told(store.incidents()), sorted(sent)
        replica.store.close()
    assert {incident[0] for incident in found[1]} == {"m0", "m1", "m2"}
    assert len(sent) >= 3
    return found


steps = st.one_of(
    st.tuples(st.just("assign"), st.lists(st.integers(0, 2), min_size=3, max_size=3)),
    st.tuples(st.sampled_from(["turn", "turn", "commit", "kill"]), st.integers(0, 2)),
    # Without the group: a replica that goes on with what is no longer its own.
    st.tuples(st.just("zombie"), st.integers(0, 2)),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(steps, max_size=30))
def test_whoever_reads_and_whoever_dies_the_end_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    expected: tuple[dict[str, bytes], list[tuple[object, ...]], list[str]],
    plan: list[tuple[str, int | list[int]]],
) -> None:
    folder = tmp_path_factory.mktemp("shared")
    replicas = [Replica(folder / "db", folder) for _ in range(3)]
    sent: list[str] = []
    for what, which in plan:
        if isinstance(which, list):
            for number, replica in enumerate(replicas):
                replica.source.assign([p for p in PARTITIONS if which[p.number] == number])
                replica.loop.turn()
            continue
        replica = replicas[which]
        if what == "kill":
            replica.store.close()
            replicas[which] = Replica(folder / "db", folder)
            continue
        if what == "zombie":  # somebody else takes all; this one does not hear of it and goes on
            sent += take_all(replicas[(which + 1) % 3])
        try:
            for _ in range(3):
                replica.loop.turn()
            if what != "turn":
                replica.loop.commit()
            sent += replica.deliver()
        except FencedError:  # what the supervisor does
            replica.store.close()
            replicas[which] = Replica(folder / "db", folder)
    last = replicas[0]
    last.source.assign(PARTITIONS)
    last.loop.turn()
    sent += read_all(last)
    states, incidents, messages = expected
    assert last.store.offsets() == ENDS
    assert digest(last.store, SHARDS) == states
    assert told(last.store.incidents()) == incidents
    assert Counter(sent) == Counter(messages)
    for replica in replicas:
        replica.store.close()


def test_a_shard_that_nobody_claimed_meanwhile_goes_on_from_memory(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "db", tmp_path)
    replica.source.assign(PARTITIONS[:2])
    for _ in range(3):
        replica.loop.turn()
    before = dict(replica.loop.shards)
    replica.source.assign(PARTITIONS[1:2])
    replica.loop.turn()
    assert replica.loop.shards["1"] is before["1"]
    assert replica.source.next[PARTITIONS[1]] > replica.store.offsets()[PARTITIONS[1]] == 0
    assert "0" not in replica.loop.shards
    replica.source.assign(PARTITIONS)
    replica.loop.turn()
    assert replica.loop.shards["0"] is not before["0"]  # it was given up, so it comes from the store
    assert replica.source.next[PARTITIONS[0]] == 0
    replica.store.close()


def test_where_a_source_begins_is_written_down_before_anything_is_read(tmp_path: Path) -> None:
    """Or another replica, or the next process, would choose differently: `latest` is later by then."""
    replica = Replica(tmp_path / "db", tmp_path)
    replica.source.assign(PARTITIONS[:1])
    replica.loop.turn()
    assert replica.store.offsets() == {PARTITIONS[0]: 0}
    replica.store.close()
