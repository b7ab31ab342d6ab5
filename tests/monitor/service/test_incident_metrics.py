"""What is shown of incidents while they fire: how sure they are, what speaks against them, and how far they reach."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from alerting.incident import Attribution, Incident, Radius, Served, Transition
from monitor.service.observer import Observer
from monitor.telemetry.metrics import Metrics
from tests.kit.incidents import incident, transitions


class Shown:
    """An observer, and what a scrape gives after it was told of what fires."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.observer = Observer(Metrics(self.registry))

    def told(self, *firing: Incident) -> None:
        pipeline: Any = SimpleNamespace(incidents=SimpleNamespace(firing=lambda: firing))
        self.observer.told([], [pipeline])

    def series(self, name: str) -> list[tuple[dict[str, str], float]]:
        families = text_string_to_metric_families(generate_latest(self.registry).decode())
        found = [sample for family in families for sample in family.samples if sample.name == f"tocsin_{name}"]
        return [({k: v for k, v in s.labels.items() if k not in {"incident", "model"}}, s.value) for s in found]


@pytest.fixture
def shown() -> Shown:
    return Shown()


def test_how_sure_a_verdict_is_and_what_speaks_against_it(shown: Shown) -> None:
    shown.told(incident(confidence=0.42, against=("labels do not confirm it yet", "one stream alone says so yet")))
    assert shown.series("incident_confidence_ratio") == [({}, 0.42)]
    assert shown.series("incident_objection_rank") == [
        ({"objection": "labels do not confirm it yet"}, 1.0),
        ({"objection": "one stream alone says so yet"}, 2.0),
    ]


def test_what_is_no_more_an_objection_is_gone_and_so_is_what_does_not_fire(shown: Shown) -> None:
    shown.told(incident(against=("labels do not confirm it yet",)))
    shown.told(incident(confidence=0.95, against=()))
    assert shown.series("incident_objection_rank") == []
    assert shown.series("incident_confidence_ratio") == [({}, 0.95)]
    shown.told()
    assert shown.series("incident_confidence_ratio") == shown.series("incident_reach_events") == []


def test_how_far_it_reaches_by_version_and_by_whom_it_names(shown: Shown) -> None:
    radius = Radius(versions=(Served("1.2.0", 1243), Served("1.1.0", 31)), inputs=210, labels=140)
    shown.told(incident(radius=radius, attribution=Attribution(source="src-3", labeler="lab-2")))
    assert shown.series("incident_reach_events") == [
        ({"kind": "predictions", "name": "1.2.0"}, 1243.0),
        ({"kind": "predictions", "name": "1.1.0"}, 31.0),
        ({"kind": "inputs", "name": "src-3"}, 210.0),
        ({"kind": "labels", "name": "lab-2"}, 140.0),
    ]


def test_labels_for_a_source_have_its_name(shown: Shown) -> None:
    shown.told(incident(radius=Radius(labels=9), attribution=Attribution(source="src-3")))
    assert shown.series("incident_reach_events") == [({"kind": "labels", "name": "src-3"}, 9.0)]


def test_what_is_seen_and_not_inferred_has_neither(shown: Shown) -> None:
    shown.told(incident(confidence=None, against=(), radius=None))
    for name in ("confidence_ratio", "objection_rank", "reach_events"):
        assert shown.series(f"incident_{name}") == []
    assert len(shown.series("incident_opened_timestamp_seconds")) == 1


@given(steps=st.lists(transitions(), max_size=3))
def test_whatever_an_incident_holds_can_be_scraped(steps: list[Transition]) -> None:
    shown = Shown()
    shown.told(*(step.incident for step in steps))
    told = {step.incident.id for step in steps if step.incident.confidence is not None}
    assert len(shown.series("incident_confidence_ratio")) >= len(told)
