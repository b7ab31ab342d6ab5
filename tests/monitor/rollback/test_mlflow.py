"""The whole life of a rollback against a real MLflow server."""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from alerting.incident import Attribution, Incident, Onset
from monitor.detection.answers import Answers
from monitor.rollback.action import Action, ActionState
from monitor.rollback.config import RollbackConfig
from monitor.rollback.consent import approve
from monitor.rollback.executor import RollbackExecutor
from monitor.rollback.mlflow_registry import MlflowConfig, MlflowRegistry
from monitor.rollback.policy import Case, consider
from tests.kit.incidents import incident
from tests.kit.memory_action_log import MemoryActionLog
from tests.kit.mlflow_server import MlflowServer
from tests.kit.witnesses import serve

pytestmark = [pytest.mark.mlflow, pytest.mark.slow]

CLOSED = "http://127.0.0.1:9"
"""The discard port: nothing answers there."""


CLASSES = Attribution(class_from="spam", class_to="ham")


class Life:
    """Three versions in MLflow, whose names in events are tags; the third is poisoned and serves."""

    def __init__(self, server: MlflowServer) -> None:
        self.server = server
        self.model = f"net-ids {uuid.uuid4().hex}"
        server.add_model(self.model)
        self.numbers = [server.add_version(self.model, {"release": f"1.{number}.0"}) for number in range(3)]
        server.set_alias(self.model, "champion", self.numbers[2])
        self.registry = MlflowRegistry(self.config(server.url))
        self.log = MemoryActionLog()
        self.told: list[Action] = []
        self.incidents: dict[str, Incident] = {}
        self.answers = Answers()
        for number, flipped in enumerate((0.02, 0.02, 0.5)):
            serve(self.answers, f"1.{number}.0", time.time() + number, flipped=flipped)
        for version in ("1.0.0", "1.1.0"):
            self.registry.mark(self.model, version, known_good_at=time.time() - 60.0)

    def config(self, url: str) -> MlflowConfig:
        return MlflowConfig(kind="mlflow", url=url, version_tag="release", timeout=30.0)

    def ask(self, name: str = "i1") -> None:
        now = time.time()
        onset = Onset(now, now - 1.0, now)
        told = incident(
            id=name, model=self.model, version="1.2.0", attribution=CLASSES, onset=onset, opened_at=time.time()
        )
        action = consider(told, now)
        assert action is not None
        self.incidents[name] = told
        self.log.save(action)

    def run(self, mode: str = "auto", url: str | None = None) -> Action:
        registry = self.registry if url is None else MlflowRegistry(self.config(url))
        config = RollbackConfig.model_validate({"mode": mode, "persistence": 0, "confirm": 0})
        RollbackExecutor(
            registry,
            self.log,
            lambda action: Case(self.incidents.get(action.incident), self.answers),
            config,
            alias="champion",
            clock=time.time,
            on_state=self.told.append,
        ).run_once()
        return self.log.actions["i1"]

    def served(self) -> str:
        """The version that serves, as MLflow itself shows it."""
        return self.registry.current(self.model).version


@pytest.fixture
def life(mlflow_server: MlflowServer) -> Iterator[Life]:
    made = Life(mlflow_server)
    with closing(made.registry):
        yield made


def test_the_alias_goes_back_once_and_stays(life: Life) -> None:
    life.ask()
    action = life.run()
    assert (action.state, action.to_version, life.served()) == (ActionState.MOVED, "1.1.0", "1.1.0")
    assert action.reason.startswith(f"Rolled the alias champion of {life.model} back from 1.2.0 to 1.1.0 at 20")
    life.server.set_alias(life.model, "champion", life.numbers[2])  # a person insists
    life.ask("i2")
    life.run()
    assert life.log.actions["i2"].state is ActionState.PROPOSED
    assert "cooldown" in life.log.actions["i2"].reason
    assert life.served() == "1.2.0"
    assert [told.state for told in life.told] == ["intended", "moved", "escalated", "proposed"]


def test_observing_changes_nothing(life: Life) -> None:
    life.ask()
    assert (life.run("observe").state, life.served()) == (ActionState.OBSERVED, "1.2.0")


def test_a_person_approves_and_a_revoked_target_still_stops_it(life: Life) -> None:
    life.ask()
    proposal = life.run("propose")
    assert (proposal.state, life.served()) == (ActionState.PROPOSED, "1.2.0")
    life.log.save(approve(proposal, by="ann", config=RollbackConfig(), now=time.time()))
    life.server.set_tag(life.model, life.numbers[1], "tocsin.revoked", "CVE-2026-1")
    assert (life.run("propose").state, life.served()) == (ActionState.REFUSED, "1.2.0")


def test_an_approved_proposal_is_carried_out(life: Life) -> None:
    life.ask()
    life.log.save(approve(life.run("propose"), by="ann", config=RollbackConfig(), now=time.time()))
    assert (life.run("propose").state, life.served()) == (ActionState.MOVED, "1.1.0")


def test_a_withdrawn_mark_makes_it_step_further_back(life: Life) -> None:
    life.registry.mark(life.model, "1.1.0", known_good_at=None)
    life.ask()
    assert (life.run().to_version, life.served()) == ("1.0.0", "1.0.0")


def test_it_waits_for_a_server_that_is_away(life: Life) -> None:
    life.ask()
    assert life.run(url=CLOSED).state is ActionState.REQUESTED
    assert (life.run().state, life.served()) == (ActionState.MOVED, "1.1.0")


def test_a_daemon_that_died_after_the_move_finds_it_done(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    class Death(BaseException):
        pass

    def die(self: MlflowRegistry, model: str, *, expected: str, to: str) -> None:
        move(self, model, expected=expected, to=to)
        raise Death

    move = MlflowRegistry.move
    life.ask()
    monkeypatch.setattr(MlflowRegistry, "move", die)
    with pytest.raises(Death):
        life.run()
    assert life.log.actions["i1"].state is ActionState.INTENDED
    monkeypatch.undo()
    action = life.run()
    assert (action.state, life.served()) == (ActionState.MOVED, "1.1.0")
    assert action.reason == f"Found the alias champion of {life.model} at 1.1.0, as intended."
