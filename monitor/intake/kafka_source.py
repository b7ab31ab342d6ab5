"""Records out of Kafka topics, as a member of a consumer group.

The consumer group spreads partitions over replicas, but where to read from is the store's business: on every
assignment the partitions are paused, positions are asked for, and only then does reading begin. Offsets committed to
Kafka are for its lag tools, and are never read back.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError, OffsetOutOfRangeError

from monitor.intake.kafka_client import CLOSE_TIMEOUT, connect, milliseconds, remind
from monitor.intake.kafka_config import KafkaConfig, refuse_to_share
from monitor.intake.source import Jump, Partition, Positions, Record, SourceError

log = structlog.get_logger(__name__)

_LOOKUP_MS = 3_000
"""How long to wait for the first or last offsets of partitions before trying again later."""
_FETCH_BYTES = 4 * 2**20
"""Several polls, so that the next fetch is under way while they are worked through: twice as fast as the default."""
_LONGEST_BACKOFF = 5.0


class KafkaSource:
    """Reads the configured topics as a member of the consumer group. Not thread-safe: one thread uses it."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._consumer: Any = None
        self._rebalances: Any = None
        self._positions: Positions = _no_positions
        self._held: set[Partition] = set()
        self._backoff = 0.0
        self._jumps: list[Jump] = []
        self._partitions = 0

    def start(self, positions: Positions) -> None:
        """Connect, check the topics and join the group; the group assigns partitions during the polls that follow.

        `positions` is called by `poll`, in the caller's thread, with everything that is assigned here from now on:
        what it was not asked about belongs to somebody else.

        Raises:
            SourceError: no broker answers within `connect_timeout`, a topic does not exist or may not be read, or
                topics that several replicas share differ in their number of partitions.
        """
        config = self._config
        self._positions = positions
        self._consumer = connect(
            KafkaConsumer,
            config,
            group_id=config.group_id,
            group_instance_id=config.group_instance_id,
            partition_assignment_strategy=[RangePartitionAssignor()],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_poll_records=config.max_poll_records,
            max_partition_fetch_bytes=_FETCH_BYTES,
            session_timeout_ms=milliseconds(config.session_timeout),
            heartbeat_interval_ms=milliseconds(config.heartbeat_interval),
            max_poll_interval_ms=milliseconds(config.max_poll_interval),
        )
        try:
            self._check_topics()
        except SourceError:
            self.close()
            raise
        self._rebalances = _Rebalances(self._consumer)
        self._consumer.subscribe(list(config.topics), listener=self._rebalances)

    def poll(self, timeout: float) -> Sequence[Record]:
        """Return the next records; none while the group is rebalancing or the brokers are away.

        Raises:
            SourceError: reading cannot go on, such as for lack of permission, an unknown compression, or a position
                beyond the end of its topic.
        """
        try:
            records = self._read(timeout)
        except KafkaError as error:
            if not error.retriable:
                raise SourceError(f"Kafka: {error}") from error
            self._backoff = min(max(0.1, 2 * self._backoff), _LONGEST_BACKOFF)
            log.warning("Kafka: trying again", error=str(error), seconds=min(self._backoff, timeout))
            time.sleep(min(self._backoff, timeout))
            return ()
        self._backoff = 0.0
        return records

    def jumps(self) -> Sequence[Jump]:
        """Positions chosen since the last call: where to begin, and where to go on when records are gone."""
        jumps, self._jumps = self._jumps, []
        return jumps

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Send the next offsets of partitions that are assigned here to the group, without waiting."""
        owned = {
            TopicPartition(*partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
            if partition in self._assigned
        }
        if not owned:
            return
        try:
            self._consumer.commit_async(owned, callback=_log_failure)
        except KafkaError as error:
            _log_failure(owned, error)

    def hold(self, partition: Partition) -> None:
        """Stop reading one partition, also after rebalances, until the process is started again."""
        self._held.add(partition)
        if partition in self._assigned:
            self._consumer.pause(TopicPartition(*partition))

    def lag(self, *, ask: bool = False) -> Mapping[Partition, int]:
        """Records not read yet, from the newest fetch; held partitions, which are not fetched, are looked up.

        Empty while nothing is assigned, or while a broker that must be asked is away.
        """
        if not self.ready:
            return {}
        try:
            ends = {p: self._consumer.highwater(TopicPartition(*p)) for p in self._assigned}
            ends |= self._bounds([p for p, end in ends.items() if ask or end is None or p in self._held], "latest")
            return {p: max(0, end - self._next(p)) for p, end in ends.items()}
        except KafkaError as error:
            log.warning("Kafka: the lag is not known", error=str(error))
            return {}

    @property
    def ready(self) -> bool:
        """True once partitions are assigned and positions are set; a spare replica without partitions is ready too."""
        return self._rebalances is not None and self._rebalances.owned is not None and not self._rebalances.unplaced

    @property
    def finished(self) -> bool:
        """False: a topic has no last record."""
        return False

    def close(self) -> None:
        """Leave the group, unless this replica has a `group_instance_id`: that keeps its place for a while."""
        if self._consumer is None:
            return
        consumer, self._consumer, self._rebalances = self._consumer, None, None
        try:
            consumer.close(autocommit=False, timeout_ms=milliseconds(CLOSE_TIMEOUT))
        except KafkaError as error:
            log.warning("Kafka: not closed cleanly", error=str(error))

    def _check_topics(self) -> None:
        config = self._config
        try:
            existing = self._consumer.topics()
        except KafkaError as error:
            raise SourceError(f"Kafka does not tell its topics: {error}") from error
        if missing := [topic for topic in config.topics if topic not in existing]:
            raise SourceError(f"no such topic, or no permission to read it: {', '.join(missing)}")
        counts = {topic: len(self._consumer.partitions_for_topic(topic)) for topic in config.topics}
        self._partitions = sum(counts.values())
        if config.replicas == "several" and len(set(counts.values())) > 1:
            found = ", ".join(f"{topic} has {count}" for topic, count in counts.items())
            raise SourceError(f"topics need equally many partitions, so that labels meet their predictions: {found}")

    @property
    def _assigned(self) -> Collection[Partition]:
        return () if self._rebalances is None else self._rebalances.owned or ()

    def _read(self, timeout: float) -> Sequence[Record]:
        if self._place_assigned():
            return ()
        try:
            batches = self._consumer.poll(timeout_ms=milliseconds(timeout))
        except OffsetOutOfRangeError:
            self._return_to_range()
            return ()
        remind(self._consumer)
        # What was fetched before a rebalance in the same call comes again, from the position that is asked for now.
        return () if self._place_assigned() else _records(batches)

    def _place_assigned(self) -> bool:
        """Set the positions after a rebalance; False if there was none."""
        if self._rebalances is None or not self._rebalances.unplaced:
            return False
        assigned = sorted(self._assigned)
        refuse_to_share(self._config, len(assigned), self._partitions)
        known = self._positions(assigned)
        chosen = self._bounds([p for p in assigned if p not in known], self._config.start)
        self._jumps += [Jump(partition, None, offset) for partition, offset in chosen.items()]
        for partition in assigned:
            self._consumer.seek(TopicPartition(*partition), {**known, **chosen}[partition])
            if partition not in self._held:
                self._consumer.resume(TopicPartition(*partition))
        self._rebalances.unplaced = False
        log.info("Kafka: reading", partitions=len(assigned), known=len(known))
        return True

    def _bounds(self, partitions: Collection[Partition], side: str) -> dict[Partition, int]:
        """The first offsets that partitions have (side `earliest`), or those of the records to come (`latest`)."""
        if not partitions:
            return {}
        look_up = self._consumer.beginning_offsets if side == "earliest" else self._consumer.end_offsets
        found = look_up([TopicPartition(*partition) for partition in partitions], timeout_ms=_LOOKUP_MS)
        return {Partition(*target): offset for target, offset in found.items()}

    def _return_to_range(self) -> None:
        """Go on where a partition still, or again, has records."""
        begin, end = self._bounds(self._assigned, "earliest"), self._bounds(self._assigned, "latest")
        for partition in self._assigned:
            position, first, last = self._next(partition), begin[partition], end[partition]
            if first <= position <= last:
                continue
            if position < first:
                log.error("Kafka: deleted unread", partition=partition, wanted=position, first=first)
            else:
                problem = f"{partition.topic}[{partition.number}] was read up to {position}, but ends at {last}"
                if self._config.beyond_end == "fail":
                    why = f"{problem}: was the topic made anew? kafka.beyond_end says where to go on"
                    raise SourceError(why, passing=False)
                log.error("Kafka: truncated, or made anew", problem=problem, going_on_at=self._config.beyond_end)
            to_first = position < first or self._config.beyond_end == "earliest"
            self._jumps.append(Jump(partition, position, first if to_first else last))
            self._consumer.seek(TopicPartition(*partition), self._jumps[-1].offset)

    def _next(self, partition: Partition) -> int:
        position = self._consumer.position(TopicPartition(*partition), timeout_ms=_LOOKUP_MS)
        return int(position or 0)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """What the group assigned. Called in the client's own thread, while the thread that polls waits for it."""

    def __init__(self, consumer: Any) -> None:  # noqa: ANN401 - the client has no types
        self._consumer = consumer
        self.owned: frozenset[Partition] | None = None
        self.unplaced = False

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        # Paused, and at a position that keeps the client from looking up the group's committed offset.
        for target in assigned:
            self._consumer.pause(target)
            self._consumer.seek(target, 0)
        self.owned = frozenset(Partition(*target) for target in assigned)
        self.unplaced = True

    def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        self._forget()
        if revoked:
            log.info("Kafka: partitions given back", partitions=len(revoked))

    def on_partitions_lost(self, lost: Collection[Any]) -> None:
        # Unlike a revocation this comes too late: somebody else may have been reading them for a while.
        self._forget()
        log.warning("Kafka: partitions lost, the group had not heard of this replica", partitions=len(lost))

    def _forget(self) -> None:
        self.owned, self.unplaced = None, False


def _records(batches: Mapping[Any, Sequence[Any]]) -> list[Record]:
    records: list[Record] = []
    for target, batch in batches.items():
        partition = Partition(target.topic, target.partition)
        records += [
            Record(
                partition,
                read.offset,
                read.value,
                max(0, read.timestamp or 0) / 1000,
                tuple((name, value or b"") for name, value in read.headers) if read.headers else (),
            )
            for read in batch
        ]
    return records


def _log_failure(offsets: Mapping[Any, Any], outcome: object) -> None:
    """Callback of a commit."""
    if isinstance(outcome, Exception):
        log.warning("Kafka: offsets not committed", error=str(outcome), partitions=len(offsets))


def _no_positions(partitions: Sequence[Partition]) -> Mapping[Partition, int]:
    raise SourceError(f"not started, but assigned {len(partitions)} partitions")
