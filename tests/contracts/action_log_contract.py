"""What every implementation of `monitor.rollback.action.ActionLog` must do.

Derive a test class and give it a `make_log` fixture:

    class TestMyActionLog(ActionLogContract):
        @pytest.fixture
        def make_log(self, tmp_path): ...  # a function that returns a new, empty Subject at every call
"""

from collections.abc import Callable
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.rollback.action import OPEN_STATES, SPENT_STATES, Action, ActionLog, ActionState


class Subject(Protocol):
    """An action log under test."""

    @property
    def log(self) -> ActionLog: ...

    def reopen(self) -> None:
        """Close and open again what is on disk, as after a restart; memory has nothing to do."""


MakeLog = Callable[[], Subject]


def action(incident: str = "i1", state: ActionState = ActionState.REQUESTED, **changes: object) -> Action:
    """An action that differs from others only where a test says so."""
    given_values: dict[str, object] = {
        "incident": incident,
        "model": "net-ids",
        "from_version": "1.2.0",
        "onset_low": 1_771_998_000.25,
        "state": state,
        "requested_at": 100.5,
        "updated_at": 100.5,
    }
    return Action(**(given_values | changes))  # type: ignore[arg-type]  # values are typed by the tests


ACTIONS = st.builds(
    action,
    incident=st.sampled_from(["i1", "i2", "i3", "größe/☃"]),
    state=st.sampled_from(ActionState),
    model=st.sampled_from(["net-ids", "spam"]),
    requested_at=st.integers(0, 50).map(float),
    updated_at=st.integers(50, 99).map(float),
    moved_at=st.none() | st.integers(0, 50).map(float),
    to_version=st.none() | st.just("1.1.0"),
    reason=st.text(max_size=20).filter(lambda text: text.isprintable()),
)


class ActionLogContract:
    @pytest.fixture
    def subject(self, make_log: MakeLog) -> Subject:
        return make_log()

    def test_an_empty_log_has_nothing(self, subject: Subject) -> None:
        assert list(subject.log.unfinished()) == []
        assert list(subject.log.spent()) == []

    @pytest.mark.parametrize("state", sorted(OPEN_STATES))
    def test_an_open_action_comes_back_as_it_was_saved(self, subject: Subject, state: ActionState) -> None:
        saved = action(state=state, to_version="1.1.0", reason="Größe ☃ <b>&", requested_at=1.25, updated_at=2.5)
        subject.log.save(saved)
        assert list(subject.log.unfinished()) == [saved]

    @pytest.mark.parametrize("state", sorted(frozenset(ActionState) - OPEN_STATES))
    def test_an_action_in_any_other_state_is_not_unfinished(self, subject: Subject, state: ActionState) -> None:
        subject.log.save(action(state=state))
        assert list(subject.log.unfinished()) == []

    def test_the_oldest_request_comes_first(self, subject: Subject) -> None:
        for incident, requested_at in (("a", 30.0), ("c", 10.0), ("b", 20.0)):
            subject.log.save(action(incident, requested_at=requested_at))
        subject.log.save(action("c", ActionState.INTENDED, requested_at=10.0, updated_at=40.0))
        assert [found.incident for found in subject.log.unfinished()] == ["c", "b", "a"]

    def test_an_incident_has_one_action_and_the_last_save_counts(self, subject: Subject) -> None:
        subject.log.save(action())
        intended = action(state=ActionState.INTENDED, to_version="1.1.0", updated_at=101.0)
        subject.log.save(intended)
        assert list(subject.log.unfinished()) == [intended]
        subject.log.save(action(state=ActionState.RECOVERED, to_version="1.1.0", updated_at=102.0))
        assert list(subject.log.unfinished()) == []

    @pytest.mark.parametrize("state", sorted(ActionState))
    def test_only_what_may_have_moved_something_counts(self, subject: Subject, state: ActionState) -> None:
        saved = action(state=state, moved_at=90.0)
        subject.log.save(saved)
        assert list(subject.log.spent()) == ([saved] if state in SPENT_STATES else [])
        assert (saved.spent_at is not None) == (state in SPENT_STATES)

    def test_what_is_spent_comes_oldest_first(self, subject: Subject) -> None:
        for incident, requested_at in (("b", 2.0), ("a", 1.0)):
            subject.log.save(action(incident, ActionState.MOVED, requested_at=requested_at, moved_at=50.0))
        assert [found.incident for found in subject.log.spent()] == ["a", "b"]

    def test_a_step_is_taken_only_if_what_others_have_spent_allows_it(self, subject: Subject) -> None:
        first, done = action(), action("i2", ActionState.RECOVERED, moved_at=50.0)
        intended = action(state=ActionState.INTENDED, to_version="1.1.0")
        subject.log.save(first)
        subject.log.save(done)
        asked: list[list[Action]] = []
        assert not subject.log.advance(first, intended, allowed=lambda spent: asked.append(list(spent)) is not None)
        subject.reopen()
        assert list(subject.log.unfinished()) == [first]
        assert subject.log.advance(first, intended, allowed=lambda spent: list(spent) == [done])
        assert asked == [[done]]
        assert list(subject.log.unfinished()) == [intended]

    def test_an_action_is_replaced_only_where_it_is_still_what_it_was(self, subject: Subject) -> None:
        first = action()
        intended = action(state=ActionState.INTENDED, to_version="1.1.0", looked=("1.2.0", 7, 3))
        denied = action(state=ActionState.DENIED, reason="Denied by ann.")
        assert not subject.log.advance(first, intended)
        subject.log.save(first)
        subject.log.save(action("i2"))
        assert subject.log.advance(first, intended)
        assert not subject.log.advance(first, denied)
        subject.reopen()
        assert list(subject.log.unfinished()) == [intended, action("i2")]

    def test_everything_survives_a_restart(self, subject: Subject) -> None:
        waiting = action("a", ActionState.INTENDED, to_version="1.1.0")
        done = action("b", ActionState.RECOVERED, to_version="1.1.0", moved_at=99.0)
        subject.log.save(waiting)
        subject.log.save(done)
        subject.reopen()
        assert list(subject.log.unfinished()) == [waiting]
        assert list(subject.log.spent()) == [waiting, done]

    @given(saves=st.lists(ACTIONS, max_size=12), cut=st.integers(0, 12))
    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    def test_any_history_reads_like_the_last_save_of_each_incident(
        self, make_log: MakeLog, saves: list[Action], cut: int
    ) -> None:
        subject = make_log()
        for number, saved in enumerate(saves):
            if number == cut:
                subject.reopen()
            subject.log.save(saved)
        expected = {saved.incident: saved for saved in saves}
        unfinished = list(subject.log.unfinished())
        assert {found.incident: found for found in unfinished} == {
            incident: last for incident, last in expected.items() if last.state in OPEN_STATES
        }
        assert [found.requested_at for found in unfinished] == sorted(found.requested_at for found in unfinished)
        spent = {action.incident for action in expected.values() if action.state in SPENT_STATES}
        assert {found.incident for found in subject.log.spent()} == spent
