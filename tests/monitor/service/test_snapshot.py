"""The core promise: killed anywhere and restored, the daemon says and knows what it would have said and known."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.incident import Incident, Severity, Transition
from alerting.incidents import Incidents
from alerting.life import LifeConfig
from detectors import edetector
from monitor.detection.baseline import BaselineError, canonical
from monitor.detection.lessons import Until
from monitor.detection.pipeline import Pipeline
from monitor.detection.watch import Watch
from monitor.intake.source import Record
from monitor.service.snapshot import BASELINE, JOIN, LESSON, WATCH, Snapshots
from tests.kit.served import Cause, World, backdoor, label_flip, make_pipeline, nulls, records, unit_fault

REFERENCE = 260
"""Events of a model's reference; of about 760."""
OPTIONS: dict[str, Any] = {"budget": 300.0, "until": Until(events=REFERENCE), "ttl": 3600.0}


@pytest.fixture(autouse=True, scope="module")
def _short_episodes() -> Iterator[None]:
    """With so small a budget an incident would outlast the stream; here it ends soon, and others begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edetector, "QUIET", 0.1)
        yield


def traffic(seed: int) -> list[Record]:
    """Three models at once, with something happening to each, and with all that producers get wrong."""
    rng = random.Random(seed)
    causes: list[Cause] = [label_flip, unit_fault, backdoor, nulls]
    worlds = [
        World(seed=seed, predictions=450, onset=200, end=280, cause=rng.choice(causes), model="a"),
        World(seed=seed + 1, predictions=400, onset=220, cause=rng.choice(causes), model="b/c"),
        World(seed=seed + 2, predictions=300, onset=200, cause=unit_fault, model="d", regression=True),
    ]
    events = sorted((event for world in worlds for event in world.events()), key=lambda event: float(event["ts"]))
    stream: list[tuple[float, dict[str, Any]]] = []
    for place, event in enumerate(events):
        # Neighbours change places, so that labels come early and time runs backwards.
        stream.append((place + rng.gauss(0, 4), event))
        luck = rng.random()
        if luck < 0.02:
            stream.append((place + rng.gauss(0, 40), event))
        elif luck < 0.04:
            event["ts"] += rng.choice([-7200.0, -60.0, 600.0])
        elif luck < 0.06 and event["kind"] == "prediction":
            del event["features"]["score"]
            event["features"]["age"] = "old"
        elif luck < 0.08 and event["kind"] == "prediction":
            event["features"]["new"] = 1
            event.pop("source", None)
        elif luck < 0.09:
            event["model"] = "b/c"
    return records([event for _, event in sorted(stream, key=itemgetter(0))])


@dataclass
class Durable:
    """What a store holds after a commit."""

    states: dict[str, bytes] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    told: list[Transition] = field(default_factory=list)
    offset: int = 0
    life: LifeConfig = field(default_factory=LifeConfig)

    def commit(self, pipeline: Pipeline, snapshots: Snapshots, steps: list[Transition], offset: int) -> None:
        changes = snapshots.take()
        self.states.update(changes.states)
        for name in changes.forget:
            del self.states[name]
        for incident in (*(step.incident for step in steps), *pipeline.incidents.firing()):
            self.incidents[incident.id] = incident
        self.told += steps
        self.offset = offset

    def load(self) -> tuple[Pipeline, Snapshots]:
        pipeline = make_pipeline(incidents=Incidents(self.incidents.values(), self.life), **OPTIONS)
        snapshots = Snapshots(pipeline)
        assert snapshots.restore(self.states) == []
        return pipeline, snapshots


def by_model(steps: list[Transition]) -> dict[str, list[Transition]]:
    """How batches are cut decides in which order models are spoken of, and nothing else."""
    found = defaultdict(list)
    for step in steps:
        found[step.incident.model].append(step)
    return found


def memory(pipeline: Pipeline) -> dict[str, object]:
    """All that a pipeline knows."""
    return {
        "read": pipeline.read,
        "watches": {model: watch.dump() for model, watch in pipeline.watches.items()},
        "baselines": {m: canonical(w.bank.baseline) for m, w in pipeline.watches.items() if w.bank is not None},
        "waiting": [*pipeline.join._waiting.items()],
        "early": [*pipeline.join._early.items()],
        "now": pipeline.join.now,
        "incidents": pipeline.incidents.firing(),
        "board": pipeline.incidents.dump(),
    }


PATIENT = LifeConfig(
    confirm={Severity.CRITICAL: 20.0, Severity.WARNING: 60.0},
    hold=15.0,
    reopen_within=100_000.0,
    flapping_after=1,
    flapping_hold=90.0,
)
"""Every timer runs within the streams of this test."""

plans = st.lists(st.tuples(st.integers(1, 400), st.sampled_from(["go on", "commit", "commit", "kill"])), max_size=25)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), plan=plans, life=st.sampled_from([LifeConfig(), PATIENT]))
def test_a_run_with_kills_is_the_run_without(seed: int, plan: list[tuple[int, str]], life: LifeConfig) -> None:
    stream = traffic(seed)
    whole = make_pipeline(incidents=Incidents(life=life), **OPTIONS)
    expected = whole.process(stream)

    store = Durable(life=life)
    pipeline, snapshots = store.load()
    steps: list[Transition] = []
    offset = 0
    for size, then in plan:
        steps += pipeline.process(stream[offset : offset + size])
        offset = min(offset + size, len(stream))
        if then == "commit":
            store.commit(pipeline, snapshots, steps, offset)
            steps = []
        elif then == "kill":
            pipeline, snapshots = store.load()
            steps, offset = [], store.offset
    steps += pipeline.process(stream[offset:])
    store.commit(pipeline, snapshots, steps, len(stream))

    assert by_model(store.told) == by_model(expected)
    assert memory(pipeline) == memory(whole)
    assert memory(store.load()[0]) == memory(whole)


def test_the_streams_of_that_test_are_eventful() -> None:
    """It would prove little on streams without incidents, early labels, duplicates and expiries."""
    pipeline = make_pipeline(**OPTIONS)
    steps = pipeline.process(traffic(0))
    assert {step.incident.model for step in steps} == {"a", "b/c", "d"}
    assert {step.change for step in steps} >= {"opened", "updated", "resolved"}
    patient = make_pipeline(incidents=Incidents(life=PATIENT), **OPTIONS).process(traffic(0))
    assert {step.id for step in patient} <= {step.id for step in steps}
    assert [step.incident.updated_at for step in patient] != [step.incident.updated_at for step in steps]
    assert {reason for reason, count in pipeline.join.unmatched.items() if count} >= {
        "duplicate_prediction",
        "duplicate_label",
        "early",
        "unlabelled_expired",
    }


def run(count: int, store: Durable | None = None) -> tuple[Durable, Pipeline]:
    """The first `count` records, with a commit every 100."""
    store = store or Durable()
    stream = traffic(3)[:count]
    pipeline, snapshots = store.load()
    for offset in range(store.offset, count, 100):
        steps = pipeline.process(stream[offset : offset + 100])
        store.commit(pipeline, snapshots, steps, min(offset + 100, count))
    return store, pipeline


def test_a_reference_is_stored_in_pieces_while_it_is_learnt_and_forgotten_when_it_is_frozen() -> None:
    store, _ = run(300)
    lessons = [name for name in store.states if name.startswith(LESSON)]
    assert {name.partition("/")[2].partition("/")[2] for name in lessons} == {"a", "b/c", "d"}
    assert len(lessons) == 9
    assert not any(name.startswith(BASELINE) for name in store.states)
    store, pipeline = run(2000, store)
    assert not any(name.startswith(LESSON) for name in store.states)
    assert {name.removeprefix(BASELINE) for name in store.states if name.startswith(BASELINE)} == {"a", "b/c", "d"}
    assert not any(watch.learnt or watch.take_lesson() for watch in pipeline.watches.values())


def test_only_what_changed_is_written() -> None:
    store, _ = run(1500)
    pipeline, snapshots = store.load()
    event = {"kind": "features", "event_id": "f1", "ts": pipeline.join.now, "model": "a", "features": {"size": 1.0}}
    pipeline.process(records([event]))
    assert {name for name in snapshots.take().states if not name.startswith(JOIN)} == {
        "pipeline",
        WATCH + "a",
        "answers/a",
    }
    assert set(snapshots.take().states) == {"pipeline"}


def test_segments_of_the_join_are_written_anew_when_most_of_what_they_hold_is_over() -> None:
    store, pipeline = run(2000)
    segments = [name for name in store.states if name.startswith(JOIN)]
    assert 1 <= len(segments) < 19
    assert memory(store.load()[0]) == memory(pipeline)


def test_numbers_of_segments_go_on_after_a_restart() -> None:
    store, _ = run(500)
    before = {name: blob for name, blob in store.states.items() if name.startswith(JOIN)}
    store, _ = run(700, store)
    assert before.items() <= store.states.items()


def test_a_model_that_is_no_longer_watched_is_left_alone_and_said() -> None:
    store, _ = run(500)
    pipeline = make_pipeline(**OPTIONS)
    pipeline._make = lambda _model: None
    assert Snapshots(pipeline).restore(store.states) == [
        f"model {model} is no longer watched; its stored state is left alone" for model in ("a", "b/c", "d")
    ]


def test_another_baseline_starts_the_detectors_afresh_but_not_the_count_of_events() -> None:
    store, pipeline = run(2000)
    baseline = pipeline.watches["a"].bank
    assert baseline is not None
    other = msgspec.structs.replace(baseline.baseline, began=0.0)
    fresh = make_pipeline(**OPTIONS)
    usual = fresh._make

    def make(model: str) -> Watch | None:
        watch = usual(model)
        if watch is None or model != "a":
            return watch
        return Watch(
            model,
            budget=300.0,
            baseline=other,
            until=Until(events=REFERENCE),
            caution=watch._caution,
            companions=watch.companions,
        )

    fresh._make = make
    assert Snapshots(fresh).restore(store.states) == ["model a has another baseline now; its detectors start afresh"]
    assert fresh.watches["a"].events == pipeline.watches["a"].events
    bank = fresh.watches["a"].bank
    assert bank is not None
    assert all(not family.statistic for family in bank.families.values())
    assert fresh.watches["b/c"].dump() == pipeline.watches["b/c"].dump()


def test_a_baseline_that_is_configured_while_one_was_learnt_makes_the_lessons_useless() -> None:
    store, _ = run(300)
    learnt, pipeline = run(2000)
    bank = pipeline.watches["a"].bank
    assert bank is not None
    fresh = make_pipeline(**OPTIONS)
    watch = fresh.watch("a")
    assert watch is not None
    watch.bank = type(bank)(bank.baseline, 300.0, watch._caution)
    assert Snapshots(fresh).restore(store.states) == []
    assert watch.learnt == 0
    assert learnt.states != store.states


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_baseline_is_an_error_and_not_another_baseline(damage: str) -> None:
    store, _ = run(2000)
    blob = store.states[BASELINE + "a"]
    store.states[BASELINE + "a"] = blob[:-5] if damage == "cut" else blob.replace(b'"counts":[', b'"counts":{', 1)
    with pytest.raises(BaselineError, match="not a baseline"):
        store.load()
