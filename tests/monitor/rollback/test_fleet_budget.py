"""The budgets hold for all replicas together: whoever comes second sees what the first one is about to do."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from alerting.incident import Attribution, Onset
from monitor.detection.answers import STATE, Answers
from monitor.rollback.action import Action, ActionState
from monitor.rollback.config import RollbackConfig
from monitor.rollback.executor import RollbackExecutor
from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.policy import consider
from monitor.service.cases import case_of
from monitor.store.store import Commit, Store
from tests.kit.incidents import incident
from tests.kit.rollback_world import Crash
from tests.kit.witnesses import serve

BUDGET = 3


class Fleet:
    """Poisoned models, one shard each, in one registry and one store that several replicas have open."""

    def __init__(self, path: Path, replicas: Sequence[Store]) -> None:
        self.path, self.replicas, self.now = path, replicas, time.time()
        self.held: list[dict[str, int]] = [{} for _ in replicas]
        self.moves: list[str] = []
        path.write_text(json.dumps({"models": {}}))

    def poison(self, model: str, replica: int) -> None:
        """A model whose replica has to decide about a rollback."""
        document = json.loads(self.path.read_text())
        good = {"created": self.now - 9000, "known_good_at": self.now - 8000}
        versions = {"1": good, "2": {"created": self.now - 1000}}
        document["models"][model] = {"aliases": {"champion": "2"}, "versions": versions}
        self.path.write_text(json.dumps(document))
        answers = Answers()
        serve(answers, "1", self.now - 8000)
        serve(answers, "2", self.now, flipped=0.5)
        told = incident(
            id=f"incident of {model}",
            model=model,
            version="2",
            opened_at=self.now,
            onset=Onset(self.now, self.now, self.now),
            attribution=Attribution(class_from="spam", class_to="ham", version="2"),
        )
        asked = consider(told, self.now)
        assert asked is not None
        store = self.replicas[replica]
        claim = store.claim(model, f"replica {replica}", self.now)
        self.held[replica][model] = claim.epoch
        store.hold(self.held[replica])
        states = {STATE + model: answers.dump()}
        store.commit(Commit(shard=model, epoch=claim.epoch, incidents=[told], states=states, actions=[asked]))

    def executor(self, replica: int, reach: Callable[[str], None] = lambda _: None, **keys: Any) -> RollbackExecutor:
        """One replica's executor; `reach` is told when it has asked what is spent, and when it is about to move."""
        fleet, store = self, self.replicas[replica]
        config = RollbackConfig.model_validate(
            {"mode": "auto", "persistence": 0, "confirm": 0, "fleet": BUDGET, "max_models": 99} | keys
        )

        class Registry(FileRegistry):
            def move(self, model: str, *, expected: str, to: str) -> None:
                reach("move")
                super().move(model, expected=expected, to=to)
                fleet.moves.append(model)

        class Log:
            unfinished, save, advance = store.actions.unfinished, store.actions.save, store.actions.advance

            def spent(self) -> Sequence[Action]:
                found = store.actions.spent()
                reach("spent")
                return found

        return RollbackExecutor(
            Registry(FileRegistryConfig(kind="file", path=self.path)),
            Log(),
            lambda action: case_of(action, store, config),
            config,
            alias="champion",
            clock=lambda: self.now,
            on_state=lambda _: None,
        )

    def states(self) -> dict[str, ActionState]:
        return {action.model: action.state for action in self.replicas[0].actions.all()}

    def action(self, model: str) -> Action:
        return next(action for action in self.replicas[0].actions.all() if action.model == model)


@pytest.fixture
def fleet(location: str | Path, tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path / "registry.json", [stack.enter_context(closing(Store(location))) for _ in range(4)])


def test_of_two_replicas_only_one_takes_the_last_one(fleet: Fleet) -> None:
    """The second looks at the budget before the first has written anything, and writes after it."""
    for replica, model in enumerate(("mail", "chat")):
        fleet.poison(model, replica)
    other = fleet.executor(1, fleet=1)
    meanwhile = [other.run_once]

    def between(call: str) -> None:
        while call == "spent" and meanwhile:
            meanwhile.pop()()

    one = fleet.executor(0, between, fleet=1)
    one.run_once()
    assert fleet.moves == ["chat"]
    one.run_once()
    assert fleet.states() == {"mail": ActionState.PROPOSED, "chat": ActionState.MOVED}
    assert fleet.action("mail").holds == ("the budget of 1 rollbacks of all models is spent",)
    assert fleet.moves == ["chat"]


def test_what_is_only_intended_is_spent(fleet: Fleet) -> None:
    for replica, model in enumerate(("mail", "chat")):
        fleet.poison(model, replica)

    def die(call: str) -> None:
        if call == "move":
            raise Crash

    with pytest.raises(Crash):
        fleet.executor(0, die, fleet=1).run_once()
    fleet.executor(1, fleet=1).run_once()
    assert fleet.states() == {"mail": ActionState.INTENDED, "chat": ActionState.PROPOSED}
    fleet.executor(0, fleet=1).run_once()
    assert (fleet.states()["mail"], fleet.moves) == (ActionState.MOVED, ["mail"])


def test_four_replicas_at_once_spend_exactly_the_budget(fleet: Fleet) -> None:
    models = [f"model-{number}" for number in range(12)]
    for number, model in enumerate(models):
        fleet.poison(model, number % 4)
    together = threading.Barrier(4)

    def work(replica: int) -> None:
        executor = fleet.executor(replica)
        together.wait()
        for _ in range(3):
            executor.run_once()

    threads = [threading.Thread(target=work, args=(replica,)) for replica in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fleet.moves) == BUDGET
    found = list(fleet.states().values())
    assert (found.count(ActionState.MOVED), found.count(ActionState.PROPOSED)) == (BUDGET, len(models) - BUDGET)
