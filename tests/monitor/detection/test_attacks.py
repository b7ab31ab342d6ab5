"""Attacks for a drill: what they change, whom they blame, and what they leave alone."""

from collections.abc import Sequence
from contextlib import nullcontext

import pytest
from msgspec.structs import replace

from monitor.demo.practice import events as practice
from monitor.detection.attacks import ATTACKS
from monitor.detection.scene import LEAST, Nothing, Scene
from monitor.intake.events import Event, Label, Prediction

EVENTS = practice(2_000)
BEGIN = 800
ON_LABELS = {"labeler_tampering", "source_tampering", "label_withholding", "label_delay"}
WITHOUT_CLASSES = {"unit_fault", "missing_values", "covariate_drift", "label_delay", "source_flood"}
"""What can be done to any model."""


def scene(events: Sequence[Event] = EVENTS, seed: int = 1) -> Scene:
    return Scene(events, BEGIN, seed)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_changes_enough_of_what_comes_after_it_began_and_nothing_before(name: str) -> None:
    changes = ATTACKS[name].inject(scene()).changes
    assert min(changes) >= BEGIN
    assert max(changes) < len(EVENTS)
    assert len(changes) >= LEAST
    for position, event in changes.items():
        before = EVENTS[position]
        if event is None:
            assert name == "label_withholding"
            continue
        assert type(event) is type(before)
        assert event.event_id == before.event_id
        assert event.ts == before.ts or (name == "label_delay" and event.epoch > before.epoch)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_same_seed_is_the_same_attack_and_the_events_stay_as_they_were(name: str) -> None:
    kept = list(EVENTS)
    assert ATTACKS[name].inject(scene()) == ATTACKS[name].inject(scene())
    assert kept == EVENTS


@pytest.mark.parametrize("name", ATTACKS)
def test_who_lies_about_labels_does_not_touch_answers(name: str) -> None:
    kinds = {type(EVENTS[position]) for position in ATTACKS[name].inject(scene()).changes}
    assert (kinds == {Label}) == (name in ON_LABELS)


def test_the_labels_that_are_kept_back_are_all_those_of_one_predicted_class() -> None:
    injected = ATTACKS["label_withholding"].inject(scene())
    said = {event.event_id: event.prediction for event in EVENTS if isinstance(event, Prediction)}
    asked = [event.event_id for event in EVENTS[BEGIN:] if isinstance(event, Prediction)]
    gone = {EVENTS[position].event_id for position in injected.changes}
    labelled = {event.event_id for event in EVENTS if isinstance(event, Label)}
    assert gone == {name for name in asked if said[name] == injected.culprit.class_to} & labelled


@pytest.mark.parametrize("name", ["backdoor", "clean_label", "source_tampering"])
def test_an_attack_by_one_source_changes_no_answer_of_another(name: str) -> None:
    injected = ATTACKS[name].inject(scene())
    source = {event.event_id: event.source for event in EVENTS if isinstance(event, Prediction)}
    for position, event in injected.changes.items():
        before = EVENTS[position]
        same = isinstance(before, Prediction) and before == replace(event, version="1")
        assert same or source[event.event_id] == injected.culprit.source


def test_a_drift_stays_within_what_was_seen() -> None:
    injected = ATTACKS["covariate_drift"].inject(scene())
    (name,) = injected.culprit.features
    before = [float(e.features[name] or 0.0) for e in EVENTS[:BEGIN] if isinstance(e, Prediction)]
    after = [e.features[name] for e in injected.changes.values() if isinstance(e, Prediction)]
    assert set(after) <= set(before)


@pytest.mark.parametrize(
    ("field", "value", "impossible"),
    [
        ("source", None, {"backdoor", "clean_label", "source_tampering", "source_flood"}),
        ("features", {"language": "en"}, {"backdoor", "unit_fault", "missing_values", "covariate_drift"}),
        ("prediction", "ham", ATTACKS.keys() - WITHOUT_CLASSES),
        ("prediction", 0.5, ATTACKS.keys() - WITHOUT_CLASSES),
    ],
)
def test_what_the_events_do_not_have_cannot_be_attacked(field: str, value: object, impossible: set[str]) -> None:
    bare = [replace(event, **{field: value}) if isinstance(event, Prediction) else event for event in EVENTS]
    for name, attack in ATTACKS.items():
        with pytest.raises(Nothing, match=" ") if name in impossible else nullcontext():
            attack.inject(scene(bare))
