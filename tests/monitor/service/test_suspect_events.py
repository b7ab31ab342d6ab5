"""Suspects: which events an incident is about, written down for whoever retrains, also over a kill."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from alerting.desk import Desk, DeskConfig
from alerting.incidents import Incidents
from monitor.detection.doubts import IN_THE_STREAM, KEPT
from monitor.detection.listing import NONE, OUTLIER, Limits
from monitor.detection.silence import Silence
from monitor.intake.file_source import FileSource
from monitor.intake.quarantine import FilePublisher, FileQuarantine, InvalidRatio
from monitor.rollback.policy import consider
from monitor.service.gate import Gate
from monitor.service.loop import Loop, Reactions
from monitor.service.observer import Observer
from monitor.service.shard import Shard, undivided
from monitor.store.store import Claim, Store
from monitor.telemetry.metrics import Metrics
from tests.kit.served import (
    BEGAN,
    Cause,
    Row,
    World,
    backdoor,
    bad_labeler,
    bad_source,
    label_flip,
    make_pipeline,
    unit_fault,
)

ONSET = 2_000
LIMITS = Limits(share=0.001, per_hour=1_000)


class House:
    """A loop with real parts, which writes suspects into a file."""

    def __init__(self, folder: Path, log: Path, limits: Limits) -> None:
        self.limits = limits
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.file = folder / "suspects.jsonl"
        self.store = Store(folder / "tocsin.db")
        self.quarantine = FileQuarantine(folder / "quarantine.jsonl")
        self.suspects = FilePublisher(self.file)
        self.source = FileSource([log], max_records=100)
        gate = Gate(self.quarantine, InvalidRatio(), 0.5, metrics.reading, lambda: BEGAN)
        reactions = Reactions(lambda _steps, _now: [], consider, lambda: None)
        parts = gate, self.store, reactions, Observer(metrics)
        self.loop = Loop(self.source, undivided, self._shard, *parts, suspects=self.suspects)

    def _shard(self, name: str, claim: Claim) -> Shard:
        pipeline = make_pipeline(incidents=Incidents(claim.incidents), limits=self.limits)
        return Shard(name, claim, pipeline, Desk(pipeline.incidents, DeskConfig()), Silence(600.0, lambda: BEGAN))

    def turns(self, count: int) -> None:
        self.loop.start()
        for _ in range(count):
            self.loop.due.commit.set()
            self.loop.turn()

    def close(self) -> None:
        for part in (self.suspects, self.quarantine, self.source, self.store):
            part.close()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_bytes().splitlines()] if self.file.exists() else []


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[Any]:
    made: list[House] = []

    def make(world: World, place: str = "one", limits: Limits = NONE) -> House:
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        log = folder / "log.jsonl"
        if not log.exists():
            log.write_text("".join(json.dumps(event) + "\n" for event in world.events()))
        made.append(House(folder, log, limits))
        return made[-1]

    yield make
    for house in made:
        house.close()


def run(house: House) -> list[dict[str, Any]]:
    house.loop.start()
    house.loop.run(Event(), lambda: None)
    return house.lines()


def noting(cause: Cause, guilty: set[str]) -> Cause:
    """The same cause, which notes the events that it changes."""

    def noted(row: Row, rng: np.random.Generator) -> None:
        before = row | {"features": dict(row["features"])}
        cause(row, rng)
        if row != before:
            guilty.add(row["event_id"])

    return noted


@pytest.mark.parametrize("cause", [bad_labeler, bad_source, backdoor])
def test_most_suspects_are_guilty_and_most_of_the_guilty_are_suspects(cause: Cause, houses: Any) -> None:
    guilty: set[str] = set()
    world = World(seed=4, predictions=4_000, onset=ONSET, cause=noting(cause, guilty), labelled=1.0)
    house = houses(world)
    lines = run(house)
    (incident,) = [incident for incident in house.store.incidents() if incident.verdict in IN_THE_STREAM]
    for line in lines:
        assert (line["incident"], line["model"], line["reason"]) == (incident.id, "mail", incident.verdict.value)
        assert 0.5 < line["score"] <= 1.0
        assert line["ts"] >= incident.onset.low
    assert len({(line["event_id"], line["label"]) for line in lines}) == len(lines)
    found = {line["event_id"] for line in lines}
    assert len(found & guilty) / len(found) > 0.8
    assert len(found & guilty) / len(guilty) > 0.6
    assert house.registry.get_sample_value("tocsin_suspects_total", {"model": "mail"}) == len(lines)


def test_where_the_model_is_wrong_the_events_are_true(houses: Any) -> None:
    house = houses(World(seed=4, predictions=3_000, onset=ONSET, cause=label_flip))
    assert run(house) == []
    assert house.store.incidents()


@pytest.mark.parametrize("turns", [44, 50, 57])
def test_after_a_kill_none_is_lost_and_one_that_comes_again_is_the_same(turns: int, houses: Any) -> None:
    world = World(seed=4, predictions=3_500, onset=ONSET, cause=bad_labeler, labelled=1.0)
    whole = run(houses(world, "whole"))
    killed = houses(world, "killed")
    killed.turns(turns)
    before = killed.lines()
    killed.close()
    lines = before + run(houses(world, "killed"))[len(before) :]
    assert {line["event_id"] for line in lines} == {line["event_id"] for line in whole}
    assert {line["incident"] for line in lines} == {line["incident"] for line in whole}


def test_doubts_are_bounded_and_outlive_a_restart(houses: Any) -> None:
    world = World(seed=4, predictions=4_000, accuracy=0.7, labelled=1.0)
    house = houses(world)
    run(house)
    (watch,) = house.loop.watches()
    kept = watch.doubts.dump()
    assert KEPT <= len(kept) <= 2 * KEPT
    again = houses(world)
    again.loop.start()
    (restored,) = again.loop.watches()
    assert restored.doubts.dump() == kept


@pytest.mark.parametrize(
    ("cause", "reasons"),
    [
        pytest.param(backdoor, {"outlier", "backdoor"}, id="trigger"),
        pytest.param(unit_fault, {"outlier"}, id="out of range"),
        pytest.param(bad_labeler, {"label_tampering"}, id="mislabelled"),
    ],
)
def test_with_outliers_most_of_what_is_listed_is_guilty(cause: Cause, reasons: set[str], houses: Any) -> None:
    guilty: set[str] = set()
    world = World(seed=4, predictions=3_000, onset=ONSET, cause=noting(cause, guilty), labelled=1.0)
    lines = run(houses(world, limits=LIMITS))
    assert reasons <= {line["reason"] for line in lines} <= reasons | {OUTLIER}
    for reason in reasons:
        found = {line["event_id"] for line in lines if line["reason"] == reason}
        assert len(found & guilty) / len(found) > 0.8
    assert len({line["event_id"] for line in lines} & guilty) > 60
    for line in lines:
        if line["reason"] == OUTLIER:
            assert 0.999 <= line["score"] < 1.0
            assert (line["label"], line["labeler"], line["model"]) == (None, None, "mail")


def test_an_outlier_has_no_incident_until_one_names_its_source(houses: Any) -> None:
    house = houses(World(seed=4, predictions=3_000, onset=ONSET, cause=backdoor, labelled=1.0), limits=LIMITS)
    outliers = [line for line in run(house) if line["reason"] == OUTLIER]
    (incident,) = [incident for incident in house.store.incidents() if incident.verdict in IN_THE_STREAM]
    assert [line["incident"] for line in outliers[:3]] == [None] * 3
    named = [line for line in outliers if line["incident"] is not None]
    assert {(line["incident"], line["source"]) for line in named} == {(incident.id, "src-3")}
    assert len(named) > 20


def test_an_hour_has_its_limit_and_no_incident_comes_of_outliers(houses: Any) -> None:
    limit = 20
    world = World(seed=4, predictions=2_600, onset=ONSET, cause=unit_fault)
    few, every, none = houses(world, "few", Limits(0.001, limit)), houses(world, "every", LIMITS), houses(world, "none")
    kept, found, nothing = ([line for line in run(house) if line["reason"] == OUTLIER] for house in (few, every, none))
    assert {line["event_id"] for line in kept} < {line["event_id"] for line in found}
    assert nothing == []
    assert max(Counter(line["ts"] // 3600 for line in kept).values()) == limit
    series = ({"model": "mail", "outcome": outcome} for outcome in ("listed", "dropped"))
    counts = [few.registry.get_sample_value("tocsin_outliers_total", labels) for labels in series]
    assert counts == [len(kept), len(found) - len(kept)]
    assert few.store.incidents() == every.store.incidents() == none.store.incidents() != []


def test_after_a_kill_the_same_outliers_are_listed(houses: Any) -> None:
    world = World(seed=4, predictions=2_600, onset=ONSET, cause=unit_fault)
    limits = Limits(share=0.001, per_hour=30)
    whole = run(houses(world, "whole", limits))
    killed = houses(world, "killed", limits)
    killed.turns(42)
    before = killed.lines()
    killed.close()
    after = run(houses(world, "killed", limits))[len(before) :]
    assert before
    assert after
    assert before + after == whole
