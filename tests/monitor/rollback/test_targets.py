"""Where an alias may go back to, and where never."""

from pathlib import Path
from typing import Any

import pytest

from monitor.rollback.action import ActionState
from monitor.rollback.artefacts import of_chunks
from tests.kit.incidents import OPENED_AT
from tests.kit.rollback_world import DAY, MODEL, ONSET_LOW, World
from tests.kit.witnesses import serve


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry.json")


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
