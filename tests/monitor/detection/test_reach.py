"""How far an incident reaches: held against what really happened in simulated attacks."""

from collections import Counter
from functools import cache

import pytest

from alerting.incident import Change, Incident, Radius, Transition
from monitor.detection.ledger import WIDTH
from tests.kit.served import Cause, World, backdoor, bad_labeler, covariate_drift, label_flip, make_pipeline, records

CAUSES = (label_flip, bad_labeler, backdoor)
SEEDS = range(2)


def world(cause: Cause, seed: int) -> World:
    return World(seed=seed, cause=cause, onset=1700, end=2600, predictions=4000)


@cache
def played(cause: Cause, seed: int, batch: int = 500) -> list[Transition]:
    pipeline, stream = make_pipeline(budget=20_000.0), records(world(cause, seed).events())
    return [
        step
        for first in range(0, len(stream), batch)
        for step in pipeline.process(stream[first : first + batch])
        if step.incident.event_index >= 2 * 1700 * 0.9
    ]


def reached(incident: Incident) -> Radius:
    assert incident.radius is not None
    return incident.radius


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_counts_are_right_and_the_range_holds_the_true_onset_where_the_interval_does(cause: Cause, seed: int) -> None:
    there = world(cause, seed)
    events, steps = there.events(), played(cause, seed)
    ids = {event["event_id"]: event for event in events if "features" in event}
    assert steps
    for step in steps:
        incident, radius = step.incident, reached(step.incident)
        assert radius.since == incident.onset.low
        since = [event for event in events if radius.since <= event["ts"] <= radius.until]
        room = max(WIDTH, len(since) / 8)
        served = Counter(event["version"] for event in since if "features" in event)
        told = {each.version: each.predictions for each in radius.versions}
        assert sum(told.values()) == pytest.approx(sum(served.values()), abs=room)
        assert all(told.get(name, 0) == pytest.approx(count, abs=room) for name, count in served.items())
        who = incident.attribution
        if who.labeler is not None:
            mine = sum(event.get("labeler") == who.labeler for event in since)
            assert radius.labels == pytest.approx(mine, abs=room)
        elif who.source is not None:
            mine = sum(event.get("source") == who.source for event in since if "features" in event)
            assert radius.inputs == pytest.approx(mine, abs=room)
            labels = [event for event in since if "features" not in event]
            mine = sum(ids[event["event_id"]]["source"] == who.source for event in labels)
            assert radius.labels == pytest.approx(mine, abs=room)
        if incident.onset.low <= there.onset_ts <= incident.onset.high:
            first = next(number for number, event in enumerate(events) if event["ts"] >= there.onset_ts)
            assert radius.first_index <= first <= radius.last_index


def test_an_incident_that_is_over_reaches_no_further() -> None:
    ended = World(seed=1, cause=covariate_drift, onset=1700, end=1900, predictions=4500)
    opened, *_, resolved = make_pipeline(budget=2_000.0).process(records(ended.events()))
    assert (opened.change, resolved.change) == (Change.OPENED, Change.RESOLVED)
    before, after = reached(opened.incident), reached(resolved.incident)
    assert before.last_index < after.last_index < sum(1 for _ in ended.events()) - WIDTH
    assert sum(each.predictions for each in before.versions) < sum(each.predictions for each in after.versions)


@pytest.mark.parametrize("batch", [37, 10_000])
def test_how_records_are_cut_does_not_matter(batch: int) -> None:
    assert played(backdoor, 0, batch) == played(backdoor, 0)


def test_a_restart_forgets_nothing() -> None:
    stream = records(world(label_flip, 0).events())
    pipeline = make_pipeline(budget=20_000.0)
    incident = next(
        step.incident
        for first in range(0, len(stream) // 2, 500)
        for step in pipeline.process(stream[first : first + 500])
        if step.change is Change.OPENED
    )
    before = pipeline.watches["mail"]
    assert before.bank is not None
    again = make_pipeline(budget=20_000.0).watch("mail")
    assert again is not None
    assert again.restore(before.dump(), before.bank.baseline, [])
    assert again.reach(incident) == before.reach(incident) != incident.radius


def test_whoever_is_touched_is_named_and_bounded() -> None:
    incident = played(backdoor, 0)[-1].incident
    radius = reached(incident)
    assert "src-3" in radius.sources
    assert "size" in radius.features
    assert all(len(names) <= 20 for names in (radius.sources, radius.classes, radius.features))
