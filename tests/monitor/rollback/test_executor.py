"""The executor, over a real file registry: modes, limits, several actions, holds, and the switch."""

from pathlib import Path

import pytest

from monitor.rollback.action import ActionState
from monitor.rollback.consent import approve
from tests.kit.rollback_world import MODEL, World, passing

BACK = [(MODEL, "1.2.0", "1.1.0")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry.json")


# Modes


def test_auto_moves_the_alias_and_says_so(world: World) -> None:
    world.request()
    action = world.run()
    assert (action.state, action.from_version, action.to_version) == (ActionState.MOVED, "1.2.0", "1.1.0")
    assert action.reason == (
        "Rolled the alias champion of net-ids back from 1.2.0 to 1.1.0 at 2026-03-02 03:10:00 UTC; read back."
    )
    assert (world.at(), world.moves, world.finished) == ("1.1.0", BACK, [action])


def test_observe_says_what_it_would_have_done(world: World) -> None:
    world.request()
    action = world.run(mode="observe")
    assert (action.state, action.to_version) == (ActionState.OBSERVED, "1.1.0")
    assert action.reason == (
        "Would have rolled the alias champion of net-ids back from 1.2.0 to 1.1.0, but the mode is observe."
    )
    assert (world.at(), world.moves, world.finished) == ("1.2.0", [], [action])


@pytest.mark.parametrize(("model", "state"), [(MODEL, ActionState.MOVED), ("spam", ActionState.OBSERVED)])
def test_a_models_own_mode_counts(world: World, model: str, state: ActionState) -> None:
    world.request()
    assert world.run(mode="observe", models={model: "auto"}).state is state


def test_propose_waits_for_a_person(world: World) -> None:
    world.request()
    action = world.run(mode="propose", proposal_expires=3600)
    assert (action.state, action.to_version) == (ActionState.PROPOSED, "1.1.0")
    assert action.reason == (
        "Proposes to roll the alias champion of net-ids back from 1.2.0 to 1.1.0;"
        " it can be approved until 2026-03-02 04:10:00 UTC."
    )
    world.run(mode="propose")
    assert (world.at(), world.finished) == ("1.2.0", [action])


# Guard rails


def test_it_waits_while_alias_and_answers_disagree(world: World) -> None:
    world.put("1.0.0")
    world.request()
    action = world.run()
    assert action.state is ActionState.HELD
    assert action.holds == ("the alias is at 1.0.0, and answers come from 1.2.0",)
    world.follow()
    world.open.clear()
    assert world.run().state is ActionState.LAPSED
    assert world.moves == []


@pytest.mark.parametrize(("later", "state"), [(3599.0, ActionState.PROPOSED), (3600.0, ActionState.MOVED)])
def test_a_second_rollback_in_the_cooldown_needs_a_person(world: World, later: float, state: ActionState) -> None:
    world.request(id="earlier")
    world.run_all(cooldown=3600)
    world.put("1.2.0")  # somebody has put it back
    world.now += later
    world.request()
    action = world.run(cooldown=3600)
    assert action.state is state
    if state is ActionState.PROPOSED:
        assert (
            "Not without a person: the last rollback was at 2026-03-02 03:10:00 UTC,"
            " cooldown until 2026-03-02 04:10:00 UTC." in action.reason
        )


def test_one_models_cooldown_does_not_hold_another(world: World) -> None:
    world.write([MODEL, "spam"])
    world.request(id="other", model="spam")
    world.request()
    world.run()
    assert {action.state for action in world.log.actions.values()} == {ActionState.MOVED}


def test_a_request_that_is_too_old_is_refused_unasked(world: World) -> None:
    world.request()
    world.now += 3601.0
    action = world.run()
    assert action.state is ActionState.REFUSED
    assert "the request of 2026-03-02 03:10:00 UTC is too old" in action.reason
    assert "current" not in world.calls


# Several actions


def test_a_finished_action_is_never_touched_again(world: World) -> None:
    world.request()
    executor = world.executor(cooldown=0)
    for _ in range(3):
        executor.run_once()
    assert (world.moves, len(world.finished)) == (BACK, 1)


def test_a_model_that_waits_does_not_hold_another_but_its_own_later_actions(world: World) -> None:
    world.write([MODEL, "spam"])
    world.request()
    world.now += 1.0
    world.request(id="later")
    world.request(id="other", model="spam")
    world.raise_at("current", passing)
    world.run()
    states = {incident: action.state for incident, action in world.log.actions.items()}
    assert states.pop("other") is ActionState.MOVED
    assert set(states.values()) == {ActionState.REQUESTED}
    world.run()
    assert world.action().state is ActionState.MOVED
    assert world.log.actions["later"].state is ActionState.HELD
    assert sorted(world.moves) == sorted([*BACK, ("spam", "1.2.0", "1.1.0")])


def test_a_listener_that_fails_changes_nothing_about_the_action(world: World) -> None:
    world.raise_at("on_state", lambda: ValueError("no such metric"), times=2)
    world.request()
    for state in (ActionState.INTENDED, ActionState.MOVED):
        with pytest.raises(ValueError, match="no such metric"):
            world.run()
        assert world.action().state is state
    world.run()
    assert world.moves == BACK


# Holds


def test_people_are_told_of_a_hold_once_it_has_lasted(world: World) -> None:
    world.request()
    assert world.run(persistence=900, settle=60).reason == ""
    world.now += 60.0
    told = world.run(persistence=900, settle=60).reason
    assert told == ("Does not roll the alias champion of net-ids back yet: it has lasted less than 900 seconds.")
    other = {"persistence": 900, "settle": 60, "min_labels": 999}
    assert world.run(**other).reason == told
    assert world.action().holds[0] == "fewer than 999 answers of 1.2.0 have labels"
    world.now += 600.0
    assert "fewer than 999" in world.run(**other).reason


def test_a_hold_ends_with_its_incident_and_says_what_it_was(world: World) -> None:
    world.request()
    world.run(persistence=900)
    world.open.clear()
    assert world.run().reason == (
        "The incident is over; nothing was rolled back. It was held: it has lasted less than 900 seconds."
    )


def test_a_registry_is_not_asked_while_the_evidence_is_not_enough(world: World) -> None:
    world.request()
    world.run(persistence=900)
    assert "current" not in world.calls


# The switch


def test_nothing_is_moved_while_somebody_has_stopped_it(world: World) -> None:
    world.stopped = "ann has stopped rollbacks"
    world.request()
    assert world.run().holds == ("ann has stopped rollbacks",)
    assert world.action().state is ActionState.PROPOSED
    world.log.save(approve(world.action(), by="bob", config=world.config(), now=world.now))
    assert world.run().reason == ("Did not roll the alias champion of net-ids back: ann has stopped rollbacks.")
    assert world.moves == []
