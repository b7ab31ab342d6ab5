"""What needs a person, whatever the evidence: limits, as a pure function."""

import pytest

from monitor.rollback.action import Action, ActionState
from monitor.rollback.config import RollbackConfig
from monitor.rollback.policy import (
    Case,
    limits,
)
from tests.kit.actions import proposal
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.witnesses import answers

NOW = OPENED_AT + 300.0
HOUR = 3600.0


def test_data_that_is_in_trouble_needs_a_person() -> None:
    case = Case(incident(), answers(), troubles=("a partition is held",))
    assert limits(proposal(), case, [], RollbackConfig(), NOW) == ("a partition is held",)


def done(name: str, model: str, moved_at: float) -> Action:
    return proposal(incident=name, model=model, state=ActionState.MOVED, moved_at=moved_at)


@pytest.mark.parametrize(
    ("moved", "reason"),
    [
        ([], None),
        ([done("a", "net-ids", NOW - 7 * HOUR)], None),
        ([done("a", "net-ids", NOW - 5 * HOUR)], "the last rollback was at"),
        ([done("a", "spam", NOW - 5 * HOUR)], None),
        ([done(name, "net-ids", NOW - 8 * HOUR) for name in "ab"], "the budget of 2 rollbacks of this model is spent"),
        ([done(name, "net-ids", NOW - 25 * HOUR) for name in "ab"], None),
        (
            [done(name, f"m{name}", NOW - 8 * HOUR) for name in "abc"],
            "the budget of 3 rollbacks of all models is spent",
        ),
    ],
)
def test_cooldown_and_budgets(moved: list[Action], reason: str | None) -> None:
    found = limits(proposal(), Case(incident(), answers()), moved, RollbackConfig(), NOW)
    assert len(found) == (reason is not None)
    assert all(told.startswith(str(reason)) for told in found)


def test_many_models_at_once_are_rather_a_fault_of_the_watch() -> None:
    case = Case(incident(), answers(), poisoned=3)
    assert limits(proposal(), case, [], RollbackConfig(), NOW) == ("3 models look poisoned at once",)


def test_a_freeze_window_holds_while_it_lasts() -> None:
    window = {"start": "2026-03-02T03:00:00", "end": "2026-03-02T04:00:00Z", "why": "the launch"}
    config = RollbackConfig.model_validate({"freeze": [window]})
    case = Case(incident(), answers())
    assert limits(proposal(), case, [], config, NOW) == ("the launch, until 2026-03-02 04:00",)
    assert limits(proposal(), case, [], config, NOW + HOUR) == ()
