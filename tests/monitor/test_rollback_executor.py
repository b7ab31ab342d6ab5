"""Every branch of the executor, over a real file registry."""

from pathlib import Path
from typing import Any

import pytest

from monitor.action import Action, ActionState
from monitor.rollback import RollbackConfig, approve
from tests.kit.incidents import OPENED_AT
from tests.kit.rollback_world import DAY, MODEL, ONSET_LOW, World, passing

BACK = [(MODEL, "1.2.0", "1.1.0")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry.json")


# Modes


def test_auto_moves_the_alias_and_says_so(world: World) -> None:
    world.request()
    action = world.run()
    assert (action.state, action.from_version, action.to_version) == (ActionState.DONE, "1.2.0", "1.1.0")
    assert action.reason == (
        "Rolled the alias champion of net-ids back from 1.2.0 to 1.1.0 at 2026-03-02 03:10:00 UTC; read back."
    )
    assert (world.at(), world.moves, world.finished) == ("1.1.0", BACK, [action])


def test_the_intent_is_written_before_the_alias_is_moved(world: World) -> None:
    seen: list[Action] = []
    world.trap = lambda call: seen.append(world.action()) if call == "move" else None
    world.request()
    world.run()
    (at_the_move,) = seen
    assert (at_the_move.state, at_the_move.to_version) == (ActionState.INTENDED, "1.1.0")


def test_observe_says_what_it_would_have_done(world: World) -> None:
    world.request()
    action = world.run(mode="observe")
    assert (action.state, action.to_version) == (ActionState.OBSERVED, "1.1.0")
    assert action.reason == (
        "Would have rolled the alias champion of net-ids back from 1.2.0 to 1.1.0, but the mode is observe."
    )
    assert (world.at(), world.moves, world.finished) == ("1.2.0", [], [action])


@pytest.mark.parametrize(("model", "state"), [(MODEL, ActionState.DONE), ("spam", ActionState.OBSERVED)])
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


def approved(world: World) -> None:
    world.request()
    proposal = world.run(mode="propose")
    world.now += 7200.0  # longer than a request may wait: a proposal has a time of its own
    world.log.save(approve(proposal, by="ann", config=RollbackConfig(), now=world.now))


def test_an_approved_proposal_is_carried_out(world: World) -> None:
    approved(world)
    assert world.run(mode="propose").state is ActionState.DONE
    assert world.moves == BACK


def test_an_approved_proposal_is_checked_anew(world: World) -> None:
    approved(world)
    world.put(v1_1_0={"revoked": True})
    action = world.run(mode="propose")
    assert action.state is ActionState.REFUSED
    assert "1.1.0 is no longer a version that is known to be good" in action.reason
    assert world.moves == []


# Guard rails


def test_without_a_safe_version_it_refuses(world: World) -> None:
    world.put(v1_0_0={"revoked": True}, v1_1_0={"known_good_at": ONSET_LOW})
    world.request()
    action = world.run()
    assert action.state is ActionState.REFUSED
    assert action.reason == (
        "Did not roll the alias champion of net-ids back: no older version is ready, not revoked,"
        " and marked known-good before the trouble began (2026-03-02 02:50:00 UTC)."
    )
    assert world.at() == "1.2.0"


@pytest.mark.parametrize("flaw", [{"ready": False}, {"revoked": True}, {"known_good_at": None}])
def test_a_flawed_version_is_stepped_over(world: World, flaw: dict[str, Any]) -> None:
    world.put(v1_1_0=flaw)
    world.request()
    assert world.run().to_version == "1.0.0"


def test_a_newer_version_is_never_a_target(world: World) -> None:
    world.put(v1_3_0={"created": OPENED_AT - 0.5 * DAY, "known_good_at": OPENED_AT - 0.4 * DAY})
    world.request()
    assert world.run().to_version == "1.1.0"


def test_it_stands_back_when_somebody_has_moved_the_alias(world: World) -> None:
    world.put("1.0.0")
    world.request()
    action = world.run()
    assert action.state is ActionState.REFUSED
    assert "it is at 1.0.0, so somebody has moved it" in action.reason
    assert world.moves == []


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
    assert world.run().state is ActionState.DONE
    assert world.moves == []


@pytest.mark.parametrize(
    ("later", "state"), [(3599.0, ActionState.REFUSED), (3600.0, ActionState.DONE), (-DAY, ActionState.REFUSED)]
)
def test_a_second_rollback_waits_for_the_cooldown(world: World, later: float, state: ActionState) -> None:
    world.request(id="earlier")
    world.run_all(cooldown=3600)
    world.put("1.2.0")  # somebody has put it back
    world.now += later
    world.request()
    action = world.run(cooldown=3600)
    assert action.state is state
    if state is ActionState.REFUSED:
        assert (
            "the last rollback was at 2026-03-02 03:10:00 UTC, cooldown until 2026-03-02 04:10:00 UTC" in action.reason
        )


def test_one_models_cooldown_does_not_hold_another(world: World) -> None:
    world.write([MODEL, "spam"])
    world.request(id="other", model="spam")
    world.request()
    world.run()
    assert {action.state for action in world.log.actions.values()} == {ActionState.DONE}


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
    assert states.pop("other") is ActionState.DONE
    assert set(states.values()) == {ActionState.REQUESTED}
    world.run()
    assert world.action().state is ActionState.DONE
    assert world.log.actions["later"].state is ActionState.REFUSED
    assert sorted(world.moves) == sorted([*BACK, ("spam", "1.2.0", "1.1.0")])


def test_a_listener_that_fails_changes_nothing_about_the_action(world: World) -> None:
    world.raise_at("on_finish", lambda: ValueError("no such metric"))
    world.request()
    with pytest.raises(ValueError, match="no such metric"):
        world.run()
    assert world.action().state is ActionState.DONE
    world.run()
    assert world.moves == BACK
