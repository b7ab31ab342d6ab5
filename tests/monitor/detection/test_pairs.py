"""Pairs of features: which are watched, and that a change of how they go together is found and told as what it is."""

import numpy as np
import numpy.typing as npt
import pytest

from alerting.incident import Judgement, Verdict
from detectors.bets import Caution
from detectors.pairs import PAIR_CODES
from monitor.detection.companions import Companions
from monitor.detection.learning import build
from monitor.detection.lessons import Until
from monitor.detection.pairs import PAIRS
from monitor.detection.watch import Watch
from monitor.intake.events import Prediction, Value

Floats = npt.NDArray[np.float64]


def events(values: Floats, gap: int | None = None) -> list[Prediction]:
    """Served predictions, each a row of numeric features; every `gap`-th lacks the first one."""
    found = []
    for number, row in enumerate(values.tolist()):
        features: dict[str, Value] = {f"f{place:02d}": value for place, value in enumerate(row)}
        if gap is not None and number % gap == 0:
            features["f00"] = None
        found.append(
            Prediction(f"e{number}", 1e9 + 60.0 * number, "mail", "1", features, "spam" if row[0] > 0 else "ham")
        )
    return found


def normal(columns: int, seed: int, rho: float = 0.0, rows: int = 3000) -> Floats:
    """Standard normal features, of which the last two have a correlation."""
    drawn = np.random.default_rng(seed).standard_normal((rows, columns))
    drawn[:, -1] = rho * drawn[:, -2] + np.sqrt(1.0 - rho**2) * drawn[:, -1]
    return drawn


def judged(reference: Floats, later: Floats, budget: float = 10_000.0) -> Judgement | None:
    """The first judgement about what came after the reference."""
    baseline = build("mail", events(reference), [])
    watch = Watch("mail", budget=budget, baseline=baseline, until=Until(), caution=Caution(), companions=Companions(()))
    for event in events(later):
        watch.take(event, event.epoch + 1e6)
    return next((judgement for _, judgement in watch.update() if judgement is not None), None)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.8), (0.8, 0.0)])
def test_features_that_go_together_otherwise_are_covariate_drift(before: float, after: float) -> None:
    found = judged(normal(6, 1, before), normal(6, 2, after, rows=300))
    assert found is not None
    assert found.verdict is Verdict.COVARIATE_DRIFT
    assert found.attribution.features == ("f04", "f05")
    evidence = found.evidence[0]
    assert (evidence.family, evidence.stream) == ("features", "pair/f04~f05")
    assert evidence.observed == pytest.approx(after - before, abs=0.6)
    assert evidence.bound == pytest.approx(2.0 / np.sqrt(3000), abs=1e-4)


def test_features_that_go_together_as_before_are_nothing() -> None:
    assert judged(normal(6, 1, 0.8), normal(6, 2, 0.8)) is None


def test_of_very_many_pairs_those_that_seemed_to_go_together_by_luck_are_nothing() -> None:
    before, later = ((normal(200, seed, rows=rows) > 1.28).astype(float) for seed, rows in ((3, 2000), (4, 5000)))
    assert judged(before, later) is None


def test_where_a_feature_itself_has_changed_the_pairs_say_nothing_more() -> None:
    later = normal(6, 2, rows=300)
    later[:, 0] += 3.0
    found = judged(normal(6, 1), later)
    assert found is not None
    assert found.attribution.features == ("f00",)


def test_of_many_features_the_pairs_that_go_together_most_are_watched() -> None:
    drawn = normal(15, 1)
    drawn[:, 9] = drawn[:, 2] + 0.1 * drawn[:, 9]
    drawn[:, 4] = -drawn[:, 11] + 0.5 * drawn[:, 4]
    pairs = build("mail", events(drawn), []).pairs
    assert [(pair.first, pair.second) for pair in pairs[:2]] == [("f02", "f09"), ("f04", "f11")]
    assert len(pairs) == PAIRS


def test_what_is_constant_missing_or_text_makes_no_pair() -> None:
    drawn = normal(3, 1)
    drawn[:, 1] = 7.0
    reference = events(drawn, gap=3)
    for number, event in enumerate(reference):
        event.features["text"] = "ab"[number % 2]
    (pair,) = build("mail", reference, []).pairs
    assert (pair.first, pair.second) == ("f00", "f02")
    assert pair.reference.counts[PAIR_CODES - 1] == 1000
    assert build("mail", events(drawn[:, :1]), []).pairs == ()
