"""What the executor does when the registry fails, and after a crash at any point."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.rollback.action import OPEN_STATES, ActionState
from monitor.rollback.registry import RegistryError
from tests.kit.rollback_world import MODEL, Crash, World, passing, permanent

BACK = [(MODEL, "1.2.0", "1.1.0")]
CALLS = [
    *("unfinished", "case", "current", "versions", "spent", "advance intended", "advanced intended"),
    *("on_state", "case", "current", "versions", "still mine", "move", "moved", "advance moved", "advanced moved"),
    *("on_state", "case", "current"),
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry.json")


# Errors of the registry


@pytest.mark.parametrize("call", ["current", "versions", "move", "moved"])
def test_a_passing_error_leaves_it_for_the_next_time(world: World, call: str) -> None:
    world.raise_at(call, passing)
    world.request()
    assert world.run().state in OPEN_STATES
    assert world.finished == []
    assert world.run().state is ActionState.MOVED
    assert world.moves == BACK


def test_an_answer_that_was_lost_is_found_in_the_registry(world: World) -> None:
    world.raise_at("moved", passing)
    world.request()
    world.run()
    assert world.run().reason == "Found the alias champion of net-ids at 1.1.0, as intended."
    assert world.moves == BACK


def test_errors_that_do_not_pass_end_a_request_in_time(world: World) -> None:
    world.raise_at("current", passing, times=99)
    world.request()
    world.now += 3600.0
    assert world.run().state is ActionState.REQUESTED
    world.raise_at("versions", passing)
    world.now += 0.5
    assert world.run().state is ActionState.REFUSED


def test_a_permanent_error_ends_a_request_and_nothing_was_moved(world: World) -> None:
    world.raise_at("current", permanent)
    world.request()
    action = world.run()
    assert action.state is ActionState.REFUSED
    assert "was answered 403" in action.reason
    assert world.moves == []


@pytest.mark.parametrize("error", [permanent, passing])
@pytest.mark.parametrize(
    ("call", "alias", "state", "said"),
    [
        ("move", None, ActionState.REFUSED, "Did not roll"),
        ("moved", None, ActionState.MOVED, "Found the alias champion of net-ids at 1.1.0"),
        ("moved", "1.0.0", ActionState.UNKNOWN, "was to go from 1.2.0 to 1.1.0, but is at 1.0.0"),
    ],
)
def test_the_alias_says_what_became_of_a_move_that_failed(
    world: World, error: Callable[[], RegistryError], call: str, alias: str | None, state: ActionState, said: str
) -> None:
    def trap(reached: str) -> None:
        if reached == call:
            if alias is not None:
                world.put(alias)
            world.now += 3601.0  # by then there is no time left to try again
            raise error()

    world.trap = trap
    world.request()
    action = world.run()
    assert action.state is state
    assert said in action.reason
    assert len(world.moves) == (call == "moved")


@pytest.mark.parametrize("late", [3601.0, 0.0])
def test_an_intent_whose_registry_stays_silent_needs_a_person(world: World, late: float) -> None:
    world.intend()
    world.now += late
    world.raise_at("current", passing if late else permanent, times=99)
    action = world.run()
    assert action.state is ActionState.UNKNOWN
    assert "a person must look" in action.reason


# After a crash


def test_an_intent_that_was_carried_out_is_done(world: World) -> None:
    world.intend()
    world.put("1.1.0")
    assert world.run().state is ActionState.MOVED
    assert world.moves == []


def test_an_intent_that_was_not_carried_out_is_carried_out(world: World) -> None:
    world.intend()
    assert world.run().state is ActionState.MOVED
    assert world.moves == BACK


def test_an_intent_whose_alias_is_elsewhere_needs_a_person(world: World) -> None:
    world.intend()
    world.put("1.0.0")
    action = world.run()
    assert action.state is ActionState.UNKNOWN
    assert action.reason == (
        "A person must look: the alias champion of net-ids was to go from 1.2.0 to 1.1.0, but is at 1.0.0."
    )
    assert world.moves == []


@pytest.mark.parametrize("flaw", [{"ready": False}, {"revoked": True}, {"known_good_at": None}])
def test_an_intent_whose_target_is_no_longer_safe_is_refused(world: World, flaw: dict[str, Any]) -> None:
    world.intend()
    world.put(v1_1_0=flaw)
    assert world.run().state is ActionState.REFUSED
    assert world.moves == []


def test_an_intent_whose_target_is_gone_is_refused(world: World) -> None:
    world.intend(to="1.1.9")
    assert world.run().state is ActionState.REFUSED
    assert world.moves == []


def test_an_old_intent_is_not_carried_out(world: World) -> None:
    world.intend()
    world.now += 3601.0
    action = world.run()
    assert action.state is ActionState.REFUSED
    assert "the decision of 2026-03-02 03:10:00 UTC is too old" in action.reason
    assert world.moves == []


@pytest.mark.parametrize("mode", ["observe", "propose"])
def test_another_mode_stops_an_intent_that_nobody_approved(world: World, mode: str) -> None:
    world.intend()
    assert world.run(mode=mode).state is ActionState.REFUSED
    assert world.moves == []


def test_these_are_all_calls_of_a_rollback(world: World) -> None:
    world.request()
    world.run()
    assert world.calls == CALLS


def crash(world: World, number: int, **keys: Any) -> bool:
    """Run until the call of that number, and die there. False if the run ended before."""
    world.raise_at(number, Crash)
    try:
        world.run(**keys)
    except Crash:
        return True
    finally:
        world.raise_at("nowhere", Crash)
    return False


@pytest.mark.parametrize("number", range(len(CALLS)), ids=lambda number: f"{number}: {CALLS[number]}")
def test_after_a_crash_at_any_call_there_is_exactly_one_move(world: World, number: int) -> None:
    world.request()
    assert crash(world, number)
    assert world.run().state is ActionState.MOVED
    assert (world.at(), world.moves) == ("1.1.0", BACK)
    lost = {CALLS.index("advanced moved"), CALLS.index("advanced moved") + 1}  # the second is `on_state`
    assert len(world.finished) == (number not in lost)


def test_after_any_two_crashes_there_is_exactly_one_move(tmp_path: Path) -> None:
    pairs = 0
    for first in range(len(CALLS)):
        for second in range(len(CALLS)):
            world = World(tmp_path / "registry.json")
            world.request()
            crash(world, first)
            pairs += crash(world, second)
            assert world.run().state is ActionState.MOVED
            assert (world.at(), world.moves) == ("1.1.0", BACK)
    assert pairs > 150


@pytest.mark.parametrize("number", range(len(CALLS)), ids=lambda number: f"{number}: {CALLS[number]}")
@pytest.mark.parametrize("mode", ["observe", "propose"])
def test_after_a_crash_nothing_is_moved_that_was_not_allowed(world: World, mode: str, number: int) -> None:
    world.request()
    crash(world, number, mode=mode)
    assert world.run(mode=mode).state in {ActionState.OBSERVED, ActionState.PROPOSED}
    assert (world.at(), world.moves) == ("1.2.0", [])
