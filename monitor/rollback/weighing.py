"""Weighing what speaks against a version: two families of evidence that do not lean on each other.

`labels`: labels contradict its answers more often than those of the versions before. Whoever writes labels can do this
to any model. `answers`: its answers themselves have moved, from the one class to the other; no label can do this. Each
is asked again without its strongest witness, because one source or one labeler must never be enough to move an alias.
Inputs that have moved are no evidence against a model: whoever sends them can do that to any.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from alerting.incident import Incident
from detectors.shares import risen
from monitor.detection.answers import LABELER, NOBODY, OTHERS, SOURCE, WITNESSES, Answered, Answers, total

LABELS, ANSWERS = "labels", "answers"
STRONG = 5.0
"""Nats from which a family counts; by chance alone about 1 comparison in 1,600 reaches them."""
DOUBT = 1.0
"""Nats below which there is nothing to speak of."""
NEWCOMERS = "(names that the versions before did not have)"


class Standards(msgspec.Struct, frozen=True):
    """What evidence has to reach; see `monitor.rollback.config.RollbackConfig`."""

    min_effect: float
    min_labels: int
    max_share: float
    witnesses: tuple[str, ...] = WITNESSES


class Pair(NamedTuple):
    """Hits among events, of the version that is accused and of those before it."""

    hits: int
    of: int
    hits_before: int
    of_before: int

    @property
    def before(self) -> float:
        """The share of hits before."""
        return self.hits_before / max(self.of_before, 1)

    @property
    def effect(self) -> float:
        """By how much the share of hits has risen."""
        return self.hits / max(self.of, 1) - self.before

    @property
    def excess(self) -> float:
        """Hits beyond what the share of the versions before would have given."""
        return self.hits - self.of * self.before


class Weighed(msgspec.Struct, frozen=True):
    """What speaks against a version, and what is missing."""

    families: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """One sentence for each thing that stands against acting."""
    suspect: str | None = None
    """The one witness without whom nothing speaks against the version, such as `labeler lab-2`."""
    count: int = 0
    """Labelled answers of the accused class."""
    hits: int = 0
    """How many of them were wrong in the way that is told."""
    before: float = 0.0
    """The share of such answers among those of the versions before."""


def weigh(incident: Incident, answers: Answers, version: str, standards: Standards) -> Weighed:
    """Weigh the evidence of an incident against one version."""
    accused = answers.of(version)
    before = _before(incident, answers, version)
    pair = incident.attribution.class_from, incident.attribution.class_to
    if accused is None:
        return Weighed(missing=(f"version {version} has not answered anything yet",))
    if not before:
        return Weighed(missing=("no earlier version has answered anything that could be compared",))
    if pair[0] is None or pair[1] is None:
        return Weighed(missing=("it is not told which class is taken for which",))
    return _Trial(accused, before, pair[0], pair[1], standards).judge()


class _Trial:
    """One version against those before it, for one pair of classes."""

    def __init__(
        self, accused: Answered, before: Sequence[Answered], class_from: str, class_to: str, standards: Standards
    ) -> None:
        self._accused = accused
        self._before = before
        self._from = class_from
        self._to = class_to
        self._standards = standards

    def judge(self) -> Weighed:
        told = {kind: self._told(kind) for kind in WITNESSES}
        moved = self._moved()
        labels = _sum(told[LABELER].values())
        enough = self._accused.labels >= self._standards.min_labels
        families, missing = [], []
        if not enough:
            missing.append(f"fewer than {self._standards.min_labels} answers of {self._accused.version} have labels")
        if self._holds(labels):
            lone = [kind for kind in self._standards.witnesses if not self._without_strongest(told[kind])]
            missing += [f"one {kind} gives too much of the evidence by labels" for kind in lone]
            families += [LABELS] if not lone else []
        else:
            missing.append(f"labels do not say that {self._accused.version} is worse than the versions before")
        if self._leans(_sum(moved.values())):
            if SOURCE in self._standards.witnesses and not self._without_strongest(moved, self._leans):
                missing.append("one source gives too much of the evidence by answers")
            else:
                families.append(ANSWERS)
        suspects = [name for kind in WITNESSES if (name := self._suspect(kind, told[kind]))] if enough else []
        return Weighed(
            tuple(families), tuple(missing), next(iter(suspects), None), labels.of, labels.hits, labels.before
        )

    def _holds(self, pair: Pair) -> bool:
        return pair.effect >= self._standards.min_effect and risen(*pair) >= STRONG

    def _leans(self, pair: Pair) -> bool:
        """The mix of answers moves less than errors do: those of one class are only a part of them."""
        return risen(*pair) >= STRONG

    def _suspect(self, kind: str, pairs: dict[str, Pair]) -> str | None:
        """The strongest witness, if the others say nothing against the version although there are enough of them."""
        strongest, rest = _parted(pairs)
        accuses = risen(*pairs[strongest]) >= STRONG and rest.of >= self._standards.min_labels // 2
        return f"{kind} {strongest}" if accuses and risen(*rest) < DOUBT else None

    def _without_strongest(self, pairs: dict[str, Pair], holds: Callable[[Pair], bool] | None = None) -> bool:
        """Whether the evidence stands without its strongest witness, who must not give most of it."""
        strongest, rest = _parted(pairs)
        share = pairs[strongest].excess / max(sum(max(pair.excess, 0.0) for pair in pairs.values()), 1e-9)
        return share <= self._standards.max_share and (holds or self._holds)(rest)

    def _told(self, kind: str) -> dict[str, Pair]:
        """Wrong answers among labelled ones of the accused class, by witness."""
        return self._by_witness(
            {name: self._outcomes(counts) for name, counts in self._accused.contradictions(kind).items()},
            [{name: self._outcomes(c) for name, c in other.contradictions(kind).items()} for other in self._before],
        )

    def _moved(self) -> dict[str, Pair]:
        """Answers of the one class among those of either, by source."""
        return self._by_witness(
            {name: self._mix(counts) for name, counts in self._accused.predicted.items()},
            [{name: self._mix(counts) for name, counts in other.predicted.items()} for other in self._before],
        )

    def _outcomes(self, counts: dict[str, dict[str, int]]) -> tuple[int, int]:
        outcomes = total([counts], self._from)
        return outcomes[self._to], outcomes.total()

    def _mix(self, counts: dict[str, int]) -> tuple[int, int]:
        there = counts.get(self._to, 0)
        return there, there + counts.get(self._from, 0)

    def _by_witness(
        self, accused: dict[str, tuple[int, int]], before: Sequence[dict[str, tuple[int, int]]]
    ) -> dict[str, Pair]:
        """Each witness' own hits, against the share that all together had before.

        Names that did not testify before are one witness: anybody can invent names.
        """
        known = {name for counts in before for name, (_, count) in counts.items() if count} - {OTHERS, NOBODY}
        hits_before = sum(hits for counts in before for hits, _ in counts.values())
        count_before = sum(count for counts in before for _, count in counts.values())
        hits, count = Counter[str](), Counter[str]()
        for name, (found, of) in accused.items():
            hits[name if name in known else NEWCOMERS] += found
            count[name if name in known else NEWCOMERS] += of
        return {name: Pair(hits[name], count[name], hits_before, count_before) for name in count} or {
            NEWCOMERS: Pair(0, 0, hits_before, count_before)
        }


def _parted(pairs: dict[str, Pair]) -> tuple[str, Pair]:
    """The witness who gives most of the evidence, and all others together."""
    strongest = max(pairs, key=lambda name: pairs[name].excess)
    before = pairs[strongest]
    rest = _sum(pair for name, pair in pairs.items() if name != strongest)
    return strongest, rest._replace(hits_before=before.hits_before, of_before=before.of_before)


def _sum(pairs: Iterable[Pair]) -> Pair:
    """All witnesses together; what was before is the same for each."""
    hits = count = hits_before = count_before = 0
    for pair in pairs:
        hits, count = hits + pair.hits, count + pair.of
        hits_before, count_before = pair.hits_before, pair.of_before
    return Pair(hits, count, hits_before, count_before)


def _before(incident: Incident, answers: Answers, version: str) -> list[Answered]:
    """The versions to compare with: those that served before the one that is blamed first."""
    blamed = answers.of(incident.attribution.version or incident.version)
    limit = incident.onset.low if blamed is None else blamed.first
    return [answered for answered in answers if answered.version != version and answered.first < limit]
