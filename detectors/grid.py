"""A grid: the cells of several numeric features side by side, so that whole events are cut into codes at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from detectors.cells import NumericCells

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """What is needed to cut values; `NumericCells.encoder` does the same for one feature."""

    columns: Codes
    """The stream of each feature: where its codes go, shape (features,)."""
    edges: Floats
    """The ends of all intervals of the first feature, ascending, then of the next one."""
    starts: Codes
    """Where those of each feature begin, and where the last ones end, shape (features + 1,)."""
    order: Codes
    """The code of each place among the edges of the first feature, what is above and missing included; then the next.
    A feature has two places more than edges."""

    @classmethod
    def of(cls, cells: Sequence[NumericCells], columns: Sequence[int]) -> "Grid":
        """The grid of features with these cells, whose codes go to these columns."""
        edges, orders = [each.edges() for each in cells], [each.order() for each in cells]
        return cls(
            np.array(columns, dtype=np.intp),
            np.concatenate([*edges, np.zeros(0)]),
            np.cumsum([0, *map(len, edges)], dtype=np.intp),
            np.concatenate([*orders, np.zeros(0, dtype=np.intp)]),
        )


class Cut(Protocol):
    """One way to cut."""

    def __call__(self, grid: Grid, values: Floats, codes: Codes) -> int:
        """Write the codes of values into the grid's columns.

        Args:
            grid: where to cut.
            values: shape (n, features), NaN where one is missing.
            codes: shape (n, streams); other columns are left alone.

        Returns:
            How many values were missing.
        """
        ...


def cut(grid: Grid, values: Floats, codes: Codes) -> int:
    """Cut feature by feature, with numpy's binary search."""
    columns = values.T.copy()
    missing = np.isnan(columns)
    places = missing.astype(np.intp)  # NaN sorts behind everything, and needs 1 more than what is above
    starts = grid.starts.tolist()
    for feature, column in enumerate(columns):
        places[feature] += grid.edges[starts[feature] : starts[feature + 1]].searchsorted(column)
    places += (grid.starts[:-1] + 2 * np.arange(len(columns)))[:, np.newaxis]
    codes[:, grid.columns] = grid.order.take(places).T
    return int(np.count_nonzero(missing))
