import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.cells import MISSING, RESERVED, numeric_cells
from detectors.compiled import compiled
from detectors.engine import ARRAYS
from detectors.grid import Cut, Grid

relaxed = settings(deadline=None, max_examples=80)

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1.7e308, -1.7e308]


@pytest.fixture(scope="module", params=["arrays", "compiled"])
def cut(request: pytest.FixtureRequest) -> Cut:
    return ARRAYS.cut if request.param == "arrays" else compiled().cut


def numbers(rng: np.random.Generator, kind: str, count: int) -> np.ndarray:
    if kind == "normal":
        return rng.normal(size=count)
    if kind == "few":
        return rng.integers(0, 3, count).astype(float)
    if kind == "constant":
        return np.full(count, 7.0)
    return np.full(count, np.nan)


@relaxed
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(st.sampled_from(["normal", "few", "constant", "nothing"]), max_size=5),
    count=st.integers(0, 40),
    wild=st.sampled_from([0.0, 0.3]),
)
def test_every_way_to_cut_gives_what_the_cells_of_each_feature_give(
    cut: Cut, seed: int, kinds: list[str], count: int, wild: float
) -> None:
    rng = np.random.default_rng(seed)
    cells = [numeric_cells(numbers(rng, kind, 200)) for kind in kinds]
    columns = rng.permutation(len(kinds) + 2)[: len(kinds)]
    values = np.stack([np.zeros(count), *(numbers(rng, kind, count) for kind in kinds)], axis=1)[:, 1:]  # strided
    edges = [edge for each in cells for edge in each.uppers]
    chosen = rng.random(values.shape) < wild
    values[chosen] = rng.choice([*SPECIAL, *edges], chosen.sum())
    codes = np.full((count, len(kinds) + 2), -1, dtype=np.intp)
    missing = cut(Grid.of(cells, columns.tolist()), values, codes)
    assert missing == np.isnan(values).sum()
    for feature, each in enumerate(cells):
        assert codes[:, columns[feature]].tolist() == each.encode(values[:, feature]).tolist()
        assert ((codes[:, columns[feature]] == each.size - RESERVED + MISSING) == np.isnan(values[:, feature])).all()
    others = np.setdiff1d(np.arange(len(kinds) + 2), columns)
    assert (codes[:, others] == -1).all()
