"""Attackers who know how the watch works: one who is patient, one who floods, one who sends what is dear to look at."""

import time
from itertools import pairwise

import numpy as np

from alerting.incident import Incident, Verdict
from monitor.detection.pipeline import Pipeline
from monitor.rollback.config import RollbackConfig
from monitor.rollback.policy import Case, Judged, Outcome, consider, judge
from tests.kit.served import BEGAN, EVERY, Row, World, label_flip, make_pipeline, records

STEP = 2e-4
"""Standard deviations by which a patient attacker moves a feature with each event."""
WINDOW, SIGMAS = 500, 4.0
"""The adaptive rival holds the last so many values against those before, and needs so many standard errors."""


def frog_boil(row: Row, _rng: np.random.Generator) -> None:
    """No two neighbours differ by anything that could be seen."""
    row["features"]["score"] += STEP * ((row["ts"] - BEGAN) / EVERY - 2000)


def test_a_patient_attacker_is_seen_against_a_frozen_baseline_and_not_against_a_window_that_follows() -> None:
    world = World(seed=11, predictions=6000, onset=2000, cause=frog_boil, labelled=0.3)
    values = np.array([row["features"]["score"] for row in world.rows()])
    means = values[: len(values) // WINDOW * WINDOW].reshape(-1, WINDOW).mean(axis=1)
    assert all(abs(after - before) < SIGMAS * np.sqrt(2 / WINDOW) for before, after in pairwise(means))
    found = [transition.incident for transition in make_pipeline().process(records(world.events()))]
    assert found[0].verdict is Verdict.COVARIATE_DRIFT
    assert found[0].attribution.features == ("score",)
    assert found[0].opened_at > world.onset_ts


def flood(row: Row, rng: np.random.Generator) -> None:
    """A new version that is as good as the old one; one source gives nine in ten of its labels, most of them wrong."""
    row["version"] = "2.0.0"
    if rng.random() < 0.9:
        row["source"], row["delay"] = "src-1", 60.0
        if row["truth"] == "spam" and rng.random() < 0.8:
            row["truth"] = "ham"


def opinions(world: World) -> list[Judged]:
    """What is thought of a rollback, every 200 events, while an incident is open."""
    pipeline, found = make_pipeline(), []
    stream = records(world.events())
    for begin in range(0, len(stream), 200):
        pipeline.process(stream[begin : begin + 200])
        found += [judged(pipeline, incident) for incident in pipeline.incidents.firing()]
    return [opinion for opinion in found if opinion is not None]


def judged(pipeline: Pipeline, incident: Incident) -> Judged | None:
    watched = pipeline.watches[incident.model]
    action = consider(incident, watched.newest)
    config = RollbackConfig(persistence=0, confirm=0)
    return None if action is None else judge(action, Case(incident, watched.answers), config, watched.newest)


def test_one_source_that_floods_the_labels_moves_no_alias_where_a_poisoned_model_does() -> None:
    flooded = opinions(World(seed=4, predictions=4000, onset=2000, cause=flood, labelled=0.5))
    assert flooded  # it is no secret that something is wrong
    assert all(opinion.outcome is not Outcome.ACT for opinion in flooded)
    poisoned = opinions(World(seed=4, predictions=4000, onset=2000, cause=label_flip))
    assert any(opinion.outcome is Outcome.ACT for opinion in poisoned)


def test_values_that_are_dear_to_look_at_do_not_become_dearer_and_leave_little_behind() -> None:
    """Texts as long as they may be, no two alike, under names of sources and labelers that are new each time."""
    events = World(seed=5, predictions=3000).events()
    for number, event in enumerate(events[4000:]):
        if "features" in event:
            event["features"] |= {name: f"{number}-{name}".ljust(4000, "x") for name in ("lang", "size", "score")}
            event["source"] = f"source-{number}"
        else:
            event["labeler"] = f"labeler-{number}"
    stream, pipeline = records(events), make_pipeline()
    pipeline.process(stream[:4000])
    middle, spent, kept = (4000 + len(stream)) // 2, [], []
    for part in (stream[4000:middle], stream[middle:]):
        began = time.process_time()
        pipeline.process(part)
        spent.append(time.process_time() - began)
        kept.append(len(pipeline.watches["mail"].dump()))
    assert kept[1] < 1.5 * kept[0]
    assert spent[1] < 3 * spent[0]
