"""Companions are fed what the configuration names, and counted."""

from typing import Any

import pytest
from pydantic import ValidationError

from monitor.detection.companions import CompanionConfig, Companions
from monitor.intake.events import Features, Prediction
from monitor.intake.join import Joined


def companion(detector: str = "page_hinkley", **more: Any) -> CompanionConfig:
    return CompanionConfig(detector=detector, **more)


def prediction(**features: Any) -> Prediction:
    return Prediction("e", 1e9, "m", "1", features, "spam")


def joined(label: Any, predicted: Any = "spam") -> Joined:
    return Joined("m", "1", None, predicted, 1e9, label, None, 1e9)


def test_a_feature_that_moves_is_detected_and_counted() -> None:
    companions = Companions([companion(signal="feature/x"), companion("adwin", signal="feature/y")])
    for number in range(400):
        companions.take([prediction(x=float(number >= 200) * 30, y=1.0)])
    assert companions.detections.keys() == {("page_hinkley", "feature/x")}


def test_features_alone_are_fed_too() -> None:
    companions = Companions([companion(signal="feature/x")])
    for number in range(400):
        companions.take([Features("f", 1e9, "m", {"x": float(number >= 200) * 30})])
    assert companions.detections["page_hinkley", "feature/x"] >= 1


@pytest.mark.parametrize("value", [None, "many", "12", float("nan")])
def test_what_is_no_number_is_skipped_and_hides_nothing(value: Any) -> None:
    companions, clean = Companions([companion(signal="feature/x")]), Companions([companion(signal="feature/x")])
    for number in range(400):
        companions.take([prediction(x=value)])
        companions.take([prediction(other=1.0)])
        for each in (companions, clean):
            each.take([prediction(x=float(number >= 200) * 30)])
    assert companions.detections == clean.detections
    assert companions.detections


def test_errors_are_labels_that_contradict_the_prediction() -> None:
    companions = Companions([companion("ddm"), companion("fhddm", signal="error")])
    for number in range(600):
        companions.take_label(joined("ham" if number % (20 if number < 400 else 2) == 0 else "spam"))
    assert companions.detections.keys() == {("ddm", "error"), ("fhddm", "error")}


def test_spellings_of_one_class_are_no_error() -> None:
    companions = Companions([companion("ddm")])
    for number in range(600):
        companions.take_label(joined([1, 1.0, "1"][number % 3], predicted="1"))
    assert not companions.detections


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"detector": "cusum"}, "no such detector; there are adwin"),
        ({"detector": "ddm", "signal": "features/x"}, "expected `error` or `feature/<name>`"),
        ({"detector": "ddm", "signal": "feature/"}, "expected `error` or `feature/<name>`"),
        ({"detector": "ddm", "sgnal": "error"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_section_is_refused(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CompanionConfig.model_validate(wrong)


def test_parameters_that_river_refuses_are_seen_when_companions_are_made() -> None:
    with pytest.raises(ValueError, match=r"^adwin: "):
        Companions([companion("adwin", params={"bogus": 1})])
