"""Groups of reference events: how often codes came, overall and in parts that show what varies by itself."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from detectors.bets import Reference

Groups = dict[str, dict[str, npt.NDArray[np.bool_]]]
"""Which events are in a group, shape (n,), by partition ("time", "hour", "source", "labeler") and group."""


def counted(
    codes: npt.NDArray[np.intp],
    size: int,
    groups: Groups,
    varies: float,
) -> Reference:
    """Count codes (shape (n,), below `size`), and in each group that has any."""

    def count(rows: npt.NDArray[np.intp]) -> tuple[int, ...]:
        return tuple(np.bincount(rows, minlength=size).tolist())

    return Reference(
        counts=count(codes),
        groups={
            partition: {group: count(codes[mask]) for group, mask in masks.items() if mask.any()}
            for partition, masks in groups.items()
        },
        dispersion=varies,
    )


def within(groups: Groups, rows: npt.NDArray[np.bool_]) -> Groups:
    """The same groups, of some of the rows."""
    return {partition: {name: mask[rows] for name, mask in masks.items()} for partition, masks in groups.items()}


def time_groups(times: npt.NDArray[np.float64]) -> Groups:
    """Blocks of time, and quarters of the day: by how much they differ is natural variation."""
    if times.size == 0:
        return {}
    began, ended = float(times.min()), float(times.max())
    blocks = int(np.clip((ended - began) / 21_600, 4, 16))
    block = np.minimum(((times - began) / max(ended - began, 1e-9) * blocks).astype(int), blocks - 1)
    quarter = (times % 86_400 // 21_600).astype(int)
    return {
        "time": {str(number): block == number for number in range(blocks)},
        "hour": {f"{number * 6:02d}": quarter == number for number in range(4)},
    }


def named(names: Sequence[str | None], wanted: tuple[str, ...]) -> dict[str, npt.NDArray[np.bool_]]:
    """The events of each wanted name."""
    column = np.array([name or "" for name in names], dtype=object)
    return {name: np.asarray(column == name, dtype=np.bool_) for name in wanted}


def frequent(names: Iterable[str | None], most: int) -> tuple[str, ...]:
    """The most frequent names, at most so many, in that order."""
    seen = Counter(name for name in names if name is not None)
    return tuple(name for name, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:most])
