"""River's detectors behind their door."""

import random

import pytest

from detectors.scalar import CATALOG, ScalarDetector

NUMERIC = [name for name, kind in CATALOG.items() if not kind.errors]
ERRORS = [name for name, kind in CATALOG.items() if kind.errors]
HARMFUL = [float("nan"), float("-inf"), 1e300]


def errors(rate: float, count: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [float(rng.random() < rate) for _ in range(count)]


def numbers(mean: float, count: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, 1.0) for _ in range(count)]


def sequences(name: str) -> tuple[list[float], list[float]]:
    """What is normal for a detector, and what is obviously something else."""
    if CATALOG[name].errors:
        return errors(0.05, 600, 1), errors(0.6, 400, 2)
    return numbers(0.0, 600, 1), numbers(4.0, 400, 2)


def detections(detector: ScalarDetector, values: list[float]) -> list[int]:
    return [place for place, value in enumerate(values) if detector.update(value)]


@pytest.mark.parametrize("name", CATALOG)
def test_an_obvious_change_is_detected_soon_after_it(name: str) -> None:
    detector = ScalarDetector(name)
    before, after = sequences(name)
    early = detections(detector, before)
    late = detections(detector, after)
    assert late
    assert late[0] < 200
    assert detector.detections == len(early) + len(late)
    assert len(early) <= 2


@pytest.mark.parametrize("harmful", HARMFUL)
@pytest.mark.parametrize("name", NUMERIC)
def test_a_harmful_value_before_a_change_does_not_hide_the_change(name: str, harmful: float) -> None:
    before, after = sequences(name)
    clean, hit = ScalarDetector(name), ScalarDetector(name)
    expected = detections(clean, before), detections(clean, after)
    assert (detections(hit, before), hit.update(harmful), detections(hit, after)) == (expected[0], False, expected[1])
    assert (hit.refused, clean.refused) == (1, 0)


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_detector_takes_1_for_an_error(name: str) -> None:
    rising, falling = ScalarDetector(name), ScalarDetector(name)
    assert detections(rising, errors(0.05, 600, 1) + errors(0.6, 400, 2))
    assert not detections(falling, errors(0.6, 600, 1) + errors(0.05, 400, 2))


def test_kswin_draws_the_same_in_every_run() -> None:
    values = numbers(0.0, 300, 3) + numbers(1.0, 200, 4)
    first, second, other = (ScalarDetector("kswin", params) for params in ({}, {}, {"seed": 1}))
    found = detections(first, values)
    assert found == detections(second, values)
    assert found != detections(other, values)


def test_parameters_reach_the_detector() -> None:
    values = numbers(0.0, 400, 5) + numbers(1.0, 400, 6)
    found = [
        detections(ScalarDetector("page_hinkley", {"threshold": threshold}), values) for threshold in (20, 80, 1e6)
    ]
    assert [len(each) > 0 for each in found] == [True, True, False]
    assert found[0][0] < found[1][0]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("adwin", {"bogus": 1}),
        ("adwin", {"delta": "small"}),
        ("page_hinkley", {"mode": "sideways"}),
        ("page_hinkley", {"threshold": "high"}),
        ("kswin", {"alpha": 5}),
        ("kswin", {"window": 3}),
        ("kswin", {"window_size": 10, "stat_size": 30}),
        ("ddm", {"warm_start": "x"}),
        ("ddm", {"drift_threshold": None}),
        ("eddm", {"alpha": None}),
        ("fhddm", {"sliding_window_size": 0}),
        ("fhddm", {"confidence_level": 0}),
        ("fhddm", {"short_window_size": 500}),
    ],
)
def test_parameters_that_river_cannot_use_are_refused_at_once(name: str, params: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: ."):
        ScalarDetector(name, params)


def test_a_panic_in_rust_is_a_value_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"^adwin: "):
        ScalarDetector("adwin", {"clock": 0})
    capfd.readouterr()  # river prints a traceback of its own


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no such detector: cusum; there are adwin, page_hinkley"):
        ScalarDetector("cusum")
