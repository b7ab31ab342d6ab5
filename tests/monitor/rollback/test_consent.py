"""What people may say to a rollback, and what the executor makes of it."""

from pathlib import Path

import msgspec
import pytest

from alerting.incident import Plan
from monitor.rollback.action import ActionState
from monitor.rollback.config import RollbackConfig
from monitor.rollback.consent import approve, awaited, deny, execute
from tests.kit.rollback_world import MODEL, World

BACK = [(MODEL, "1.2.0", "1.1.0")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry.json")


def approved(world: World) -> None:
    world.request()
    proposal = world.run(mode="propose")
    world.now += 7200.0  # longer than a request may wait: a proposal has a time of its own
    world.log.save(approve(proposal, by="ann", config=RollbackConfig(), now=world.now))


def test_an_approved_proposal_is_carried_out(world: World) -> None:
    approved(world)
    assert world.run(mode="propose").state is ActionState.MOVED
    assert world.moves == BACK


def test_an_approved_proposal_is_checked_anew(world: World) -> None:
    approved(world)
    world.put(v1_1_0={"revoked": True})
    action = world.run(mode="propose")
    assert action.state is ActionState.REFUSED
    assert "1.1.0 is no longer a version that is known to be good" in action.reason
    assert world.moves == []


@pytest.mark.parametrize(("late", "state"), [(-0.5, ActionState.PROPOSED), (0.0, ActionState.LAPSED)])
def test_a_proposal_expires(world: World, late: float, state: ActionState) -> None:
    world.request()
    world.run(mode="propose", proposal_expires=1800)
    world.now += 1800.0 + late
    assert world.run(mode="propose").state is state


def test_a_proposal_lapses_with_its_incident(world: World) -> None:
    world.request()
    world.run(mode="propose")
    world.open.clear()
    action = world.run(mode="propose")
    assert (action.state, action.reason) == (ActionState.LAPSED, "The incident is over; nothing was rolled back.")


def test_an_announced_move_is_made_when_nobody_denies_it_in_time(world: World) -> None:
    world.request()
    action = world.run(veto=600)
    assert action.state is ActionState.ANNOUNCED
    assert action.reason == (
        "Will roll the alias champion of net-ids back from 1.2.0 to 1.1.0 at 2026-03-02 03:20:00 UTC,"
        " unless somebody denies it."
    )
    assert awaited(action) == Plan(action.incident, veto=True, until=world.now + 600.0)
    world.now += 599.0
    assert world.run(veto=600) == action
    assert world.moves == []
    world.now += 1.0
    moved = world.run(veto=600)
    assert (moved.state, awaited(moved)) == (ActionState.MOVED, None)
    assert world.moves == BACK


def test_a_denied_move_is_never_made(world: World) -> None:
    world.request()
    world.log.save(deny(world.run(veto=600), by="ann", now=world.now))
    world.now += 700.0
    assert world.run(veto=600).reason == "Denied by ann at 2026-03-02 03:10:00 UTC."
    assert world.moves == []


def test_what_was_announced_is_held_when_the_evidence_goes(world: World) -> None:
    world.request()
    world.run(veto=600)
    world.now += 600.0
    assert world.run(veto=600, max_evidence_age=60).state is ActionState.HELD
    assert world.moves == []


def test_two_people_have_to_approve_if_that_is_asked_for(world: World) -> None:
    world.request()
    proposal, config = world.run(mode="propose", approvals=2), world.config(approvals=2)
    assert awaited(proposal) == Plan(proposal.incident, veto=False, until=world.now + 86_400.0)
    once = approve(proposal, by="ann", config=config, now=world.now)
    assert (once.state, once.reason) == (
        ActionState.PROPOSED,
        "Approved by ann at 2026-03-02 03:10:00 UTC; 1 more must approve.",
    )
    with pytest.raises(ValueError, match="ann has approved it already"):
        approve(once, by="ann", config=config, now=world.now)
    world.log.save(once)
    assert world.run(mode="propose", approvals=2) == once
    world.log.save(approve(once, by="bob", config=config, now=world.now))
    assert world.run(mode="propose", approvals=2).state is ActionState.MOVED


def test_a_person_may_demand_what_is_held_but_not_a_version_that_is_not_good(world: World) -> None:
    world.request()
    held = world.run(mode="observe", persistence=3600)
    assert (held.state, held.to_version) == (ActionState.HELD, None)
    with pytest.raises(ValueError, match="name one with --to"):
        execute(held, to=None, by="ann", config=world.config(), now=world.now)
    world.log.save(execute(held, to="1.2.0", by="ann", config=world.config(), now=world.now))
    assert world.run(mode="observe").state is ActionState.REFUSED
    world.log.save(execute(held, to="1.0.0", by="ann", config=world.config(), now=world.now))
    assert world.run(mode="observe").state is ActionState.MOVED
    assert world.moves == [(MODEL, "1.2.0", "1.0.0")]


@pytest.mark.parametrize("state", sorted(frozenset(ActionState) - {ActionState.PROPOSED, ActionState.ANNOUNCED}))
def test_only_what_waits_can_be_approved(world: World, state: ActionState) -> None:
    action = msgspec.structs.replace(world.request(), state=state)
    with pytest.raises(ValueError, match=f"is {state}, not proposed"):
        approve(action, by="ann", config=world.config(), now=world.now)


@pytest.mark.parametrize("state", [ActionState.INTENDED, ActionState.MOVED, ActionState.UNKNOWN])
def test_what_is_under_way_can_neither_be_denied_nor_demanded(world: World, state: ActionState) -> None:
    action = msgspec.structs.replace(world.request(), state=state, to_version="1.1.0")
    with pytest.raises(ValueError, match="already"):
        deny(action, by="ann", now=world.now)
    with pytest.raises(ValueError, match="already"):
        execute(action, to=None, by="ann", config=world.config(), now=world.now)


def test_an_answer_that_comes_while_the_executor_works_is_not_overwritten(world: World) -> None:
    """The person's `deny` and the daemon's next step meet: whoever wrote first wins."""
    world.request()

    def meddle(call: str) -> None:
        if call == "advance intended":
            world.trap = lambda _: None
            world.log.save(deny(world.action(), by="ann", now=world.now))

    world.trap = meddle
    assert world.run().state is ActionState.DENIED
    assert world.run().state is ActionState.DENIED
    assert world.moves == []
