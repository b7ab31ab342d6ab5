"""Columns: events of one model as arrays of codes, in the alphabets that its baseline learnt.

A new, missing or retyped feature is no special case: it gets a reserved code, and the engine bets on those too.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from detectors.cells import ABOVE, ABSENT, RESERVED, CategoryCells, NumericCells
from monitor.baseline import EXTRA, PREDICTION, Baseline, category, numeric, residual
from monitor.events import ClassLabel, Features, Prediction, Value, class_name
from monitor.join import Joined
from monitor.slots import Slots

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
    sources: Codes
    labelers: Codes


class Columns:
    """Turns events of one model into codes."""

    def __init__(self, baseline: Baseline) -> None:
        self.sources = Slots(baseline.sources)
        self.labelers = Slots(baseline.labelers)
        self.names = tuple(baseline.features)
        self._class_code = {name: code for code, name in enumerate(baseline.classes)}
        self._other = len(baseline.classes) - 1
        served = [name for name in self.names if name not in (EXTRA, PREDICTION)]
        self._known = frozenset(served)
        self._place = {name: column for column, name in enumerate(self.names)}
        self._categories: dict[str, tuple[CategoryCells, dict[str | None, int]]] = {}
        numeric_names: list[str] = []
        self._encoders: list[tuple[int, Callable[[Floats], Codes]]] = []
        for name in served:
            cells = baseline.features[name].cells
            if isinstance(cells, NumericCells):
                numeric_names.append(name)
                self._encoders.append((self._place[name], cells.encoder()))
            else:
                self._categories[name] = (cells, cells.table())
        self._numeric = tuple(numeric_names)
        # itemgetter of one name gives a value, not a tuple; asking for it twice costs nothing.
        self._pick = (
            itemgetter(*(self._numeric if len(self._numeric) > 1 else self._numeric * 2)) if numeric_names else None
        )
        self._output = baseline.features[PREDICTION].cells
        self._output_code = self._output.table() if isinstance(self._output, CategoryCells) else {}
        self._residual = None if baseline.residual is None else numeric(baseline.residual)
        extra = baseline.features[EXTRA].cells
        self._extra_code = extra.size - RESERVED + ABOVE

    def features(self, rows: Sequence[tuple[int, float, Prediction | Features]]) -> FeatureColumns:
        """Encode (index, epoch seconds, event) rows."""
        events = [event for _, _, event in rows]
        values = [event.features for event in events]
        codes = np.empty((len(rows), len(self.names)), dtype=np.intp)
        invalid = self._encode_numeric(values, codes) + self._encode_categories(values, codes)
        codes[:, self._place[EXTRA]] = self._extra(values)
        codes[:, self._place[PREDICTION]] = self._predicted(events)
        return FeatureColumns(
            index=np.fromiter((row[0] for row in rows), np.int64, len(rows)),
            ts=np.fromiter((row[1] for row in rows), np.float64, len(rows)),
            codes=codes,
            sources=np.fromiter(map(self.sources.of, map(attrgetter("source"), events)), np.intp, len(rows)),
            invalid=invalid,
        )

    def labels(self, rows: Sequence[tuple[int, Joined]]) -> LabelColumns:
        """Encode (index, joined label) rows."""
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
            sources=np.fromiter((self.sources.of(join.source) for join in joins), np.intp, count),
            labelers=np.fromiter((self.labelers.of(join.labeler) for join in joins), np.intp, count),
        )

    def class_code(self, value: ClassLabel) -> int:
        """The code of a class; classes that the reference did not have are one outcome, the last."""
        return self._class_code.get(class_name(value), self._other)

    def _encode_numeric(self, values: Sequence[dict[str, Value]], codes: Codes) -> int:
        """Fill in the codes of numeric features; return how many values were missing or of another type."""
        if self._pick is None or not values:
            return 0
        try:  # array refuses text and null with TypeError, which numpy would silently convert
            flat = array("d", chain.from_iterable(map(self._pick, cast("Any", values))))
        except (KeyError, TypeError):
            flat = array("d", [_number(value.get(name)) for value in values for name in self._numeric])
        matrix = np.frombuffer(flat).reshape(len(values), -1).T.copy()
        for row, (place, encode) in zip(matrix, self._encoders, strict=False):
            codes[:, place] = encode(row)
        return int(np.isnan(matrix[: len(self._numeric)]).sum())

    def _encode_categories(self, values: Sequence[dict[str, Value]], codes: Codes) -> int:
        invalid = 0
        for name, (cells, table) in self._categories.items():
            column = [table.get(category(value.get(name)), cells.unseen) for value in values]
            codes[:, self._place[name]] = column
            invalid += column.count(table[None])
        return invalid

    def _predicted(self, events: Sequence[Prediction | Features]) -> Codes:
        """Codes of what the model predicted; ABSENT where an event has features only."""
        absent = self._output.size - RESERVED + ABSENT
        if isinstance(self._output, NumericCells):
            outputs = [_number(event.prediction) if isinstance(event, Prediction) else np.nan for event in events]
            codes = self._output.encode(np.array(outputs))
        else:
            found, unseen = self._output_code, self._output.unseen
            codes = np.array(
                [found.get(class_name(e.prediction), unseen) if isinstance(e, Prediction) else absent for e in events],
                dtype=np.intp,
            )
        codes[[not isinstance(event, Prediction) for event in events]] = absent
        return codes

    def _extra(self, values: Sequence[dict[str, Value]]) -> Codes:
        """Code 0 where an event has only features that the reference had, `unseen` where it has others."""
        known = self._known
        found = [0 if len(value) <= len(known) and value.keys() <= known else self._extra_code for value in values]
        return np.array(found, dtype=np.intp)


def _number(value: Value) -> float:
    """A numeric value; NaN if it is missing or is text."""
    return float("nan") if value is None or isinstance(value, str) else float(value)
