"""Who asks, asks for more of the same: events of a session are alike, and say hardly more than one of them."""

from typing import Any

import numpy as np
import pytest

from tests.kit.served import Cause, Row, World, label_flip, transitions

SEEDS = range(2)
PREDICTIONS = 3500


def sessions() -> Cause:
    """Up to a dozen events alike from one source, then the next one; answers follow a rule that is not linear."""
    kept: dict[str, Any] = {}

    def ask(row: Row, rng: np.random.Generator) -> None:
        features = row["features"]
        if not kept.get("left"):
            kept.update(left=int(rng.integers(1, 14)), source=row["source"], features=dict(features))
        kept["left"] -= 1
        features |= kept["features"]
        features["score"] += float(rng.normal(0.0, 0.02))
        odd = features["age"] > 1.0 and features["size"] > 2.0
        row["source"], row["truth"] = kept["source"], "spam" if (features["score"] > 0) != odd else "ham"
        row["prediction"] = row["truth"]

    return ask


def rare_names(row: Row, rng: np.random.Generator) -> None:
    """A feature with so many values that no reference has them all."""
    row["features"]["lang"] = f"name-{int(rng.pareto(0.7) * 10)}"


def incidents(cause: Cause, seed: int) -> list[str]:
    world = World(seed=seed, cause=cause, onset=0, predictions=PREDICTIONS)
    return [step.incident.verdict for step in transitions(world, budget=20_000.0)]


@pytest.mark.parametrize("seed", SEEDS)
def test_sessions_are_no_attack(seed: int) -> None:
    assert incidents(sessions(), seed) == []


def test_a_flip_among_sessions_is_found() -> None:
    ask = sessions()

    def flipped(row: Row, rng: np.random.Generator) -> None:
        ask(row, rng)
        if row["ts"] >= World(onset=2_000).onset_ts:
            label_flip(row, rng)

    assert "label_flip" in incidents(flipped, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_name_that_is_new_is_no_fault_where_many_came_only_once(seed: int) -> None:
    assert incidents(rare_names, seed) == []
