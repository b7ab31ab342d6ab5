"""Embeddings: what no feature shows is found in them, and who sends it is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from alerting.incident import Judgement, Verdict
from detectors.bets import Caution
from detectors.cells import ABSENT, RESERVED
from monitor.detection.baseline import OFF_AXES, OFF_CLASS, Baseline, describe, embedded, load, numeric, save
from monitor.detection.columns import Columns
from monitor.detection.companions import Companions
from monitor.detection.learning import build
from monitor.detection.lessons import Until
from monitor.detection.watch import Watch
from monitor.intake.events import ClassLabel, Features, Prediction

Floats = npt.NDArray[np.float64]
SIZE = 32
CLASSES = ("ham", "spam")
CENTRES = np.random.default_rng(0).standard_normal((2, SIZE)) * 2
Change = Callable[[Prediction, np.random.Generator], Prediction]


def same(event: Prediction, _random: np.random.Generator) -> Prediction:
    return event


def events(rows: int, seed: int, change: Change = same) -> list[Prediction]:
    """Predictions of a model that looks at nothing but the embedding; eight sources."""
    random, found = np.random.default_rng(seed), []
    for number in range(rows):
        said = int(random.integers(2))
        embedding = (CENTRES[said] + random.standard_normal(SIZE)).tolist()
        source = f"source-{random.integers(8)}"
        ts = 1e9 + 60.0 * number
        event = Prediction(f"e{number}", ts, "mail", "1", {}, CLASSES[said], source, embedding=embedding)
        found.append(change(event, random))
    return found


def remade(event: Prediction, embedding: list[float] | None, prediction: ClassLabel | None = None) -> Prediction:
    answer = event.prediction if prediction is None else prediction
    return Prediction(
        event.event_id, event.ts, event.model, event.version, event.features, answer, event.source, embedding=embedding
    )


def trigger(event: Prediction, random: np.random.Generator) -> Prediction:
    """One source sends spam with a pattern that no reference had, and it passes as ham."""
    if event.source != "source-3" or random.random() < 0.5:
        return event
    pattern = CENTRES[1] + random.standard_normal(SIZE) + 6.0 * (np.arange(SIZE) % 4 == 0)
    return remade(event, pattern.tolist(), "ham")


def drift(event: Prediction, _random: np.random.Generator) -> Prediction:
    return remade(event, (np.array(event.embedding) + 0.5).tolist())


def without(event: Prediction, random: np.random.Generator) -> Prediction:
    return remade(event, None if random.random() < 0.3 else event.embedding)


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return build("mail", events(2000, 1), [])


def judged(baseline: Baseline, change: Change) -> Judgement | None:
    """The last judgement about what came after the reference."""
    watch = Watch(
        "mail", budget=10_000.0, baseline=baseline, until=Until(), caution=Caution(), companions=Companions(())
    )
    for event in events(1000, 2, change):
        watch.take(event, event.epoch + 1e6)
    return next(reversed([judgement for _, judgement in watch.update() if judgement is not None]), None)


def test_embeddings_as_they_were_are_nothing(baseline: Baseline) -> None:
    assert judged(baseline, same) is None


def test_a_trigger_that_shows_in_the_embedding_alone_is_a_backdoor_of_its_source(baseline: Baseline) -> None:
    found = judged(baseline, trigger)
    assert found is not None
    assert found.verdict is Verdict.BACKDOOR
    assert found.attribution.source == "source-3"
    assert found.attribution.class_to == "ham"


def test_embeddings_that_move_for_everybody_are_covariate_drift(baseline: Baseline) -> None:
    found = judged(baseline, drift)
    assert found is not None
    assert found.verdict is Verdict.COVARIATE_DRIFT
    assert set(found.attribution.features) <= set(embedded(baseline.projection))


def test_embeddings_that_cease_to_come_are_a_data_fault(baseline: Baseline) -> None:
    found = judged(baseline, without)
    assert found is not None
    assert found.verdict is Verdict.DATA_FAULT


def test_an_embedding_of_another_size_is_invalid_and_an_event_without_prediction_has_none(baseline: Baseline) -> None:
    columns = Columns(baseline)
    whole = events(1, 3)[0]
    assert whole.embedding is not None
    rows = [whole, remade(whole, whole.embedding[1:]), Features("f", 1e9, "mail", {})]
    found = columns.features((number, 1e9, row) for number, row in enumerate(rows))
    assert found.invalid == 1
    for name in embedded(baseline.projection):
        regular = numeric(baseline.features[name]).size - RESERVED
        codes = found.codes[:, columns.names.index(name)] - regular
        assert codes[0] < 2
        assert codes[1] == 2  # missing
        assert codes[2] == ABSENT


def test_of_a_regression_model_no_class_is_asked() -> None:
    reference = [remade(event, event.embedding, number / 7) for number, event in enumerate(events(300, 1))]
    found = build("mail", reference, [])
    assert OFF_AXES in found.features
    assert OFF_CLASS not in found.features
    assert judged(found, same) is not None  # that model would not say "ham"


def test_a_baseline_with_a_projection_is_kept_and_described(baseline: Baseline, tmp_path: Path) -> None:
    save(baseline, tmp_path / "b.json")
    assert load(tmp_path / "b.json") == baseline
    assert describe(baseline)["embedding"] == SIZE
    assert describe(baseline)["features"] == {"numeric": 0, "categorical": 0}
