"""What is known about an incident, read from a real store."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from alerting.incident import Incident, Problem, Status, Verdict
from monitor.detection.answers import Answers
from monitor.rollback.config import RollbackConfig
from monitor.rollback.policy import Case, consider
from monitor.service.cases import case_of
from monitor.store.store import Commit, Store
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.witnesses import serve


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "tocsin.db")) as opened:
        yield opened


def case(store: Store, *others: Incident, own: Incident | None = None) -> Case:
    own = own or incident()
    store.commit(Commit(incidents=[own, *others]))
    action = consider(incident(), OPENED_AT)
    assert action is not None
    return case_of(action, store, RollbackConfig())


def another(name: str, **changes: Any) -> Incident:
    return incident(id=name, **changes)


def test_a_quiet_day_has_no_troubles(store: Store) -> None:
    found = case(store)
    assert (found.incident, found.troubles, found.poisoned) == (incident(), (), 1)
    assert list(found.answers) == []


def test_what_versions_have_answered_is_read(store: Store) -> None:
    answers = Answers()
    serve(answers, "1.2.0", 5.0)
    store.commit(Commit(states={"answers/net-ids": answers.dump()}))
    assert case(store).answers.dump() == answers.dump()


@pytest.mark.parametrize("status", [Status.PENDING, Status.RESOLVED])
def test_an_incident_that_is_not_live_is_over(store: Store, status: Status) -> None:
    assert case(store, own=incident(status=status)).incident is None


def test_somebody_who_looks_after_it_does_not_stop_it(store: Store) -> None:
    assert case(store, own=incident(status=Status.ACKNOWLEDGED)).incident is not None


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ({"problem": Problem.SILENCE, "verdict": Verdict.SILENCE}, ("its events have stopped",)),
        ({"problem": Problem.SILENCE, "verdict": Verdict.SILENCE, "model": "spam"}, ()),
        (
            {"problem": Problem.INTAKE, "verdict": Verdict.DATA_FAULT, "model": "t[0]"},
            ("a partition is held, because most of its records are invalid",),
        ),
        ({"verdict": Verdict.DATA_FAULT}, ("its inputs are faulty",)),
        ({"verdict": Verdict.DATA_FAULT, "status": Status.RESOLVED}, ()),
    ],
)
def test_data_in_trouble_is_told(store: Store, trouble: dict[str, Any], told: tuple[str, ...]) -> None:
    assert case(store, another("other", **trouble)).troubles == told


def test_models_that_look_poisoned_are_counted_once_each(store: Store) -> None:
    others = [another(f"i{number}", model=f"m{number // 2}") for number in range(6)]
    assert case(store, *others, another("drift", model="d", verdict=Verdict.COVARIATE_DRIFT)).poisoned == 4
