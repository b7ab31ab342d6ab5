"""A daemon that is killed (-9) at any request of a rollback, with a real store and a real MLflow server."""

import signal
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from alerting.incident import Attribution, Onset
from monitor.detection.answers import Answers
from monitor.rollback.action import Action, ActionState
from monitor.rollback.policy import consider
from monitor.store.store import Commit, Store
from monitor.store.tables import WHOLE
from tests.kit.documents import ROOT
from tests.kit.incidents import incident
from tests.kit.killed_rollback import run
from tests.kit.mlflow_server import MlflowServer
from tests.kit.witnesses import serve

pytestmark = [pytest.mark.mlflow, pytest.mark.slow]

MOVE = "POST registered-models/alias"
ALIAS, SEARCH = "GET registered-models/alias", "GET model-versions/search"
REQUESTS = [ALIAS, SEARCH, ALIAS, SEARCH, ALIAS, MOVE, ALIAS, ALIAS]
"""Decide; carry out; compare, move, read back; watch."""


class Life:
    """Two versions in MLflow, of which the second is poisoned and serves; and a store in which that is known."""

    def __init__(self, server: MlflowServer, folder: Path) -> None:
        self.server, self.store, self.log = server, folder / "tocsin.db", folder / "requests"
        self.model = f"net-ids-{uuid.uuid4().hex}"
        server.add_model(self.model)
        for known_good_at in ("2026-01-01T00:00:00+00:00", None):
            server.add_version(self.model, {"tocsin.known_good_at": known_good_at} if known_good_at else {})
        server.set_alias(self.model, "champion", "2")
        now = time.time()
        answers = Answers()
        serve(answers, "1", now - 9000.0)
        serve(answers, "2", now, flipped=0.5)
        told = incident(
            model=self.model,
            version="2",
            opened_at=now,
            onset=Onset(now, now, now),
            attribution=Attribution(class_from="spam", class_to="ham", version="2"),
        )
        asked = consider(told, now)
        assert asked is not None
        states = {f"answers/{self.model}": answers.dump()}
        with closing(Store(self.store)) as store:
            store.commit(Commit(incidents=[told], states=states, actions=[asked]))

    def killed(self, number: int, when: str) -> bool:
        """Run in a process of its own; whether that was killed."""
        words = [self.server.url, str(self.store), str(self.log), str(number), when]
        ended = subprocess.run([sys.executable, "-m", "tests.kit.killed_rollback", *words], cwd=ROOT, check=False)
        assert ended.returncode in {0, -signal.SIGKILL}
        return ended.returncode != 0

    def restart(self) -> Action:
        with closing(Store(self.store)) as store:
            run(self.server.url, store, self.log)
            return store.actions.all()[0]

    def requests(self) -> list[str]:
        return self.log.read_text().splitlines()

    def alias(self) -> str:
        return self.server.alias(self.model, "champion")


@pytest.fixture
def life(mlflow_server: MlflowServer, tmp_path: Path) -> Life:
    return Life(mlflow_server, tmp_path)


def test_these_are_all_requests_of_a_rollback(life: Life) -> None:
    assert life.restart().state is ActionState.MOVED
    assert life.requests() == REQUESTS
    assert life.alias() == "1"


@pytest.mark.parametrize("number", range(1, len(REQUESTS) + 1))
def test_killed_before_a_request_there_is_exactly_one_move(life: Life, number: int) -> None:
    assert life.killed(number, "before")
    sent = life.requests()[: number - 1]
    action = life.restart()
    assert (action.state, life.alias()) == (ActionState.MOVED, "1")
    sent += life.requests()[number:]
    assert sent.count(MOVE) == 1


def test_killed_when_the_move_is_made_and_not_yet_known_it_is_found_and_not_made_again(life: Life) -> None:
    assert life.killed(REQUESTS.index(MOVE) + 1, "after")
    action = life.restart()
    assert (action.state, life.alias(), life.requests().count(MOVE)) == (ActionState.MOVED, "1", 1)
    assert action.reason.startswith("Found the alias champion of")


def test_killed_and_then_somebody_moves_the_alias_elsewhere_a_person_is_called(life: Life) -> None:
    assert life.killed(REQUESTS.index(MOVE) + 1, "after")
    life.server.add_version(life.model)
    life.server.set_alias(life.model, "champion", "3")
    action = life.restart()
    assert (action.state, life.alias()) == (ActionState.UNKNOWN, "3")
    assert action.reason.startswith("A person must look:")


def test_of_two_replicas_only_the_one_that_took_over_acts(life: Life) -> None:
    with closing(Store(life.store)) as first, closing(Store(life.store)) as second:
        for store, owner in ((first, "first"), (second, "second")):
            store.hold({WHOLE: store.claim(WHOLE, owner, time.time()).epoch})
        run(life.server.url, first, life.log)
        assert not life.log.exists()
        run(life.server.url, second, life.log)
    assert (life.alias(), life.requests().count(MOVE)) == ("1", 1)
