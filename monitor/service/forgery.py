"""Records that nobody who is known has signed: told as an incident of the partition in which they stand.

They do not count as bad data: a partition that is held is not watched, and so whoever may write anything at all to a
topic could blind the watch.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from alerting.incident import Attribution, Evidence, Judgement, Onset, Problem, Severity, Transition, Verdict
from alerting.incidents import Incidents
from monitor.intake.decode import DecodeReason
from monitor.intake.source import Partition, Record

FORGERIES = frozenset({DecodeReason.UNSIGNED, DecodeReason.FORGED})
QUIET = 600.0
"""Seconds without such a record after which it is over."""

_WORDS = {
    DecodeReason.UNSIGNED: "records without a signature",
    DecodeReason.FORGED: "records with a wrong signature",
}


class _Episode:
    """What was found in one partition since it began."""

    def __init__(self, now: float) -> None:
        self.began = self.last = now
        self.counts: Counter[DecodeReason] = Counter()


class Forgeries:
    """Remembers where such records came, and reports it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives epoch seconds."""
        self._clock = clock
        self._episodes: dict[Partition, _Episode] = {}
        self._fresh: dict[Partition, int] = {}
        """Where such records came since the last report: the offset of the first one."""

    def note(self, record: Record, reason: DecodeReason) -> None:
        """One more."""
        episode = self._episodes.setdefault(record.partition, _Episode(self._clock()))
        episode.counts[reason] += 1
        self._fresh.setdefault(record.partition, record.offset)

    def report(self, newest: Iterable[Record], incidents: Incidents) -> list[Transition]:
        """What people should be told; `newest` has a record of each partition of the batch."""
        now, steps = self._clock(), []
        fresh, self._fresh = self._fresh, {}
        for partition, offset in fresh.items():
            episode = self._episodes[partition]
            episode.last = now
            steps.append(_say(partition, _judgement(partition, episode, now), offset, now, incidents))
        for record in newest:
            partition = record.partition
            if partition in fresh or incidents.find(place(partition), Problem.FORGERY) is None:
                continue
            # After a restart nothing is known of when the last one came: it is taken for now.
            if now - self._episodes.setdefault(partition, _Episode(now)).last >= QUIET:
                del self._episodes[partition]
                steps.append(_say(partition, None, record.offset, now, incidents))
        return [step for step in steps if step is not None]


def place(partition: Partition) -> str:
    """What stands in for a model in the incident of a partition."""
    return f"{partition.topic}[{partition.number}]"


def _say(
    partition: Partition, judgement: Judgement | None, offset: int, now: float, incidents: Incidents
) -> Transition | None:
    return incidents.report(place(partition), "", Problem.FORGERY, judgement, index=offset, ts=now)


def _judgement(partition: Partition, episode: _Episode, now: float) -> Judgement:
    return Judgement(
        verdict=Verdict.FORGERY,
        severity=Severity.CRITICAL if episode.counts[DecodeReason.FORGED] else Severity.WARNING,
        onset=Onset(episode.began, episode.began, now),
        attribution=Attribution(source=place(partition)),
        evidence=tuple(
            Evidence("intake", _WORDS[reason], 0.0, count, 0.0) for reason, count in sorted(episode.counts.items())
        ),
    )
