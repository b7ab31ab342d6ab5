"""The bank: everything that is watched of one model, as families of bets on one false-alarm budget.

Predictions and labels are two clocks. On each, the weights of all families sum to 1, and every event feeds one key of a
keyed family; so the sum over everything is an e-detector on the count of all events, and a stream that reaches the
budget is a false alarm at most once in that many events on average. See DESIGN.md, "One budget".
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.bets import Caution
from detectors.cells import ABSENT, RESERVED
from detectors.edetector import Batch, Excursion, Step, Turn
from detectors.engine import ARRAYS, Engine
from detectors.surrogate import LEVELS
from monitor.detection.agreement import AGREES, Agreement, Judged
from monitor.detection.askers import codes_of_slots
from monitor.detection.attention import Attention, Named
from monitor.detection.baseline import PREDICTION, Baseline
from monitor.detection.columns import Columns, FeatureColumns, LabelColumns
from monitor.detection.contrast import Recent
from monitor.detection.dues import NOTHING_DUE, OUTCOMES, DueColumns, Dues, DuesState
from monitor.detection.families import families
from monitor.detection.pairs import Pairs
from monitor.detection.questions import questions
from monitor.detection.suspects import Suspects

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EVERYBODY = 0.8
"""A source or a labeler with this share of the reference is not one among others."""
BLOCK = 262_144
"""Factors of a family that are worked on in one go: what does not fit into a processor's cache is slower."""
LEAST = 8
"""Events that are worked on in one go at least; fewer, where alarms come thick, so that less of them is done twice."""


class Place(NamedTuple):
    """One stream of one family for one key."""

    family: str
    key: int
    stream: int


@dataclass(frozen=True, slots=True)
class Moment:
    """An event at which what alarms has changed enough to be looked at."""

    index: int
    ts: float
    changed: frozenset[Place]
    """Streams that began to alarm, or have grown, since the moment before; without any, some have only recovered."""


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
    suspects: dict[int, list[bytes]]
    answers: tuple[bytes, bytes]
    labels: tuple[bytes, bytes]
    unseen: list[Named] = []
    due: tuple[bytes, bytes] = b"", b""
    dues: DuesState = DuesState()


class Bank:
    """All families of one model."""

    def __init__(self, baseline: Baseline, budget: float, caution: Caution, engine: Engine = ARRAYS) -> None:
        """Build the bets from the baseline; `budget` is the number of events per false alarm."""
        self.baseline = baseline
        self.digest = baseline.digest
        self.columns = Columns(baseline, engine.cut)
        self.budget = budget
        self.pairs = Pairs(baseline.features, [(pair.first, pair.second) for pair in baseline.pairs])
        self.questions = questions(baseline)
        self.agreement = None if baseline.surrogate is None else Agreement(baseline.surrogate, baseline)
        self.everybody = _everybody(baseline)
        self.suspects = Suspects(tuple(baseline.features.values()))
        self.recent_answers = Recent(3)
        """Source, the one kind, and the code that the engine gets."""
        self.recent_labels = Recent(4)
        """Source, labeler, kind and code of the label, at the time of the prediction."""
        self._askers = codes_of_slots(len(baseline.sources))
        self._output = self.columns.names.index(PREDICTION)
        self._no_output = baseline.features[PREDICTION].cells.size - RESERVED + ABSENT
        self.recent_dues = Recent(2)
        """Predicted class, and what became of the label."""
        self.dues = Dues(baseline.dues, self.digest, self.columns.class_code)
        self.families = families(baseline, self.questions, self.columns, budget, caution, engine.walk)
        self._attention = Attention()
        self._block = max(BLOCK // max(family.weights.size for family in self.families.values()), 1)

    def update(
        self, features: FeatureColumns, labels: LabelColumns, dues: DueColumns = NOTHING_DUE
    ) -> Iterator[Moment]:
        """Feed events, and what was decided at them.

        Stop where what alarms has changed so that it is worth a look, and give the caller the moment.
        Cutting the same events into other batches gives the same moments and the same state.
        """
        batches = self._batches(features, labels, dues)
        edges = [int(each) for index in (features.index, labels.index) if index.size for each in index[[0, -1]]]
        at, last, size = min(edges, default=0), max(edges, default=-1), self._block
        while at <= last:
            end = stop = min(at + size - 1, last)
            steps = self._run(batches, end)
            changes = _changes(steps)
            due = self._attention.due(changes)
            if due is not None and due < end:
                stop, steps = due, self._run(batches, due)
                changes = _changes(steps)
            for name, step in steps.items():
                self.families[name].accept(step)
            self._attention.take(changes)
            for memory in (self.suspects, self.recent_answers, self.recent_labels, self.recent_dues):
                memory.settle(stop)
            if due is not None:
                news = ((name, change) for name, change in self._attention.look() if change.turn is not Turn.OVER)
                changed = frozenset(Place(name, change.key, change.stream) for name, change in news)
                yield Moment(stop, self._moment_ts(stop, features, labels), changed)
            if stop < last:
                batches = {name: rest for name, batch in batches.items() if (rest := batch.after(stop)).index.size}
            at, size = stop + 1, min(max(2 * (stop + 1 - at), LEAST), self._block)

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
        return {name: family.highest() for name, family in self.families.items()}

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
            BankState(
                self.digest,
                families,
                self.columns.sources.names,
                self.columns.labelers.names,
                self.suspects.dump(),
                self.recent_answers.dump(),
                self.recent_labels.dump(),
                self._attention.dump(),
                self.recent_dues.dump(),
                self.dues.dump(),
            )
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
        self.suspects.restore(state.suspects)
        self.recent_answers.restore(state.answers)
        self.recent_labels.restore(state.labels)
        self._attention.restore(state.unseen, self.families)
        self.recent_dues.restore(state.due)
        self.dues.restore(state.dues)
        return True

    def _run(self, batches: Mapping[str, Batch], end: int) -> dict[str, Step]:
        """What the events up to index `end` would do to each family."""
        return {name: self.families[name].run(batch.until(end)) for name, batch in batches.items()}

    def _batches(self, features: FeatureColumns, labels: LabelColumns, dues: DueColumns) -> dict[str, Batch]:
        batches = self._due_batches(dues) if dues.index.size else {}
        if features.index.size:
            nobody = np.zeros(features.index.size, dtype=np.intp)
            for name, keys in (("", nobody), ("/source", features.sources)):
                batches[f"features{name}"] = Batch(features.index, features.ts, keys, features.codes)
            if self.baseline.pairs:
                batches["pairs"] = Batch(features.index, features.ts, nobody, self.pairs.of(features.codes))
            if self.baseline.askers is not None:
                batches["sources"] = self._asked(features)
            if self.agreement is not None:
                answers = self.agreement.of(features.codes)
                if answers.rows.size:
                    self._add_answers(batches, features, answers)
        if not labels.index.size:
            return batches
        batches["confusion"] = Batch(labels.index, labels.predicted_at, labels.labels, labels.outcomes[:, np.newaxis])
        kinds, codes, count = labels.labels, labels.outcomes, 1
        if self.questions:
            kinds, count = labels.outcomes, len(self.baseline.classes)
            codes = labels.certainty * count + labels.labels
        for name, slots in (("source", labels.sources), ("labeler", labels.labelers)):
            keys = slots * count + kinds
            batches[f"confusion/{name}"] = Batch(labels.index, labels.predicted_at, keys, codes[:, np.newaxis])
        self.recent_labels.offer(labels.index, labels.predicted_at, labels.sources, labels.labelers, kinds, codes)
        return batches

    def _due_batches(self, dues: DueColumns) -> dict[str, Batch]:
        self.recent_dues.offer(dues.index, dues.ts, dues.classes, dues.outcomes)
        codes = np.column_stack([dues.outcomes] * 2)
        levelled = codes + OUTCOMES * dues.classes[:, np.newaxis]
        batches = {"labels": Batch(dues.index, dues.ts, np.zeros_like(dues.classes), levelled)}
        if not self.baseline.regression:
            batches["labels/class"] = Batch(dues.index, dues.ts, dues.classes, codes)
        return batches

    def _asked(self, features: FeatureColumns) -> Batch:
        """Who asks; features alone ask for nothing."""
        index, ts, sources = features.index, features.ts, features.sources
        asks = features.codes[:, self._output] != self._no_output
        if not asks.all():
            index, ts, sources = index[asks], ts[asks], sources[asks]
        codes = self._askers.take(sources)[:, np.newaxis]
        return Batch(index, ts, np.zeros(index.size, dtype=np.intp), codes)

    def _add_answers(self, batches: dict[str, Batch], features: FeatureColumns, answers: Judged) -> None:
        index, ts = features.index[answers.rows], features.ts[answers.rows]
        sources = features.sources[answers.rows]
        unexpected = answers.unexpected
        classes, level = len(self.baseline.classes), answers.kinds % LEVELS
        codes = level * classes + answers.outcomes
        batches["agreement"] = Batch(index, ts, answers.kinds // LEVELS, codes[:, np.newaxis])
        codes = level * (classes + 1) + unexpected
        batches["answers/source"] = Batch(index, ts, sources, codes[:, np.newaxis])
        self.recent_answers.offer(index, ts, sources, np.zeros_like(codes), codes)
        odd = unexpected != AGREES
        self.suspects.offer(index[odd], sources[odd], features.codes[answers.rows[odd]])

    def _moment_ts(self, index: int, features: FeatureColumns, labels: LabelColumns) -> float:
        for columns in (features, labels):
            row = int(np.searchsorted(columns.index, index))
            if row < columns.index.size and columns.index[row] == index:
                return float(columns.ts[row])
        raise AssertionError("a moment is always an event of the batch")


def _changes(steps: Mapping[str, Step]) -> list[Named]:
    """What would change, in the order of events."""
    changes = [(name, change) for name, step in steps.items() for change in step.changes]
    return sorted(changes, key=lambda named: named[1].index)


def _everybody(baseline: Baseline) -> frozenset[str]:
    """Sources and labelers that most of the reference came from: of them cannot be asked whether it is one or all."""
    labels = [baseline.residual.reference] if baseline.residual is not None else list(baseline.confusion.values())
    found = set()
    for partition, references in (("source", [baseline.features[PREDICTION].reference]), ("labeler", labels)):
        seen = Counter[str]()
        for reference in references:
            seen.update({name: sum(counts) for name, counts in reference.groups.get(partition, {}).items()})
        total = sum(sum(reference.counts) for reference in references)
        found |= {name for name, count in seen.items() if count >= EVERYBODY * total}
    return frozenset(found)
