"""Every branch of the executor, over a real file registry."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.incident import Plan
from monitor.rollback.action import Action, ActionState
from monitor.rollback.artefacts import of_chunks
from monitor.rollback.config import RollbackConfig
from monitor.rollback.consent import approve, awaited, deny, execute
from tests.kit.incidents import OPENED_AT
from tests.kit.rollback_world import DAY, MODEL, ONSET_LOW, World, passing, permanent
from tests.kit.witnesses import serve

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


# Guard rails


def test_without_a_safe_version_it_refuses(world: World) -> None:
    world.put(v1_0_0={"revoked": True}, v1_1_0={"known_good_at": ONSET_LOW})
    world.request()
    action = world.run()
    assert action.state is ActionState.HELD
    assert action.reason == (
        "Does not roll the alias champion of net-ids back yet: no older version was known to be good before"
        " 2026-03-02 02:50:00 UTC (1.1.0: it was marked after the trouble began; 1.0.0: it is revoked)."
    )
    assert world.at() == "1.2.0"
    world.put(v1_0_0={"revoked": False})
    assert world.run().to_version == "1.0.0"


@pytest.mark.parametrize("flaw", [{"ready": False}, {"revoked": True}, {"known_good_at": None}])
def test_a_flawed_version_is_stepped_over(world: World, flaw: dict[str, Any]) -> None:
    world.put(v1_1_0=flaw)
    world.request()
    assert world.run().to_version == "1.0.0"


def test_a_newer_version_is_never_a_target(world: World) -> None:
    world.put(v1_3_0={"created": OPENED_AT - 0.5 * DAY, "known_good_at": OPENED_AT - 0.4 * DAY})
    world.request()
    assert world.run().to_version == "1.1.0"


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


# What people say


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


# Targets


def artefact(world: World, content: bytes) -> str:
    (world.path.parent / "model.bin").write_bytes(content)
    return of_chunks([content])


def test_an_artefact_that_is_what_was_recorded_may_serve(world: World) -> None:
    world.put(v1_1_0={"uri": "model.bin", "digest": artefact(world, b"weights")})
    world.request()
    assert world.run(verify="always").state is ActionState.MOVED


def test_a_tampered_artefact_never_serves(world: World) -> None:
    world.put(v1_1_0={"uri": "model.bin", "digest": artefact(world, b"weights")})
    artefact(world, b"other weights")
    world.request()
    action = world.run()
    assert action.state is ActionState.REFUSED
    assert "its artefact is not the one whose digest was recorded" in action.reason
    assert world.moves == []


@pytest.mark.parametrize("keys", [{}, {"digest": "sha256:0", "uri": "s3://models/1.1.0"}])
def test_what_cannot_be_verified_serves_only_if_that_is_allowed(world: World, keys: dict[str, Any]) -> None:
    world.put(v1_1_0=keys)
    world.request()
    assert world.run(verify="always").state is ActionState.REFUSED
    world.request(id="another")
    world.run_all()
    assert world.log.actions["another"].state is ActionState.MOVED


def test_a_floor_is_never_gone_below(world: World) -> None:
    world.put(v1_1_0={"revoked": True})
    world.request()
    assert world.run(floor={MODEL: "1.1.0"}).state is ActionState.HELD
    assert world.run(floor={MODEL: "0.9.0"}).state is ActionState.HELD  # a floor that is gone lets nothing through
    assert world.run(floor={MODEL: "1.0.0"}).to_version == "1.0.0"


def test_a_target_that_was_no_better_is_held(world: World) -> None:
    serve(world.answers, "1.1.0", OPENED_AT - 9 * DAY, flipped=0.9, count=4000)
    world.request()
    action = world.run(mode="auto", min_families=1)
    assert action.state is ActionState.HELD


# The switch


def test_nothing_is_moved_while_somebody_has_stopped_it(world: World) -> None:
    world.stopped = "ann has stopped rollbacks"
    world.request()
    assert world.run().holds == ("ann has stopped rollbacks",)
    assert world.action().state is ActionState.PROPOSED
    world.log.save(approve(world.action(), by="bob", config=world.config(), now=world.now))
    assert world.run().reason == ("Did not roll the alias champion of net-ids back: ann has stopped rollbacks.")
    assert world.moves == []


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
