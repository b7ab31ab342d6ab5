"""How an automatic rollback can go wrong, case by case, and where each of them ends.

MODES is the table: what goes wrong, in what state the action ends, what people are told, and what was moved. Others
need more than one executor, and are shown elsewhere:

    killed at any request, and two replicas     tests/monitor/rollback/test_killed.py, on a real MLflow
    a crash at any call, and at any two         tests/monitor/rollback/test_recovery.py
    the last one of a budget, by two replicas   tests/monitor/rollback/test_fleet_budget.py
    everything at random                        tests/monitor/rollback/test_histories.py
    forced by one source or labeler, recorded   tests/integration/test_rollback_on_logs.py
    a model whose signature does not hold       tests/monitor/rollback/test_model_signature.py
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from alerting.incident import Attribution, Verdict
from monitor.detection.answers import Answers
from monitor.rollback.action import ActionState
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.rollback_world import DAY, MODEL, World, passing, permanent
from tests.kit.witnesses import lie, serve

HOUR = 3600.0
BACK = [(MODEL, "1.2.0", "1.1.0")]


class Mode(NamedTuple):
    """One way to go wrong."""

    arrange: Callable[[World], object]
    """What is so, or happens, before the executor looks."""
    ends: ActionState
    says: str
    """A part of what people read: the sentence, or one of the reasons for a hold."""
    moves: list[tuple[str, str, str]]
    keys: dict[str, Any]
    """Configuration that differs from the world's."""


def mode(arrange: Callable[[World], object], ends: ActionState, says: str, *, moves: Any = (), **keys: Any) -> Mode:
    return Mode(arrange, ends, says, list(moves), keys)


def answered(world: World, **keys: Any) -> None:
    """Two sound versions, and one that serves; `keys` are about that one."""
    world.answers = Answers()
    for version, first in (("1.0.0", -29 * DAY), ("1.1.0", -9 * DAY)):
        serve(world.answers, version, OPENED_AT + first)
    serve(world.answers, "1.2.0", world.now, **{"flipped": 0.5, "count": 400} | keys)


def forced_by_labels_of_one_source(world: World) -> None:
    answered(world, flipped=0.02)
    for number in range(120):
        lie(world.answers, "1.2.0", 1, source="src-1", labeler=f"lab-{number % 4}")


def forced_by_many_invented_names(world: World) -> None:
    answered(world, sources=[f"new-{number}" for number in range(40)])


def labels_of_the_version_before(world: World) -> None:
    """They come late, while 1.2.0 serves, and say what 1.1.0 did wrong."""
    answered(world, flipped=0.02)
    for number in range(400):
        world.answers.take_label("1.1.0", f"src-{number % 5}", f"lab-{number % 4}", "ham", "spam")


def another_world(world: World) -> None:
    """A season, a new market: the older version was no better at what comes now."""
    answered(world)
    serve(world.answers, "1.1.0", OPENED_AT - 9 * DAY, flipped=0.9, count=4000)


def no_better_target(world: World) -> None:
    serve(world.answers, "1.0.0", OPENED_AT - 29 * DAY, count=9000)
    serve(world.answers, "1.1.0", OPENED_AT - 9 * DAY, flipped=1.0, count=900)


def other_features(world: World) -> None:
    """Events have lost a feature since the older versions were trained."""
    for number in range(400):
        world.answers.take("1.2.0", f"src-{number % 5}", "ham", world.now, {"length": 1.0, "links": None})
    world.put(v1_1_0={"inputs": ["length", "links"]}, v1_0_0={"inputs": ["subject"]})


def with_artefact(world: World, content: bytes) -> None:
    (world.path.parent / "model.bin").write_bytes(content)
    digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of b"test"
    world.put(v1_1_0={"uri": "model.bin", "digest": digest})


def at_the_move(what: Callable[[World], object], *, then: str = "move") -> Callable[[World], None]:
    """Let something happen when the executor is about to move the alias, or has just done it."""

    def arrange(world: World) -> None:
        def trap(call: str) -> None:
            if call == then:
                world.trap = lambda _: None
                what(world)

        world.trap = trap

    return arrange


def gone(world: World) -> None:
    del world.versions["1.1.0"]
    world.put()


def moved_back_an_hour_ago(world: World) -> None:
    """One rollback was done, and somebody, or the retrainer, put the same poison back."""
    world.log.actions.clear()
    world.request(id="earlier")
    world.run_all()
    world.put("1.2.0")
    world.now += HOUR
    world.request()


def fail(error: Callable[[], BaseException]) -> Callable[[World], None]:
    def raising(_world: World) -> None:
        raise error()

    return raising


def too_late(world: World) -> None:
    world.now += 2 * HOUR
    raise passing()


MODES = {
    "forced by one source": mode(
        forced_by_labels_of_one_source, ActionState.ADVISED, "quarantine source src-1 instead"
    ),
    "forced by one labeler": mode(
        lambda world: answered(world, labelers=["lab-2"]),
        ActionState.HELD,
        "one labeler gives too much of the evidence by labels",
    ),
    "forced by invented names": mode(
        forced_by_many_invented_names, ActionState.HELD, "one source gives too much of the evidence by labels"
    ),
    "forced to a revoked version": mode(
        lambda world: world.put(v1_1_0={"revoked": True}, v1_0_0={"revoked": True}),
        ActionState.HELD,
        "1.1.0: it is revoked; 1.0.0: it is revoked",
    ),
    "forced below the floor": mode(
        lambda world: world.put(v1_1_0={"ready": False}),
        ActionState.HELD,
        "1.0.0: it is below the floor",
        floor={MODEL: "1.1.0"},
    ),
    "poison in the stream": mode(
        lambda world: world.open.update(
            {incident().id: incident(verdict=Verdict.LABEL_TAMPERING, attribution=Attribution(labeler="lab-2"))}
        ),
        ActionState.ADVISED,
        "quarantine labeler lab-2 instead: without it nothing speaks against the model",
    ),
    "poisoned target, marked too late": mode(
        lambda world: world.put(v1_1_0={"known_good_at": OPENED_AT}, v1_0_0={"known_good_at": None}),
        ActionState.HELD,
        "1.1.0: it was marked after the trouble began",
    ),
    "poisoned target, trained on it": mode(
        lambda world: world.put(v1_1_0={"trained_until": OPENED_AT}, v1_0_0={"known_good_at": None}),
        ActionState.HELD,
        "1.1.0: it was trained on data from after the trouble began",
    ),
    "poisoned target, and one further back": mode(
        lambda world: world.put(v1_1_0={"trained_until": OPENED_AT}),
        ActionState.MOVED,
        "back from 1.2.0 to 1.0.0",
        moves=[(MODEL, "1.2.0", "1.0.0")],
    ),
    "flapping": mode(
        moved_back_an_hour_ago,
        ActionState.PROPOSED,
        "Not without a person: the last rollback was at 2026-03-02 03:10:00 UTC, cooldown until",
        moves=BACK,
    ),
    "benign drift": mode(another_world, ActionState.HELD, "labels do not say that 1.2.0 is worse"),
    "an older version that is no better": mode(
        no_better_target, ActionState.HELD, "1.1.0 was wrong at least as often in its labelled answers as 1.2.0 is"
    ),
    "late labels blamed on the wrong version": mode(
        labels_of_the_version_before,
        ActionState.HELD,
        "labels do not say that 1.2.0 is worse than the versions before",
    ),
    "no data": mode(
        lambda world: setattr(world, "now", world.now + 0.5 * HOUR),
        ActionState.HELD,
        "the newest event is more than 900 seconds old",
        max_evidence_age=900,
    ),
    "nothing was ever answered": mode(
        lambda world: setattr(world, "answers", Answers()), ActionState.HELD, "nothing has been answered yet"
    ),
    "a clock that is wrong": mode(
        lambda world: serve(world.answers, "1.2.0", world.now + 2 * HOUR, flipped=0.5),
        ActionState.HELD,
        "events are ahead of the clock",
    ),
    "an outage of the data": mode(
        lambda world: setattr(world, "troubles", ("its events have stopped",)),
        ActionState.PROPOSED,
        "Not without a person: its events have stopped.",
    ),
    "many models at once": mode(
        lambda world: setattr(world, "poisoned", 3),
        ActionState.PROPOSED,
        "Not without a person: 3 models look poisoned at once.",
    ),
    "schema mismatch": mode(
        other_features,
        ActionState.HELD,
        "1.1.0: events do not carry what it needs: links; 1.0.0: events do not carry what it needs: subject",
    ),
    "schema mismatch after the decision": mode(
        at_the_move(other_features, then="advance intended"),
        ActionState.REFUSED,
        "1.1.0 is no longer a version that is known to be good: events do not carry what it needs: links",
    ),
    "servers that do not follow": mode(
        at_the_move(lambda world: setattr(world, "now", world.now + HOUR), then="advanced moved"),
        ActionState.ESCALATED,
        "A person must look: the alias champion of net-ids was moved to 1.1.0, but answers still come from 1.2.0.",
        moves=BACK,
    ),
    "partial failure, before the move": mode(at_the_move(fail(permanent)), ActionState.REFUSED, "was answered 403"),
    "partial failure, after the move": mode(
        at_the_move(fail(permanent), then="moved"),
        ActionState.MOVED,
        "Found the alias champion of net-ids at 1.1.0, as intended.",
        moves=BACK,
    ),
    "tampered artefact": mode(
        lambda world: with_artefact(world, b"tampered"),
        ActionState.REFUSED,
        "its artefact is not the one whose digest was recorded",
    ),
    "intact artefact": mode(
        lambda world: with_artefact(world, b"test"), ActionState.MOVED, "read back", moves=BACK, verify="always"
    ),
    "third party moved the alias before": mode(
        lambda world: world.put("1.0.0"), ActionState.HELD, "the alias is at 1.0.0, and answers come from 1.2.0"
    ),
    "third party moved the alias meanwhile": mode(
        at_the_move(lambda world: world.put("1.0.0")), ActionState.REFUSED, "is at 1.0.0, not at 1.2.0: somebody else"
    ),
    "third party moved the alias after": mode(
        at_the_move(lambda world: world.put("1.0.0"), then="advanced moved"),
        ActionState.ESCALATED,
        "somebody has moved it to 1.0.0 since",
        moves=BACK,
    ),
    "target missing": mode(at_the_move(gone, then="advance intended"), ActionState.REFUSED, "1.1.0 is no longer there"),
    "registry 500 in the middle": mode(at_the_move(fail(passing)), ActionState.INTENDED, "Is about to roll"),
    "registry silent for too long in the middle": mode(at_the_move(too_late), ActionState.REFUSED, "was answered 503"),
    "a registry that is silent for good": mode(
        lambda world: world.raise_at("versions", permanent), ActionState.REFUSED, "was answered 403"
    ),
    "the kill switch": mode(
        at_the_move(lambda world: setattr(world, "stopped", "ann has stopped rollbacks"), then="advance intended"),
        ActionState.REFUSED,
        "ann has stopped rollbacks",
    ),
}


@pytest.mark.parametrize("name", MODES)
def test_it_ends_where_it_should(tmp_path: Path, name: str) -> None:
    world, case = World(tmp_path / "registry.json"), MODES[name]
    world.request()
    case.arrange(world)
    action = world.run(**case.keys)
    assert action.state is case.ends
    assert any(case.says in told for told in (action.reason, *action.holds)), (action.reason, action.holds)
    assert world.moves == case.moves
    assert json.loads(world.path.read_text())  # whatever happened, the registry is whole


def test_after_a_500_in_the_middle_exactly_one_move_is_made(tmp_path: Path) -> None:
    world = World(tmp_path / "registry.json")
    world.request()
    at_the_move(fail(passing))(world)
    assert world.run().state is ActionState.INTENDED
    assert world.run().state is ActionState.MOVED
    assert world.moves == BACK
