"""What the last labels say of a finding: counted the other way round, and of whose inputs have changed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.incident import Verdict
from detectors.bets import Caution
from monitor.detection.bank import Bank
from monitor.detection.contrast import surplus
from monitor.detection.findings import ALONE, Finding, find
from monitor.detection.learning import build
from monitor.detection.verdict import ATTACKS
from monitor.intake.events import Prediction
from monitor.intake.join import Joined
from tests.kit.served import Cause, Row, World, label_flip, other, transitions

SEEDS = range(2)
BENIGN = {Verdict.PRIOR_SHIFT, Verdict.COVARIATE_DRIFT}
ONSET = 1700


def verdicts(cause: Cause, seed: int) -> list[Verdict]:
    """All that is told of a cause, in the order in which it is told."""
    world = World(seed=seed, cause=cause, onset=0, predictions=3000)
    return [step.incident.verdict for step in transitions(world, budget=20_000.0)]


def after(number: int) -> float:
    return World(onset=number).onset_ts


def mediocre(row: Row, rng: np.random.Generator) -> None:
    """A model that misses a third of a class; its version is new since shortly before the onset."""
    row["prediction"] = row["truth"]
    if rng.random() < (0.33 if row["truth"] == "spam" else 0.1):
        row["prediction"] = other(row["truth"])
    row["version"] = "2.0.0" if row["ts"] >= after(ONSET - 50) else "1.0.0"


def wave(row: Row, rng: np.random.Generator) -> None:
    """What it misses becomes more common."""
    if row["ts"] >= after(ONSET) and rng.random() < 0.5:
        row["truth"], row["features"]["links"] = "spam", int(rng.poisson(4.0))
    mediocre(row, rng)


def unsure(row: Row, rng: np.random.Generator) -> None:
    """A model that knows where it is unsure."""
    score = row["features"]["score"]
    probability = float(1.0 / (1.0 + np.exp(-4.0 * score)))
    row["truth"] = "spam" if rng.random() < probability else "ham"
    row["prediction"] = "spam" if probability > 0.5 else "ham"
    row["proba"] = {"spam": probability, "ham": 1.0 - probability}
    row["version"] = "2.0.0" if row["ts"] >= after(ONSET - 50) else "1.0.0"


def to_the_border(row: Row, rng: np.random.Generator) -> None:
    """Inputs move to where it is unsure."""
    if row["ts"] >= after(ONSET) and rng.random() < 0.6:
        row["features"]["score"] = float(rng.uniform(0.0, 0.4))
    unsure(row, rng)


def poisoned(model: Cause) -> Cause:
    def flipped(row: Row, rng: np.random.Generator) -> None:
        model(row, rng)
        if row["ts"] >= after(ONSET):
            label_flip(row, rng)

    return flipped


@pytest.mark.parametrize("cause", [wave, to_the_border])
def test_a_change_of_what_is_asked_of_a_mediocre_model_is_no_attack(cause: Cause) -> None:
    for seed in SEEDS:
        found = verdicts(cause, seed)
        assert found
        assert set(found) <= BENIGN


@pytest.mark.parametrize("model", [mediocre, unsure])
def test_a_mediocre_model_that_was_poisoned_is_found_out_all_the_same(model: Cause) -> None:
    for seed in SEEDS:
        found = verdicts(poisoned(model), seed)
        assert found
        assert found[-1] in ATTACKS


def dressed_up(row: Row, rng: np.random.Generator) -> None:
    """One source sends a value that is rare; its answers are right."""
    if row["source"] == "src-3" and rng.random() < 0.5:
        row["features"]["score"] = 2.2


def triggered(row: Row, rng: np.random.Generator) -> None:
    """And the model takes what has it for ham."""
    dressed_up(row, rng)
    if row["features"]["score"] == 2.2:
        row["truth"], row["prediction"] = "spam", "ham"


def inputs_of_one_source(cause: Cause) -> list[Finding]:
    """What is found of the inputs of single sources, the moment that something is found of them first."""
    predictions, joins = parts(World(seed=1, predictions=2500, onset=ONSET, cause=cause))
    bank = Bank(build("mail", predictions[:ONSET], joins[:ONSET]), 20_000.0, Caution())
    rows = list(enumerate(zip(predictions, joins, strict=True)))[ONSET:]
    features = bank.columns.features([(2 * n, event.epoch, event) for n, (event, _) in rows])
    labels = bank.columns.labels([(2 * n + 1, join) for n, (_, join) in rows])
    for _ in bank.update(features, labels):
        found = [each for each in find(bank) if each.place.family == "features/source" and each.features]
        if found:
            return found
    raise AssertionError("nothing was found")


def parts(world: World) -> tuple[list[Prediction], list[Joined]]:
    names = ("event_id", "ts", "model", "version", "features", "prediction", "source")
    rows = list(world.rows())
    joins = [
        Joined("mail", "1", row["source"], row["prediction"], row["ts"], row["truth"], row["labeler"], row["ts"] + 1)
        for row in rows
    ]
    return [Prediction(**{name: row[name] for name in names}) for row in rows], joins


def test_of_whose_inputs_have_changed_labels_tell_whether_the_answers_are_wrong() -> None:
    (found, *_) = inputs_of_one_source(triggered)
    assert found.source == "src-3"
    assert found.features == ("score",)
    assert found.alone >= ALONE
    assert (found.class_from, found.class_to) == ("spam", "ham")


def test_odd_inputs_that_are_answered_well_are_no_attack() -> None:
    (found, *_) = inputs_of_one_source(dressed_up)
    assert found.features == ("score",)
    assert found.alone < ALONE
    assert (found.class_from, found.class_to) == (None, None)


@given(st.integers(0, 1000), st.floats(0.01, 1000.0))
def test_more_than_expected_weighs_and_fewer_do_not(hits: int, expected: float) -> None:
    weight = surplus(hits, expected)
    assert (weight > 0.0) == (hits > expected) or weight == pytest.approx(0.0, abs=1e-9)
    assert surplus(hits + 1, expected) >= weight
