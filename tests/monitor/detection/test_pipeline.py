"""The main path: records in any batches, from good and bad producers, for any number of models."""

from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.incident import Change, Problem, Transition, Verdict
from alerting.incidents import Incidents, incident_id
from detectors.bets import Caution
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.pipeline import WORTH, Pipeline
from monitor.detection.watch import Watch
from monitor.intake.decode import MAX_SKEW, DecodeError, Decoder, DecodeReason
from monitor.intake.join import Join
from monitor.intake.source import Partition, Record
from tests.kit.served import (
    BEGAN,
    PARTITION,
    Row,
    World,
    covariate_drift,
    label_flip,
    make_pipeline,
    nulls,
    records,
    transitions,
    unit_fault,
)

SMALL: dict[str, Any] = {"budget": 500.0, "until": Until(events=700)}


def raw(*values: bytes, partition: Partition = PARTITION, start: int = 0, timestamp: float = 0.0) -> list[Record]:
    return [Record(partition, offset, value, timestamp) for offset, value in enumerate(values, start)]


def prediction(event_id: str = "e1", **changes: Any) -> dict[str, Any]:
    event = {"kind": "prediction", "event_id": event_id, "ts": BEGAN, "model": "mail", "version": "1"}
    return event | {"features": {"x": 1.0}, "prediction": "ham"} | changes


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 1600), max_size=10), st.integers(0, 50))
def test_how_records_are_polled_does_not_matter(cuts: list[int], seed: int) -> None:
    world = World(seed=seed, predictions=800, onset=500, cause=[label_flip, unit_fault, nulls][seed % 3])
    stream = records(world.events())
    whole, parted = make_pipeline(**SMALL), make_pipeline(**SMALL)
    expected = whole.process(stream)
    edges = [0, *sorted(cuts), len(stream)]
    found = [step for low, high in pairwise(edges) for step in parted.process(stream[low:high])]
    assert found == expected
    assert parted.watches["mail"].dump() == whole.watches["mail"].dump()
    assert parted.incidents.firing() == whole.incidents.firing()
    assert parted.read == whole.read == len(stream)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.booleans(), min_size=17, max_size=17), st.integers(0, 50))
def test_when_events_are_worked_through_does_not_matter(reports: list[bool], seed: int) -> None:
    world = World(seed=seed, predictions=800, onset=500, cause=[label_flip, unit_fault, nulls][seed % 3])
    stream = records(world.events())
    whole, late = make_pipeline(**SMALL), make_pipeline(**SMALL)
    expected = whole.process(stream)
    found = []
    for number, due in enumerate(reports):
        late.take(stream[number * 100 : (number + 1) * 100])
        if due:
            found += late.report()
    assert found + late.report() == expected
    assert late.watches["mail"].dump() == whole.watches["mail"].dump()
    assert late.report() == []


def test_few_events_of_many_models_are_thin() -> None:
    pipeline = make_pipeline(**SMALL)
    assert not pipeline.thin
    pipeline.take(records([prediction(f"e{n}", model=f"m{n % 10}") for n in range(10 * WORTH - 1)]))
    assert pipeline.thin
    pipeline.take(records([prediction("last", model="m0")]))
    assert not pipeline.thin
    pipeline.report()
    assert not pipeline.thin


def test_models_that_share_a_stream_do_not_touch_each_other() -> None:
    worlds = [
        World(seed=1, predictions=800, onset=500, cause=unit_fault, model="a"),
        World(seed=2, predictions=800, model="b"),
        World(seed=3, predictions=800, onset=600, cause=nulls, model="c"),
    ]
    mixed = sorted((event for world in worlds for event in world.events()), key=lambda event: float(event["ts"]))
    found = make_pipeline(**SMALL).process(records(mixed))
    assert {step.incident.model for step in found} == {"a", "c"}
    for world in worlds:
        assert [step for step in found if step.incident.model == world.model] == transitions(world, **SMALL)


def test_an_incident_says_which_event_opened_it() -> None:
    world = World(seed=4, predictions=800, onset=500, cause=unit_fault)
    step = transitions(world, **SMALL)[0]
    assert (step.change, step.number, step.incident.problem) == (Change.OPENED, 1, Problem.DETECTION)
    assert step.incident.id == incident_id("mail", Problem.DETECTION, step.incident.event_index)
    assert step.incident.opened_at >= world.onset_ts
    assert step.incident.onset.low <= step.incident.onset.ts <= step.incident.onset.high <= step.incident.opened_at


def test_bad_records_are_handed_over_and_hide_nothing() -> None:
    world = World(seed=5, predictions=800, onset=500, cause=unit_fault)
    good = records(world.events())
    bad = [b"", b"{", b"null", b"[1]", b'{"kind":"prediction"}', b'{"kind":"prediction","ts":NaN}', b"\xff"]
    mixed: list[Record] = []
    for place, record in enumerate(good):
        if place % 50 == 0:
            mixed.append(Record(PARTITION, len(mixed), bad[place // 50 % len(bad)], 0.0))
        mixed.append(record._replace(offset=len(mixed)))
    refused: list[tuple[Record, DecodeError]] = []
    pipeline = make_pipeline(**SMALL, reject=lambda record, error: refused.append((record, error)))
    assert pipeline.process(mixed) == transitions(world, **SMALL)
    assert [record.value for record, _ in refused] == [bad[place // 50 % len(bad)] for place in range(0, len(good), 50)]
    assert pipeline.offsets == {PARTITION: len(mixed)}
    assert pipeline.read == len(mixed)


def test_a_tombstone_is_handed_over_with_its_reason() -> None:
    refused: list[DecodeReason] = []
    pipeline = make_pipeline(reject=lambda _record, error: refused.append(error.reason))
    assert pipeline.process([Record(PARTITION, 0, None, 0.0)]) == []
    assert refused == [DecodeReason.TOMBSTONE]


def test_offsets_are_the_next_of_each_partition() -> None:
    pipeline = make_pipeline(reject=lambda _record, _error: None)
    other = Partition("events", 1)
    pipeline.process([*raw(b"{}", b"{}", start=7), *raw(b"{}", partition=other, start=40)])
    pipeline.process(raw(b"{}", start=12))
    assert pipeline.offsets == {PARTITION: 13, other: 41}


@pytest.mark.parametrize(("ahead", "taken"), [(MAX_SKEW, True), (MAX_SKEW + 1, False)])
def test_an_event_far_ahead_of_its_record_is_refused(ahead: float, taken: bool) -> None:
    refused: list[DecodeReason] = []
    pipeline = make_pipeline(reject=lambda _record, error: refused.append(error.reason))
    value = msgspec.json.encode(prediction(ts=BEGAN + ahead))
    pipeline.process(raw(value, timestamp=BEGAN))
    assert (pipeline.join.now > 0) == taken
    assert refused == ([] if taken else [DecodeReason.BAD_TIMESTAMP])


def test_a_repeated_prediction_counts_once() -> None:
    pipeline = make_pipeline()
    pipeline.process(records([prediction(), prediction(ts=BEGAN + 5), prediction("e2")]))
    assert pipeline.watches["mail"].events == 2
    assert pipeline.join.unmatched == {"duplicate_prediction": 1}


def test_a_model_that_is_not_watched_costs_nothing() -> None:
    def only_mail(model: str) -> Watch | None:
        if model != "mail":
            return None
        return Watch(
            model,
            budget=1e3,
            baseline=None,
            until=Until(events=100),
            caution=Caution(),
            companions=Companions(()),
        )

    pipeline = Pipeline(Decoder(), Join(1e9, 100), only_mail, Incidents(), lambda _record, _error: None)
    label = {"kind": "label", "event_id": "e1", "ts": BEGAN, "label": "ham"}
    features = {"kind": "features", "event_id": "f1", "ts": BEGAN, "model": "other", "features": {}}
    pipeline.process(records([prediction(model="other"), label, features]))
    assert (pipeline.watches, len(pipeline.join), pipeline.changed) == ({}, 0, set())
    tally = pipeline.take_tally()
    assert tally.events == Counter({("", "prediction"): 1, ("", "label"): 1, ("", "features"): 1})


def test_what_was_read_is_tallied_by_model_and_kind() -> None:
    pipeline = make_pipeline()
    pipeline.process(
        records(
            [
                prediction("e1"),
                {"kind": "label", "event_id": "e1", "ts": BEGAN + 60, "label": "ham"},
                {"kind": "label", "event_id": "nobody", "ts": BEGAN + 61, "label": "ham"},
                {"kind": "features", "event_id": "f1", "ts": BEGAN + 62, "model": "mail", "features": {}},
                prediction("e2", model="b", ts=BEGAN + 63),
            ]
        )
    )
    tally = pipeline.take_tally()
    assert tally.events == Counter(
        {
            ("mail", "prediction"): 1,
            ("mail", "label"): 1,
            ("", "label"): 1,
            ("mail", "features"): 1,
            ("b", "prediction"): 1,
        }
    )
    assert dict(tally.delays) == {"mail": [60.0]}
    assert pipeline.heard == pipeline.changed == {"mail", "b"}
    assert pipeline.take_tally().events == Counter()


def test_only_models_of_the_last_records_are_heard() -> None:
    pipeline = make_pipeline()
    pipeline.process(records([prediction("e1")]))
    pipeline.process(records([prediction("e2", model="b")]))
    assert pipeline.heard == {"b"}
    assert pipeline.changed == {"mail", "b"}
    pipeline.process([])
    assert pipeline.heard == frozenset()


def test_a_label_before_its_prediction_belongs_to_it() -> None:
    pipeline = make_pipeline()
    pipeline.process(records([{"kind": "label", "event_id": "e1", "ts": BEGAN, "label": "ham"}, prediction("e1")]))
    assert pipeline.watches["mail"].events == 2
    assert pipeline.take_tally().delays["mail"] == [0.0]


def test_a_label_of_another_model_is_not_joined() -> None:
    pipeline = make_pipeline()
    label = {"kind": "label", "event_id": "e1", "ts": BEGAN, "label": "ham", "model": "other"}
    pipeline.process(records([prediction("e1"), label]))
    assert pipeline.watches["mail"].events == 1
    assert pipeline.join.unmatched == {"other_model": 1}


def test_ten_thousand_sources_neither_grow_the_state_nor_hide_a_drift() -> None:
    def crowd(row: Row, rng: np.random.Generator) -> None:
        row["source"], row["labeler"] = f"s{rng.integers(10_000)}", f"l{rng.integers(10_000)}"
        if row["ts"] >= BEGAN + 2500 * 20:
            covariate_drift(row, rng)

    pipeline = make_pipeline(budget=5000.0, until=Until(events=1800))
    stream = records(World(seed=6, predictions=3000, onset=1000, cause=crowd).events())
    pipeline.process(stream[:3500])
    before = len(pipeline.watches["mail"].dump())
    found: list[Transition] = pipeline.process(stream[3500:])
    assert found[0].incident.verdict is Verdict.COVARIATE_DRIFT
    assert len(pipeline.watches["mail"].dump()) < 2 * before
