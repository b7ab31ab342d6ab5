"""Columns: events of one model as arrays of codes, in the alphabets that its baseline learnt.

A new, missing or retyped feature is no special case: it gets a reserved code, and the engine bets on those too.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from detectors.cells import ABOVE, ABSENT, RESERVED, CategoryCells, NumericCells
from detectors.grid import Cut, Grid, cut
from detectors.projection import Projection
from monitor.detection.baseline import EXTRA, PREDICTION, Baseline, category, certainty, embedded, numeric, residual
from monitor.detection.slots import Slots
from monitor.intake.events import ClassLabel, Features, Prediction, Value, class_name
from monitor.intake.join import Joined

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FeatureColumns:
    """Predictions (or features alone), n rows in the order they were read."""

    index: Ints
    """Position in all that was read."""
    ts: Floats
    codes: Codes
    """Shape (n, streams)."""
    numbers: Floats
    """Values as they came, of the streams `Columns.measured`; NaN where one is missing, shape (n, measured)."""
    sources: Codes
    invalid: int
    """Values that were missing, or not of the type the reference had."""


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """Joined labels, n rows in the order they were joined."""

    index: Ints
    ts: Floats
    """When the label was given."""
    predicted_at: Floats
    """When the model was asked: evidence belongs to that time."""
    labels: Codes
    """Class codes of the labels; 0 for a regression model."""
    outcomes: Codes
    """Class codes of the predictions; residual codes for a regression model."""
    certainty: Codes
    """How sure the model was: see `monitor.detection.baseline.certainty`."""
    sources: Codes
    labelers: Codes


@dataclass(slots=True)
class _Taken:
    """Events of one model, as they were read: what is asked of them, and not the events, which are large."""

    index: list[int] = field(default_factory=list)
    ts: list[float] = field(default_factory=list)
    numbers: list[bytes] = field(default_factory=list)
    """Numeric features of each event; NaN where one is missing or is text."""
    categories: list[tuple[Value, ...]] = field(default_factory=list)
    outputs: list[ClassLabel | None] = field(default_factory=list)
    """What was predicted; None where an event has features only."""
    sources: list[str | None] = field(default_factory=list)
    embeddings: list[list[float] | None] = field(default_factory=list)
    """Of each event; of none where the reference had none."""
    extra: list[int] = field(default_factory=list)
    """Rows of events that carry features which the reference did not have."""


_NO_LABELS = LabelColumns(
    index=np.zeros(0, np.int64),
    ts=np.zeros(0),
    predicted_at=np.zeros(0),
    labels=np.zeros(0, np.intp),
    outcomes=np.zeros(0, np.intp),
    certainty=np.zeros(0, np.intp),
    sources=np.zeros(0, np.intp),
    labelers=np.zeros(0, np.intp),
)


class Columns:
    """Turns events of one model into codes."""

    def __init__(self, baseline: Baseline, cut: Cut = cut) -> None:
        """Take the alphabets; `cut` is how numbers become codes."""
        self.sources = Slots(baseline.sources)
        self.labelers = Slots(baseline.labelers)
        self.names = tuple(baseline.features)
        self._class_code = {name: code for code, name in enumerate(baseline.classes)}
        self._other = len(baseline.classes) - 1
        self._projection = baseline.projection
        made = embedded(baseline.projection)
        served = [name for name in self.names if name not in (EXTRA, PREDICTION, *made)]
        self._known = frozenset(served)
        self._numeric = [name for name in served if isinstance(baseline.features[name].cells, NumericCells)]
        self.measured = (*self._numeric, *made)
        """Streams that are numbers, but for what was predicted."""
        self._categoric = [name for name in served if name not in self._numeric]
        self._pick_numbers, self._pick_categories = _picker(self._numeric), _picker(self._categoric)
        self._pack = struct.Struct(f"={len(self._numeric)}d").pack
        self._place = {name: column for column, name in enumerate(self.names)}
        self._embedded = [(self._place[name], numeric(baseline.features[name])) for name in made]
        cells = [numeric(baseline.features[name]) for name in self._numeric]
        self._grid = Grid.of(cells, [self._place[name] for name in self._numeric])
        self._cut = cut
        self._categories = [
            (self._place[name], feature.table(), feature.unseen)
            for name in self._categoric
            if isinstance(feature := baseline.features[name].cells, CategoryCells)
        ]
        self._output = baseline.features[PREDICTION].cells
        self._output_code = self._output.table() if isinstance(self._output, CategoryCells) else {}
        self._residual = None if baseline.residual is None else numeric(baseline.residual)
        extra = baseline.features[EXTRA].cells
        self._extra_code = extra.size - RESERVED + ABOVE
        self._taken = _Taken()

    def take(self, index: Sequence[int], times: Sequence[float], events: Sequence[Prediction | Features]) -> None:
        """Take in events for the next call of `encode`, with the index of each among all and its epoch seconds."""
        taken, pack, pick = self._taken, self._pack, self._pick_numbers
        values = [event.features for event in events]
        complete = {len(self._known)}.issuperset(map(len, values))
        try:
            taken.numbers += [pack(*pick(value)) for value in values]  # refuses text and null
        except (KeyError, struct.error):
            complete = False
            taken.numbers += [self._packed(value) for value in values]
        if self._categoric:
            try:
                taken.categories += [self._pick_categories(value) for value in values]
            except KeyError:
                complete = False
                taken.categories += [tuple([value.get(name) for name in self._categoric]) for value in values]
        if not complete:
            known, rows = self._known, len(taken.index)
            taken.extra += [row for row, value in enumerate(values, rows) if not value.keys() <= known]
        taken.index += index
        taken.ts += times
        taken.outputs += [event.prediction if isinstance(event, Prediction) else None for event in events]
        taken.sources += [event.source for event in events]
        if self._projection is not None:
            taken.embeddings += [event.embedding if isinstance(event, Prediction) else None for event in events]

    def _packed(self, values: Mapping[str, Value]) -> bytes:
        try:
            return self._pack(*self._pick_numbers(values))
        except (KeyError, struct.error):
            return self._pack(*[_number(values.get(name)) for name in self._numeric])

    def encode(self) -> FeatureColumns:
        """The codes of what was taken in since the last call."""
        taken, self._taken = self._taken, _Taken()
        numbers = np.frombuffer(bytearray().join(taken.numbers), float).reshape(len(taken.index), len(self._numeric))
        codes = np.empty((len(numbers), len(self.names)), dtype=np.intp)
        invalid = self._cut(self._grid, numbers, codes) + self._encode_categories(taken.categories, codes)
        if self._projection is not None:
            projected, lost = self._encode_embeddings(self._projection, taken, codes)
            numbers, invalid = np.hstack([numbers, projected]), invalid + lost
        codes[:, self._place[EXTRA]] = 0
        if taken.extra:
            codes[taken.extra, self._place[EXTRA]] = self._extra_code
        codes[:, self._place[PREDICTION]] = self._predicted(taken.outputs)
        return FeatureColumns(
            index=np.array(taken.index, dtype=np.int64),
            ts=np.array(taken.ts, dtype=np.float64),
            codes=codes,
            numbers=numbers,
            sources=np.array(self.sources.all_of(taken.sources), dtype=np.intp),
            invalid=invalid,
        )

    def features(self, rows: Iterable[tuple[int, float, Prediction | Features]]) -> FeatureColumns:
        """Take in (index, epoch seconds, event) rows, and encode them."""
        told = list(rows)
        self.take([row[0] for row in told], [row[1] for row in told], [row[2] for row in told])
        return self.encode()

    def labels(self, rows: Sequence[tuple[int, Joined]]) -> LabelColumns:
        """Encode (index, joined label) rows."""
        if not rows:
            return _NO_LABELS
        joins = [join for _, join in rows]
        count = len(rows)
        if self._residual is not None:
            numbers = [residual(join.prediction, join.label) for join in joins]
            labels = np.zeros(count, dtype=np.intp)
            outcomes = self._residual.encode(np.array([_number(number) for number in numbers]))
        else:
            labels = np.fromiter((self.class_code(join.label) for join in joins), np.intp, count)
            outcomes = np.fromiter((self.class_code(join.prediction) for join in joins), np.intp, count)
        return LabelColumns(
            index=np.fromiter((index for index, _ in rows), np.int64, count),
            ts=np.fromiter((join.labelled_at for join in joins), np.float64, count),
            predicted_at=np.fromiter((join.predicted_at for join in joins), np.float64, count),
            labels=labels,
            outcomes=outcomes,
            certainty=np.fromiter((certainty(join.confidence) for join in joins), np.intp, count),
            sources=np.fromiter((self.sources.of(join.source) for join in joins), np.intp, count),
            labelers=np.fromiter((self.labelers.of(join.labeler) for join in joins), np.intp, count),
        )

    def class_code(self, value: ClassLabel) -> int:
        """The code of a class; classes that the reference did not have are one outcome, the last."""
        return self._class_code.get(class_name(value), self._other)

    def _encode_categories(self, rows: list[tuple[Value, ...]], codes: Codes) -> int:
        invalid = 0
        for (place, table, unseen), column in zip(self._categories, zip(*rows, strict=True), strict=False):
            found = _look_up(table, column, unseen)
            codes[:, place] = found
            invalid += found.count(table[None])
        return invalid

    def _encode_embeddings(self, projection: Projection, taken: _Taken, codes: Codes) -> tuple[Floats, int]:
        """Fill in the codes of embeddings; return what became of them, and how many predictions lack one that fits."""
        absent = np.array([output is None for output in taken.outputs])
        classes = [self._other if output is None else self.class_code(output) for output in taken.outputs]
        values = projection.of(taken.embeddings, np.array(classes, dtype=np.intp))
        for (place, cells), column in zip(self._embedded, values.T, strict=True):
            codes[:, place] = np.where(absent, cells.size - RESERVED + ABSENT, cells.encode(column))
        return values, int(np.count_nonzero(np.isnan(values[:, 0]) & ~absent))

    def _predicted(self, outputs: list[ClassLabel | None]) -> Codes:
        """Codes of what the model predicted; ABSENT where an event has features only."""
        if isinstance(self._output, NumericCells):
            codes = self._output.encode(np.array([_number(output) for output in outputs]))
        else:
            codes = np.array(_look_up(self._output_code, outputs, self._output.unseen), dtype=np.intp)
        if None in outputs:
            codes[[output is None for output in outputs]] = self._output.size - RESERVED + ABSENT
        return codes


def _look_up(table: dict[Any, int], values: Sequence[Value], unseen: int) -> list[int]:
    """Codes of categories: most are texts that the table has, and only the others need a closer look."""
    codes = list(map(table.get, values))
    if None not in codes:
        return cast("list[int]", codes)
    return [
        table.get(category(value), unseen) if code is None else code for code, value in zip(codes, values, strict=True)
    ]


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Value]], tuple[Any, ...]]:
    """A function that gives the values of these features as a tuple; KeyError if one is missing."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: tuple([values[name] for name in names])


def _number(value: Value) -> float:
    """A numeric value; NaN if it is missing or is text."""
    return float("nan") if value is None or isinstance(value, str) else float(value)
