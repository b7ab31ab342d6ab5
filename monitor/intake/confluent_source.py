"""Records out of Kafka topics through librdkafka: the source of those who have outgrown kafka-python.

It keeps every promise of `monitor.intake.kafka_source`, and reads several times as many records a second on one core.
It needs the extra `fast`.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from monitor.intake.confluent_client import Trouble, settings
from monitor.intake.kafka_config import KafkaConfig, refuse_to_share
from monitor.intake.source import Jump, Partition, Positions, Record, SourceError

log = structlog.get_logger(__name__)

_LOOKUP = 5.0
"""Seconds to wait for the first and last offset of a partition before trying again at the next poll."""
_SPREAD = 1.0
"""Seconds until a topic that was just made is known to all brokers."""
_AT_END = KafkaError._PARTITION_EOF  # noqa: SLF001 - the client's public names for its own errors begin so
_OUT_OF_RANGE = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - see above


class ConfluentSource:
    """Reads the configured topics as a member of the consumer group. Not thread-safe: one thread uses it."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._consumer: Consumer | None = None
        self._positions: Positions = _no_positions
        self._trouble = Trouble()
        self._held: set[Partition] = set()
        self._owned: frozenset[Partition] | None = None
        self._unplaced = False
        self._rebalances = 0
        self._next: dict[Partition, int] = {}
        """For each partition that is read: the offset behind the last record, or behind what is skipped at its end."""
        self._astray: set[Partition] = set()
        """Partitions whose position was out of range."""
        self._jumps: list[Jump] = []
        self._partitions = 0

    def start(self, positions: Positions) -> None:
        """Connect, check the topics and join the group; the group assigns partitions during the polls that follow.

        `positions` is called by `poll`, in the caller's thread, with everything that is assigned here from now on.

        Raises:
            SourceError: no broker answers within `connect_timeout`, a topic does not exist or may not be read, or
                topics that several replicas share differ in their number of partitions.
        """
        self._positions = positions
        try:
            self._consumer = Consumer({**settings(self._config), "error_cb": self._trouble.note, "on_commit": _note})
        except KafkaException as error:
            raise SourceError(f"Kafka: {_why(error)}") from None
        try:
            self._check_topics(self._consumer)
        except SourceError:
            self.close()
            raise
        self._consumer.subscribe(
            list(self._config.topics),
            on_assign=self._on_assigned,
            on_revoke=self._on_revoked,
            on_lost=self._on_lost,
        )

    def poll(self, timeout: float) -> Sequence[Record]:
        """Return the next records; none while the group is rebalancing or the brokers are away.

        Raises:
            SourceError: reading cannot go on, such as for lack of permission, an unknown compression, or a position
                beyond the end of its topic.
        """
        if self._consumer is None:
            return ()
        try:
            if self._place_assigned(self._consumer):
                return ()
        except KafkaException as error:
            self._trouble.note(error.args[0])
        rebalances = self._rebalances
        try:
            # Two calls, because `consume` waits until it has as many as it was asked for.
            messages = self._consumer.consume(1, timeout)
            if messages and self._config.max_poll_records > 1:
                messages += self._consumer.consume(self._config.max_poll_records - 1, 0)
        except KafkaException as error:
            raise SourceError(f"Kafka: {_why(error)}") from None
        # What was fetched before a rebalance in the same call comes again, from the position that is asked for next.
        return self._records(messages) if self._rebalances == rebalances else ()

    def jumps(self) -> Sequence[Jump]:
        """Positions chosen since the last call: where to begin, and where to go on when records are gone."""
        jumps, self._jumps = self._jumps, []
        return jumps

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Send the next offsets of partitions that are assigned here to the group, without waiting."""
        owned = [
            TopicPartition(*partition, offset) for partition, offset in offsets.items() if partition in self._assigned
        ]
        if self._consumer is None or not owned:
            return
        try:
            self._consumer.commit(offsets=owned, asynchronous=True)
        except KafkaException as error:
            _note(error.args[0], owned)

    def hold(self, partition: Partition) -> None:
        """Stop reading one partition, also after rebalances, until the process is started again."""
        self._held.add(partition)
        if self._consumer is not None and partition in self._next:
            self._consumer.pause([TopicPartition(*partition)])

    def lag(self, *, ask: bool = False) -> Mapping[Partition, int]:
        """Records not read yet, from the newest fetch; held partitions, which are not fetched, are looked up."""
        if self._consumer is None or not self.ready:
            return {}
        found = {}
        for partition in self._assigned:
            try:
                _, end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
                if ask or end < 0 or partition in self._held:
                    _, end = self._bounds(self._consumer, partition)
            except KafkaException as error:
                log.warning("Kafka: end of partition not found", partition=partition, error=_why(error))
                continue
            found[partition] = max(0, end - self._next[partition])
        return found

    @property
    def ready(self) -> bool:
        """True once partitions are assigned and positions are set; a spare replica without partitions is ready too."""
        return self._consumer is not None and self._owned is not None and not self._unplaced

    @property
    def finished(self) -> bool:
        """False: a topic has no last record."""
        return False

    def close(self) -> None:
        """Leave the group, unless this replica has a `group_instance_id`: that keeps its place for a while."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            consumer.close()
        except (KafkaException, SourceError) as error:
            log.warning("Kafka: not closed cleanly", error=str(error))
        self._forget()

    def _check_topics(self, consumer: Consumer) -> None:
        config = self._config
        deadline = time.monotonic() + _SPREAD
        while missing := set(config.topics) - (existing := self._existing(consumer)).keys():
            if time.monotonic() > deadline:
                raise SourceError(f"no such topic, or no permission to read it: {', '.join(sorted(missing))}")
            time.sleep(_SPREAD / 10)
        counts = {topic: existing[topic] for topic in config.topics}
        self._partitions = sum(counts.values())
        if config.replicas == "several" and len(set(counts.values())) > 1:
            found = ", ".join(f"{topic} has {count}" for topic, count in counts.items())
            raise SourceError(f"topics need equally many partitions, so that labels meet their predictions: {found}")

    def _existing(self, consumer: Consumer) -> dict[str, int]:
        """How many partitions each topic has."""
        try:
            topics = consumer.list_topics(timeout=self._config.connect_timeout).topics
        except KafkaException as error:
            consumer.poll(0)  # lets the client tell what it has met
            servers = ", ".join(self._config.bootstrap_servers)
            why = self._trouble.last or _why(error)
            raise SourceError(f"cannot reach Kafka at {servers} ({self._config.security.protocol}): {why}") from None
        return {name: len(topic.partitions) for name, topic in topics.items() if not topic.error}

    @property
    def _assigned(self) -> frozenset[Partition]:
        return self._owned or frozenset()

    def _on_assigned(self, consumer: Consumer, targets: list[TopicPartition]) -> None:
        # Nothing is read yet: `_place_assigned` assigns anew, with positions, outside of the callback.
        consumer.assign([])
        self._forget()
        self._owned = frozenset(Partition(target.topic, target.partition) for target in targets)
        self._unplaced = True

    def _on_revoked(self, _consumer: Consumer, targets: list[TopicPartition]) -> None:
        self._forget()
        log.info("Kafka: partitions given back", partitions=len(targets))

    def _on_lost(self, _consumer: Consumer, targets: list[TopicPartition]) -> None:
        # Unlike a revocation this comes too late: somebody else may have been reading them for a while.
        self._forget()
        log.warning("Kafka: partitions lost, the group had not heard of this replica", partitions=len(targets))

    def _forget(self) -> None:
        self._owned, self._unplaced = None, False
        self._next.clear()
        self._astray.clear()
        self._rebalances += 1

    def _place_assigned(self, consumer: Consumer) -> bool:
        """Begin to read after a rebalance, or go on after a position out of range; False if there was neither."""
        if not self._unplaced and not self._astray:
            return False
        if self._unplaced:
            self._ask_positions(consumer)
        for partition in self._astray:
            self._return_to_range(consumer, partition)
        # A partition whose position was out of range takes no other by `seek`, only by being assigned anew.
        consumer.assign([TopicPartition(*partition, offset) for partition, offset in self._next.items()])
        consumer.pause([TopicPartition(*partition) for partition in self._held & self._next.keys()])
        self._unplaced = False
        self._astray.clear()
        log.info("Kafka: reading", partitions=len(self._next))
        return True

    def _ask_positions(self, consumer: Consumer) -> None:
        assigned = sorted(self._assigned)
        refuse_to_share(self._config, len(assigned), self._partitions)
        known = self._positions(assigned)
        for partition in assigned:
            stored = known.get(partition)
            if stored is None:
                first, last = self._bounds(consumer, partition)
                stored = first if self._config.start == "earliest" else last
                self._jumps.append(Jump(partition, None, stored))
            self._next[partition] = stored

    def _return_to_range(self, consumer: Consumer, partition: Partition) -> None:
        """Go on where a partition still, or again, has records."""
        position, (first, last) = self._next[partition], self._bounds(consumer, partition)
        if position < first:
            log.error("Kafka: deleted unread", partition=partition, wanted=position, first=first)
        elif position > last:
            problem = f"{partition.topic}[{partition.number}] was read up to {position}, but ends at {last}"
            if self._config.beyond_end == "fail":
                why = f"{problem}: was the topic made anew? kafka.beyond_end says where to go on"
                raise SourceError(why, passing=False)
            log.error("Kafka: truncated, or made anew", problem=problem, going_on_at=self._config.beyond_end)
            first = first if self._config.beyond_end == "earliest" else last
        else:
            return
        self._jumps.append(Jump(partition, position, first))
        self._next[partition] = first

    def _records(self, messages: Sequence[Message]) -> list[Record]:
        records: list[Record] = []
        for message in messages:
            partition = Partition(message.topic() or "", message.partition() or 0)
            offset = message.offset() or 0
            error = message.error()
            if error is None:
                records.append(
                    Record(partition, offset, message.value(), max(0, message.timestamp()[1]) / 1000, _headers(message))
                )
                self._next[partition] = offset + 1
            elif error.code() == _AT_END:
                self._next[partition] = offset
            elif error.code() == _OUT_OF_RANGE:
                self._astray.add(partition)
            else:
                self._trouble.note(error)
        return records

    def _bounds(self, consumer: Consumer, partition: Partition) -> tuple[int, int]:
        """The first offset that a partition has, and that of the record to come."""
        return consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_LOOKUP)


def _headers(message: Message) -> tuple[tuple[str, bytes], ...]:
    headers: Any = message.headers()  # a list of pairs, whatever else its type allows for producers
    return tuple((name, value or b"") for name, value in headers) if headers else ()


def _why(error: KafkaException) -> str:
    return str(error.args[0].str())


def _note(error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
    """Callback of a commit."""
    if error is not None:
        log.warning("Kafka: offsets not committed", error=error.str(), partitions=len(partitions))


def _no_positions(partitions: Sequence[Partition]) -> Mapping[Partition, int]:
    raise SourceError(f"not started, but assigned {len(partitions)} partitions")
