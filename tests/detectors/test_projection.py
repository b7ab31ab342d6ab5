"""Projections: few numbers that keep what an embedding is about, frozen, and the same for the same events."""

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.projection import AXES, LEAST_ROWS, Projection, learn

Floats = npt.NDArray[np.float64]
SIZE = 24
CENTRES = np.random.default_rng(0).standard_normal((3, SIZE)) * 4


def clustered(rows: int, seed: int) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Embeddings around the centres of three classes."""
    random = np.random.default_rng(seed)
    classes = random.integers(3, size=rows)
    return CENTRES[classes] + random.standard_normal((rows, SIZE)), classes


def learnt(rows: int = 2000, seed: int = 1) -> Projection:
    found = learn(*clustered(rows, seed), classes=3)
    assert found is not None
    return found


def test_of_the_reference_each_axis_has_mean_0_and_spread_1_and_the_first_varies_most() -> None:
    embeddings, classes = clustered(2000, 1)
    projection = learnt()
    values = projection.of(embeddings.tolist(), classes)
    assert values.shape == (2000, projection.columns) == (2000, AXES + 2)
    assert values[:, :AXES].mean(axis=0) == pytest.approx(0.0, abs=1e-6)
    assert values[:, :AXES].std(axis=0) == pytest.approx(1.0, abs=1e-6)
    assert list(projection.spreads) == sorted(projection.spreads, reverse=True)


def test_what_is_off_all_axes_and_what_is_of_another_class_stands_out() -> None:
    projection = learnt()
    embeddings, classes = clustered(300, 2)
    usual = projection.of(embeddings.tolist(), classes)
    across = np.random.default_rng(3).standard_normal(SIZE)
    axes = np.array(projection.axes)
    across -= across @ axes.T @ axes
    off = projection.of((embeddings + 20 * across / np.linalg.norm(across)).tolist(), classes)
    assert off[:, :AXES] == pytest.approx(usual[:, :AXES], abs=1e-6)
    assert off[:, AXES].min() > usual[:, AXES].max()
    other = projection.of(embeddings.tolist(), (classes + 1) % 3)
    assert np.median(other[:, -1]) > 1.5 * np.median(usual[:, -1])


def test_none_and_another_size_are_missing_and_change_nothing_else() -> None:
    projection = learnt()
    embeddings, classes = clustered(4, 2)
    rows = embeddings.tolist()
    values = projection.of([rows[0], None, rows[2][:-1], rows[3]], classes)
    assert np.isnan(values).all(axis=1).tolist() == [False, True, True, False]
    assert values[[0, 3]] == pytest.approx(projection.of(rows, classes)[[0, 3]])
    assert projection.of([], classes[:0]).shape == (0, projection.columns)


def test_without_classes_there_is_no_distance_off_them() -> None:
    embeddings, _ = clustered(200, 1)
    projection = learn(embeddings, np.zeros(200, dtype=np.intp), classes=0)
    assert projection is not None
    assert projection.of(embeddings.tolist(), np.zeros(200, dtype=np.intp)).shape == (200, AXES + 1)


def test_few_embeddings_or_always_the_same_one_teach_nothing() -> None:
    embeddings, classes = clustered(LEAST_ROWS, 1)
    assert learn(embeddings, classes, 3) is not None
    assert learn(embeddings[1:], classes[1:], 3) is None
    assert learn(np.full((100, SIZE), 3.25), np.zeros(100, dtype=np.intp), 1) is None


@given(seed=st.integers(0, 2**32 - 1), dimensions=st.integers(1, 6))
def test_there_are_as_many_axes_as_directions_that_vary(seed: int, dimensions: int) -> None:
    random = np.random.default_rng(seed)
    flat = random.standard_normal((200, dimensions)) @ random.standard_normal((dimensions, SIZE))
    projection = learn(flat, np.zeros(200, dtype=np.intp), 1)
    assert projection is not None
    assert len(projection.axes) <= dimensions
    again = learn(flat, np.zeros(200, dtype=np.intp), 1)
    assert again == projection
    assert msgspec.json.decode(msgspec.json.encode(projection), type=Projection) == projection
