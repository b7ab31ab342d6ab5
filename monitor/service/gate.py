"""The gate: what becomes of records that are no events, and when a partition has so many that it is closed."""

from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter

import structlog

from alerting.incident import Attribution, Evidence, Judgement, Onset, Problem, Severity, Transition, Verdict
from alerting.incidents import Incidents
from monitor.intake.decode import DecodeError, DecodeReason
from monitor.intake.quarantine import InvalidRatio, Quarantine
from monitor.intake.source import EventSource, Jump, Partition, Record
from monitor.service.forgery import FORGERIES, Forgeries, place
from monitor.telemetry.metrics import Reading

_log = structlog.get_logger(__name__)


class Gate:
    """Counts and keeps bad records; holds a partition that has too many, and opens an incident for it."""

    def __init__(
        self,
        quarantine: Quarantine,
        ratio: InvalidRatio,
        max_ratio: float,
        metrics: Reading,
        clock: Callable[[], float],
    ) -> None:
        """`max_ratio` is the one that `ratio` was made with; `clock` gives epoch seconds."""
        self._quarantine = quarantine
        self._ratio = ratio
        self._max_ratio = max_ratio
        self._metrics = metrics
        self._clock = clock
        self._bad: set[tuple[Partition, int]] = set()
        self._forgeries = Forgeries(clock)
        self.held: set[Partition] = set()
        """Partitions that have been closed."""

    def reject(self, record: Record, error: DecodeError) -> None:
        """Count a record that is no event; unless it is a tombstone, keep it and hold it against its partition.

        One that nobody has signed who is known is not held against it, but told.
        """
        self._metrics.invalid.at(error.reason).inc()
        if error.reason is DecodeReason.TOMBSTONE:
            return
        self._quarantine.keep(record, error)
        self._metrics.quarantined.inc()
        if error.reason in FORGERIES:
            self._forgeries.note(record, error.reason)
        else:
            self._bad.add((record.partition, record.offset))

    def close_on(self, records: Sequence[Record], source: EventSource, incidents: Incidents) -> list[Transition]:
        """Judge the partitions of a batch that has been worked through; hold those with too many bad records.

        The incident of a partition that an earlier process held ends with the first batch that has no bad record.
        """
        bad, self._bad = self._bad, set()
        doubtful = {partition for partition, _ in bad}
        for partition, count in Counter(map(attrgetter("partition"), records)).items():
            if partition not in doubtful and self._ratio.clean(partition):
                self._ratio.observe_good(partition, count)
            else:
                doubtful.add(partition)
        found = []
        for record in records if doubtful else ():
            partition = record.partition
            if partition not in doubtful:
                continue
            too_many = self._ratio.observe(partition, bad=(partition, record.offset) in bad)
            if too_many and partition not in self.held:
                self.held.add(partition)
                source.hold(partition)
                self._metrics.held.at(partition.topic, str(partition.number)).set(1)
                _log.error("partition held", topic=partition.topic, partition=partition.number, offset=record.offset)
                share = Evidence("intake", "share of records that are no events", 0.0, self._max_ratio, self._max_ratio)
                found.append(self._report(place(partition), share, record.offset, incidents))
        if not bad and any(incident.problem is Problem.INTAKE for incident in incidents.firing()):
            last = {record.partition: record for record in records if record.partition not in self.held}
            found += [self._reopen(record, incidents) for record in last.values()]
        found += self._forgeries.report({record.partition: record for record in records}.values(), incidents)
        return [transition for transition in found if transition is not None]

    def report_jump(self, jump: Jump, incidents: Incidents) -> list[Transition]:
        """Open an incident for records that nobody will ever look at, or that may come twice.

        It ends with the next records: what it tells is over when it is told.
        """
        if jump.wanted is None:
            return []
        missing = jump.offset > jump.wanted
        what = "records deleted before they were read" if missing else "records by which the topic was cut off"
        _log.error("blind window", topic=jump.partition.topic, partition=jump.partition.number, missing=missing)
        evidence = Evidence("intake", what, 0.0, abs(jump.offset - jump.wanted), 0.0)
        step = self._report(place(jump.partition), evidence, jump.wanted, incidents)
        return [] if step is None else [step]

    def flush(self) -> None:
        """Return when what was kept is durable; before the offsets behind it are."""
        self._quarantine.flush()

    def _report(self, where: str, evidence: Evidence, offset: int, incidents: Incidents) -> Transition | None:
        now = self._clock()
        judgement = Judgement(
            verdict=Verdict.DATA_FAULT,
            severity=Severity.CRITICAL,
            onset=Onset(now, now, now),
            attribution=Attribution(source=where),
            evidence=(evidence,),
        )
        return incidents.report(where, "", Problem.INTAKE, judgement, index=offset, ts=now)

    def _reopen(self, record: Record, incidents: Incidents) -> Transition | None:
        return incidents.report(
            place(record.partition), "", Problem.INTAKE, None, index=record.offset, ts=self._clock()
        )
