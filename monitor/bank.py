"""The bank: everything that is watched of one model, as families of bets on one false-alarm budget.

Predictions and labels are two clocks. On each, the weights of all families sum to 1, and every event feeds one key of a
keyed family; so the sum over everything is an e-detector on the count of all events, and a stream that reaches the
budget is a false alarm at most once in that many events on average. See DESIGN.md, "One budget".
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.bets import (
    FEATURE_WEIGHTS,
    Caution,
    Reference,
    excuses,
    feature_bets,
    outcome_bets,
)
from detectors.edetector import Batch, Excursion, Family, Step, Turn
from monitor.baseline import PREDICTION, Baseline
from monitor.columns import Columns, FeatureColumns, LabelColumns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEIGHTS: Mapping[str, float] = {
    "features": 0.5,
    "features/source": 0.5,
    "confusion": 0.4,
    "confusion/source": 0.3,
    "confusion/labeler": 0.3,
}
"""Shares of the budget: the first two on the clock of predictions, the others on that of labels."""
PREDICTION_SHARE = 0.25
"""Share that the predicted class has of the budget of its family; features share the rest equally."""

BLOCK = 262_144
"""Factors of a family that are worked on in one go: what does not fit into a processor's cache is slower."""


class Place(NamedTuple):
    """One stream of one family for one key."""

    family: str
    key: int
    stream: int


@dataclass(frozen=True, slots=True)
class Moment:
    """An event at which what alarms changed."""

    index: int
    ts: float
    alarm: bool
    """Whether a stream began to alarm; otherwise one has only recovered."""


class FamilyState(msgspec.Struct, array_like=True):
    """A family's memory, for the store."""

    statistic: dict[int, bytes]
    excursions: list[tuple[int, int, Excursion]]


class BankState(msgspec.Struct, array_like=True):
    """A bank's memory, for the store; of the size of its streams, whatever it has read."""

    digest: str
    families: dict[str, FamilyState]
    sources: list[str]
    labelers: list[str]


class Bank:
    """All families of one model."""

    def __init__(self, baseline: Baseline, budget: float, caution: Caution) -> None:
        """Build the bets from the baseline; `budget` is the number of events per false alarm."""
        self.baseline = baseline
        self.digest = baseline.digest
        self.columns = Columns(baseline)
        self.budget = budget
        self.label_kinds = len(baseline.classes) if baseline.residual is None else 1
        self.families = dict(self._build(caution))
        self._block = max(BLOCK // max(family.weights.size for family in self.families.values()), 1)

    def update(self, features: FeatureColumns, labels: LabelColumns) -> Iterator[Moment]:
        """Feed events; stop at each event that changes what alarms, and give the caller the moment to look.

        Cutting the same events into other batches gives the same moments and the same state.
        """
        batches = self._batches(features, labels)
        for end in self._block_ends(np.concatenate([features.index, labels.index])):
            stop = None
            while stop != end:
                stop, steps = end, self._run(batches, end)
                changes = [change for step in steps.values() for change in step.changes]
                if changes and min(changes).index < end:
                    stop = min(changes).index
                    steps = self._run(batches, stop)
                for name, step in steps.items():
                    self.families[name].accept(step)
                if changes:
                    alarm = any(change.turn is Turn.ALARM for change in changes if change.index == stop)
                    yield Moment(stop, self._moment_ts(stop, features, labels), alarm)
                batches = {name: rest for name, batch in batches.items() if (rest := batch.after(stop)).index.size}

    def alarming(self) -> list[tuple[Place, Excursion]]:
        """Every stream that has reached the budget and has not recovered."""
        return [
            (Place(name, key, stream), excursion)
            for name, family in self.families.items()
            for (key, stream), excursion in sorted(family.excursions.items())
            if excursion.alarmed_index is not None
        ]

    def highest(self) -> dict[str, float]:
        """The largest weighted statistic of each family now; it alarms at `budget`."""
        return {
            name: max((float(levels.max()) for levels in family.levels().values()), default=0.0)
            for name, family in self.families.items()
        }

    def streams(self) -> int:
        """How many streams are watched now, over all keys seen."""
        return sum(family.streams * max(len(family.statistic), 1) for family in self.families.values())

    def dump(self) -> bytes:
        """The state, for the store."""
        families = {
            name: FamilyState(
                statistic={key: family.statistic[key].tobytes() for key in sorted(family.statistic)},
                excursions=[(*place, family.excursions[place]) for place in sorted(family.excursions)],
            )
            for name, family in self.families.items()
        }
        return msgspec.msgpack.encode(
            BankState(self.digest, families, self.columns.sources.names, self.columns.labelers.names)
        )

    def restore(self, blob: bytes) -> bool:
        """Take up a stored state; False, and nothing done, if it belongs to another baseline."""
        state = msgspec.msgpack.decode(blob, type=BankState)
        if state.digest != self.digest:
            return False
        for slots, names in ((self.columns.sources, state.sources), (self.columns.labelers, state.labelers)):
            for name in names[1:]:
                slots.of(name)
        for name, held in state.families.items():
            family = self.families[name]
            shape = (family.streams, family.bets)
            family.statistic = {key: np.frombuffer(raw).reshape(shape).copy() for key, raw in held.statistic.items()}
            family.excursions = {(key, stream): excursion for key, stream, excursion in held.excursions}
        return True

    def _block_ends(self, indexes: Ints) -> list[int]:
        """Where to pause: blocks alike in size, none larger than the processor's cache can take."""
        if indexes.size <= self._block:
            return [int(indexes.max())] if indexes.size else []
        parts = np.array_split(np.sort(indexes), math.ceil(indexes.size / self._block))
        return [int(part[-1]) for part in parts]

    def _run(self, batches: Mapping[str, Batch], end: int) -> dict[str, Step]:
        """What the events up to index `end` would do to each family."""
        return {name: self.families[name].run(batch.until(end)) for name, batch in batches.items()}

    def _build(self, caution: Caution) -> Iterator[tuple[str, Family]]:
        baseline, columns = self.baseline, self.columns
        references = [feature.reference for feature in baseline.features.values()]
        tables = _stack([feature_bets(f.cells, f.reference, caution) for f in baseline.features.values()])
        share = (1.0 - PREDICTION_SHARE) / (len(references) - 1)
        shares = np.array([PREDICTION_SHARE if name == PREDICTION else share for name in baseline.features])
        weights = np.outer(shares, FEATURE_WEIGHTS)
        yield "features", self._family("features", tables, weights, {})
        divisors = _excuses(tables, references, "source", columns.sources.of)
        yield "features/source", self._family("features/source", tables, weights, divisors)
        outcomes, outcome_references = self._outcome_tables(caution)
        bets = outcomes.shape[2]
        even = FEATURE_WEIGHTS[np.newaxis] if baseline.regression else np.full((1, bets), 1.0 / bets)
        yield "confusion", self._family("confusion", outcomes, even, {})
        for group, slots in (("source", columns.sources), ("labeler", columns.labelers)):
            divisors = {}
            for kind, reference in enumerate(outcome_references):
                found = _excuses(outcomes[kind : kind + 1], [reference], group, slots.of)
                divisors.update({slot * self.label_kinds + kind: divisor for slot, divisor in found.items()})
            yield f"confusion/{group}", self._family(f"confusion/{group}", outcomes, even, divisors)

    def _outcome_tables(self, caution: Caution) -> tuple[Floats, list[Reference]]:
        residual = self.baseline.residual
        if residual is not None:
            return feature_bets(residual.cells, residual.reference, caution)[np.newaxis], [residual.reference]
        references = [self.baseline.confusion[name] for name in self.baseline.classes]
        return _stack([outcome_bets(ref, kind, caution) for kind, ref in enumerate(references)]), references

    def _family(self, name: str, tables: Floats, weights: Floats, divisors: Mapping[int, Floats]) -> Family:
        return Family(tables, WEIGHTS[name] * weights, self.budget, divisors=divisors)

    def _batches(self, features: FeatureColumns, labels: LabelColumns) -> dict[str, Batch]:
        batches = {}
        if features.index.size:
            nobody = np.zeros(features.index.size, dtype=np.intp)
            for name, keys in (("", nobody), ("/source", features.sources)):
                batches[f"features{name}"] = Batch(features.index, features.ts, keys, features.codes)
        if not labels.index.size:
            return batches
        outcomes = labels.outcomes[:, np.newaxis]
        for name, slots in (("", 0), ("/source", labels.sources), ("/labeler", labels.labelers)):
            keys = np.asarray(slots * self.label_kinds + labels.labels, dtype=np.intp)
            batches[f"confusion{name}"] = Batch(labels.index, labels.predicted_at, keys, outcomes)
        return batches

    def _moment_ts(self, index: int, features: FeatureColumns, labels: LabelColumns) -> float:
        for columns in (features, labels):
            row = int(np.searchsorted(columns.index, index))
            if row < columns.index.size and columns.index[row] == index:
                return float(columns.ts[row])
        raise AssertionError("a moment is always an event of the batch")


def _stack(tables: Sequence[Floats]) -> Floats:
    """Tables of several alphabets as one array, shape (tables, codes, bets); what an alphabet has not is 1."""
    codes = max(table.shape[0] for table in tables)
    bets = max(table.shape[1] for table in tables)
    stacked = np.ones((len(tables), codes, bets))
    for place, table in enumerate(tables):
        stacked[place, : table.shape[0], : table.shape[1]] = table
    return stacked


def _excuses(
    tables: Floats, references: Sequence[Reference], partition: str, slot: Callable[[str], int]
) -> dict[int, Floats]:
    """Divisors for sources or labelers, by slot, where they were different from each other already in the reference."""
    divisors: dict[int, Floats] = {}
    for place, reference in enumerate(references):
        found = excuses(tables[place, : len(reference.counts)], reference.groups.get(partition, {}))
        for name, divisor in found.items():
            none = np.ones((len(references), tables.shape[2]))
            divisors.setdefault(slot(name), none)[place] = divisor
    return divisors
