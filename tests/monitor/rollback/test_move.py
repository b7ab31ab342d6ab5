"""The move of the alias, and what is seen after it."""

from pathlib import Path

import pytest

from monitor.rollback.action import Action, ActionState
from tests.kit.rollback_world import MODEL, World, permanent

BACK = [(MODEL, "1.2.0", "1.1.0")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry.json")


def test_the_intent_is_written_before_the_alias_is_moved(world: World) -> None:
    seen: list[Action] = []
    world.trap = lambda call: seen.append(world.action()) if call == "move" else None
    world.request()
    world.run()
    (at_the_move,) = seen
    assert (at_the_move.state, at_the_move.to_version) == (ActionState.INTENDED, "1.1.0")


def test_it_stands_back_when_somebody_moves_the_alias_at_the_last_moment(world: World) -> None:
    world.trap = lambda call: world.put("1.0.0") if call == "move" else None
    world.request()
    action = world.run()
    assert action.state is ActionState.REFUSED
    assert "is at 1.0.0, not at 1.2.0: somebody else moved it" in action.reason
    assert (world.at(), world.moves) == ("1.0.0", [])


def test_somebody_who_moves_the_alias_to_the_target_has_done_the_work(world: World) -> None:
    world.trap = lambda call: world.put("1.1.0") if call == "move" else None
    world.request()
    assert world.run().state is ActionState.MOVED
    assert world.moves == []


# After the move


@pytest.fixture
def moved(world: World) -> World:
    world.request()
    world.run()
    return world


def test_it_is_over_once_the_target_serves_and_the_incident_has_ended(moved: World) -> None:
    moved.open.clear()
    assert moved.run().state is ActionState.MOVED  # the servers have not followed yet
    moved.now += 60.0
    moved.follow()
    assert moved.run().state is ActionState.RECOVERED
    assert moved.action().reason == (
        "Rolled the alias champion of net-ids back from 1.2.0 to 1.1.0; 1.1.0 serves, and the incident is over."
    )


@pytest.mark.parametrize(
    ("alias", "served", "later", "why"),
    [
        ("1.2.0", "1.2.0", 10.0, "somebody has moved it to 1.2.0 since"),
        (None, "1.2.0", 601.0, "answers still come from 1.2.0"),
        (None, "1.1.0", 3601.0, "the incident has gone on for 3601 seconds since"),
    ],
)
def test_a_person_is_called_if_it_did_not_help(
    moved: World, alias: str | None, served: str, later: float, why: str
) -> None:
    moved.put(alias)
    moved.now += later
    moved.follow(served)
    action = moved.run()
    assert action.state is ActionState.ESCALATED
    assert action.reason == (f"A person must look: the alias champion of net-ids was moved to 1.1.0, but {why}.")
    moved.run()
    assert moved.moves == BACK


def test_a_registry_that_is_away_after_the_move_is_asked_again(moved: World) -> None:
    moved.raise_at("current", permanent)
    assert moved.run().state is ActionState.MOVED


# Several replicas


def test_who_was_replaced_meanwhile_does_not_move(world: World) -> None:
    """Another replica has taken over the model: the fence refuses every write of this one."""
    world.trap = lambda call: setattr(world.log, "fenced", call == "still mine")
    world.request()
    assert world.run().state is ActionState.INTENDED
    assert world.moves == []
    world.trap = lambda _: None
    world.log.fenced = False
    assert world.run().state is ActionState.MOVED
    assert world.moves == BACK
