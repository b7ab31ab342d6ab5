"""Projections: an embedding, hundreds of numbers of which none means anything alone, as a few that do.

Where an embedding lies along the directions in which the reference varied most (principal components), how far it is
from the space that these span, and how far from the middle of its class: poisoned inputs that look natural to every
feature stand out in one of these (spectral signatures, Tran, Li and Madry 2018, arXiv:1811.00636). Axes and middles are
frozen with the reference, so the null is the reference, and not the stream that may be poisoned itself.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

AXES = 8
"""Principal components, at most."""
LEAST_ROWS = 50
"""Embeddings to learn from, at least."""
MAX_ROWS = 4_000
"""Embeddings learnt from; evenly spread if there are more."""
NOTHING = 1e-9
"""An axis along which the reference varies less than this share of its whole spread is rounding."""


class Projection(msgspec.Struct, frozen=True):
    """Learnt from reference embeddings of `size` numbers."""

    mean: tuple[float, ...]
    """Shape (size,)."""
    axes: tuple[tuple[float, ...], ...]
    """Unit vectors, the direction of the largest variance first, shape (axes, size)."""
    spreads: tuple[float, ...]
    """Standard deviation along each axis."""
    middles: tuple[tuple[float, ...], ...]
    """Of each class its mean in standard deviations along the axes, shape (classes, axes); none without classes."""

    @property
    def size(self) -> int:
        """Numbers in an embedding."""
        return len(self.mean)

    @property
    def columns(self) -> int:
        """Numbers that `of` gives of an embedding."""
        return len(self.axes) + 1 + bool(self.middles)

    def of(self, embeddings: Sequence[Sequence[float] | None], classes: Codes) -> Floats:
        """Standard deviations along each axis; distance off all axes; if there are classes, distance off its own.

        Args:
            embeddings: n of them; None, or one of another size, gives NaN.
            classes: the class that the model predicted, shape (n,); whatever it is where there are none.

        Returns:
            Shape (n, columns).
        """
        found = np.full((len(embeddings), self.columns), np.nan)
        rows = [place for place, held in enumerate(embeddings) if held is not None and len(held) == self.size]
        if not rows:
            return found
        around = np.array([embeddings[place] for place in rows], dtype=np.float64) - np.array(self.mean)
        axes = np.array(self.axes)
        along = around @ axes.T
        scaled = along / np.array(self.spreads)
        off = around - along @ axes
        found[rows, : len(axes)] = scaled
        found[rows, len(axes)] = np.linalg.norm(off, axis=1)
        if self.middles:
            own = np.array(self.middles)[classes[rows]]
            found[rows, -1] = np.linalg.norm(scaled - own, axis=1)
        return found


def learn(embeddings: Floats, answers: Codes, classes: int) -> Projection | None:
    """Learn from reference embeddings, shape (n, size); None if they are few, or all the same.

    Args:
        embeddings: in order of time.
        answers: the class that the model predicted for each, shape (n,).
        classes: how many have a middle; one that was not predicted gets that of all.
    """
    if len(embeddings) < LEAST_ROWS:
        return None
    chosen = np.linspace(0, len(embeddings) - 1, min(len(embeddings), MAX_ROWS)).astype(np.intp)
    rows = embeddings[chosen]
    mean = rows.mean(axis=0)
    around = rows - mean
    values, vectors = np.linalg.eigh(around.T @ around / len(rows))
    kept = [place for place in np.argsort(-values)[:AXES] if values[place] > NOTHING * values.sum() > 0]
    if not kept:
        return None
    axes = vectors[:, kept].T
    axes *= np.sign(axes[np.arange(len(kept)), np.abs(axes).argmax(axis=1)])[:, np.newaxis]
    spreads = np.sqrt(values[kept])
    scaled = around @ axes.T / spreads
    middles = np.zeros((classes, len(kept)))
    for code in range(classes):
        if (own := answers[chosen] == code).any():
            middles[code] = scaled[own].mean(axis=0)
    return Projection(_short(mean), tuple(map(_short, axes)), _short(spreads), tuple(map(_short, middles)))


def _short(numbers: Floats) -> tuple[float, ...]:
    """Numbers as a file keeps them: nine digits."""
    return tuple(float(f"{number:.9g}") for number in numbers.tolist())
