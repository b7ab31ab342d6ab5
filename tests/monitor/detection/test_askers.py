"""Who asks: a flood by one source or by newcomers is found and is no attack, and traffic that varies is left alone."""

import numpy as np
import pytest

from alerting.incident import Incident, Severity, Transition, Verdict
from detectors.bets import Caution
from monitor.detection.askers import FLOODS, GROWTH, bets, codes_of_slots, learn
from monitor.detection.grouping import time_groups
from monitor.detection.lessons import Until
from monitor.detection.slots import NAMED, SHARED, Slots
from tests.kit.served import BEGAN, SOURCES, Cause, Row, World, label_flip, make_pipeline, records, transitions

HOUR = 3600.0


def flood(row: Row, rng: np.random.Generator) -> None:
    """One source asks most."""
    if rng.random() < 0.5:
        row["source"] = "src-2"


def newcomers(row: Row, rng: np.random.Generator) -> None:
    """Half of all that is asked comes from names that nobody knew."""
    if rng.random() < 0.5:
        row["source"] = f"bot-{rng.integers(1_000)}"


def nameless(row: Row, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        row["source"] = None


def last(found: list[Transition]) -> Incident:
    assert {step.incident.id for step in found} == {found[0].incident.id}
    return found[-1].incident


def streams(incident: Incident) -> set[str]:
    return {each.stream for each in incident.evidence if each.family == "sources"}


@pytest.mark.parametrize(
    ("cause", "source", "stream"),
    [
        (flood, "src-2", "source/src-2/asks/share"),
        (newcomers, None, "asks/(others)"),
        (nameless, None, "asks/(none)"),
    ],
)
def test_whoever_asks_far_more_is_told_and_pages_nobody(cause: Cause, source: str | None, stream: str) -> None:
    incident = last(transitions(World(predictions=2_600, cause=cause)))
    assert (incident.verdict, incident.severity) == (Verdict.COVARIATE_DRIFT, Severity.INFO)
    assert incident.attribution.source == source
    assert streams(incident) == {stream}
    assert incident.flooded
    assert incident.because.endswith("than before, and nothing else has changed")
    assert incident.opened_at < BEGAN + 2_000 * 20.0 + 2 * HOUR


def test_inputs_that_change_with_a_flood_are_put_down_to_who_floods() -> None:
    def other_inputs(row: Row, rng: np.random.Generator) -> None:
        flood(row, rng)
        if row["source"] == "src-2":
            row["features"]["score"] += 1.0

    incident = last(transitions(World(predictions=2_600, cause=other_inputs)))
    assert (incident.verdict, incident.severity) == (Verdict.COVARIATE_DRIFT, Severity.WARNING)
    assert incident.attribution.source == "src-2"
    assert "score" in incident.attribution.features


def test_a_flood_hides_no_attack() -> None:
    def both(row: Row, rng: np.random.Generator) -> None:
        flood(row, rng)
        label_flip(row, rng)

    incident = last(transitions(World(predictions=3_000, cause=both)))
    assert (incident.verdict, incident.severity) == (Verdict.LABEL_FLIP, Severity.CRITICAL)
    assert incident.attribution.source is None


def by_hour(row: Row, rng: np.random.Generator) -> None:
    """Two of the sources ask in the afternoon only."""
    if (row["ts"] % 86_400) > 43_200 and rng.random() < 0.6:
        row["source"] = str(rng.choice(SOURCES[:2]))


def in_sessions(row: Row, _rng: np.random.Generator) -> None:
    """One source after the other, a hundred questions at a time, in any order."""
    turn = int((row["ts"] - BEGAN) / 2_000.0)
    row["source"] = SOURCES[int(np.random.default_rng(turn).integers(len(SOURCES)))]


def a_little_more(row: Row, rng: np.random.Generator) -> None:
    """A client grows, by less than a tenth of all."""
    if row["ts"] > BEGAN + 70_000.0 and rng.random() < 0.1:
        row["source"] = "src-2"


@pytest.mark.parametrize("cause", [None, by_hour, in_sessions, a_little_more])
@pytest.mark.parametrize("seed", range(2))
def test_traffic_as_it_varies_is_left_alone(seed: int, cause: Cause | None) -> None:
    world = World(seed=seed, predictions=8_500, onset=0, cause=cause, labelled=0.05)
    for step in make_pipeline(budget=1e5).process(records(world.events())):
        assert not streams(step.incident)


@pytest.mark.parametrize("seed", [1, 2])
def test_long_sessions_are_no_floods(seed: int) -> None:
    def sessions(row: Row, _rng: np.random.Generator) -> None:
        turn = int((row["ts"] - BEGAN) / 2_000.0)
        row["source"] = SOURCES[int(np.random.default_rng([seed, turn]).integers(len(SOURCES)))]

    world = World(seed=seed, predictions=6_500, onset=0, cause=sessions)
    for step in transitions(world, budget=1e4, until=Until(events=5_000)):
        assert not streams(step.incident)


def test_a_new_client_may_ask_thirty_times_in_a_row() -> None:
    def burst(row: Row, _rng: np.random.Generator) -> None:
        row["source"] = "new"

    world = World(predictions=2_600, onset=2_000, end=2_030, cause=burst)
    for step in transitions(world, budget=1e5):
        assert not streams(step.incident)


def test_features_alone_ask_for_nothing() -> None:
    events = World(predictions=2_000).events()
    alone = [event | {"kind": "features", "source": "store"} for event in events[3_000:] if event["kind"] != "label"]
    found = make_pipeline().process(records(events[:3_000] + alone))
    assert not any(streams(step.incident) for step in found)


def test_where_one_source_is_known_nobody_can_ask_more_than_the_others() -> None:
    times = time_groups(np.arange(100.0))
    assert learn(["one"] * 99 + [None], ("one",), times) is None
    found = learn(["one", "two", "three", None] * 25, ("one", "two"), times)
    assert found is not None
    assert found.counts == (25, 25, 25, 25)


def test_slots_become_codes() -> None:
    slots, codes = Slots(("one", "two")), codes_of_slots(2)
    assert codes.size == NAMED + SHARED
    names: list[str | None] = ["one", "two", None, "three", *(f"n{n}" for n in range(200))]
    assert codes[slots.all_of(names)].tolist() == [0, 1, 3, 2, *[2] * 200]


@pytest.mark.parametrize("grown", [0.0, GROWTH / 2])
def test_a_bet_is_fair_whoever_grows_by_what_is_allowed(grown: float) -> None:
    reference = learn(["one", "one", "two", None] * 500, ("one", "two"), time_groups(np.arange(2_000.0)))
    assert reference is not None
    table = bets(reference, Caution())
    assert table.shape == (4, 4 * len(FLOODS))
    usual = np.array(reference.counts) / sum(reference.counts)
    for code in range(4):
        shares = (1.0 - grown) * usual + grown * np.eye(4)[code]
        assert (shares @ table <= 1.0).all()
