"""What every implementation of `alerting.outbox.Outbox` must do.

Derive a test class and give it a `make_outbox` fixture:

    class TestMyOutbox(OutboxContract):
        @pytest.fixture
        def make_outbox(self, tmp_path): ...  # a function that returns a new, empty Subject at every call
"""

from collections.abc import Callable
from typing import Protocol

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerting.incident import (
    Attribution,
    Change,
    Evidence,
    Incident,
    Onset,
    Severity,
    Status,
    Transition,
    Verdict,
)
from alerting.outbox import Message, Outbox


class Subject(Protocol):
    """An outbox under test, with what the port leaves to the rest of the store."""

    @property
    def outbox(self) -> Outbox: ...

    def add(self, *messages: Message) -> None:
        """Write messages as the daemon's transaction does; one with a known id changes nothing."""

    def reopen(self) -> None:
        """Close and open again what is on disk, as after a restart; memory has nothing to do."""


MakeOutbox = Callable[[], Subject]


def message(incident: str, number: int = 1, *, receiver: str = "chat", created_at: float = 100.0) -> Message:
    """A message that differs from others only where a test says so."""
    return Message(
        receiver=receiver,
        created_at=created_at,
        transition=Transition(
            change=Change.OPENED if number == 1 else Change.UPDATED,
            number=number,
            incident=Incident(
                id=incident,
                model="net-ids",
                version="1.2.0",
                verdict=Verdict.LABEL_FLIP,
                severity=Severity.CRITICAL,
                status=Status.FIRING,
                opened_at=1_772_000_000.25,
                updated_at=1_772_000_100.5,
                event_index=5312,
                onset=Onset(ts=1_771_999_000.0, low=1_771_998_000.0, high=1_771_999_500.0),
                attribution=Attribution(features=("größe", "<b>&"), class_from="spam", class_to="ham ☃"),
                evidence=(Evidence("performance", "confusion/spam->ham", 14.2, 0.31, 0.04),),
            ),
        ),
    )


def ids(messages: object) -> list[str]:
    return [m.id for m in messages]  # type: ignore[attr-defined]  # any sequence of messages


class OutboxContract:
    """The suite. Times are plain numbers: an outbox has no clock of its own."""

    @pytest.fixture
    def box(self, make_outbox: MakeOutbox) -> Subject:
        return make_outbox()

    def test_an_empty_outbox_has_nothing_due(self, box: Subject) -> None:
        assert list(box.outbox.due(1e12, 10)) == []

    def test_a_message_comes_back_as_it_was_written(self, box: Subject) -> None:
        written = message("a")
        box.add(written)
        assert list(box.outbox.due(100.0, 10)) == [written]

    def test_the_oldest_comes_first_and_the_limit_holds(self, box: Subject) -> None:
        box.add(message("c", created_at=30.0), message("a", created_at=10.0), message("b", created_at=20.0))
        assert ids(box.outbox.due(100.0, 10)) == ["a-1-chat", "b-1-chat", "c-1-chat"]
        assert ids(box.outbox.due(100.0, 2)) == ["a-1-chat", "b-1-chat"]

    def test_only_the_first_step_of_an_incident_is_due_until_it_is_delivered(self, box: Subject) -> None:
        # One transaction may write several steps with one time, and ten sorts before two as text.
        steps = [message("a", number) for number in (10, 2, 1)]
        box.add(*steps)
        for step in reversed(steps):
            assert ids(box.outbox.due(100.0, 10)) == [step.id]
            box.outbox.delivered(step, 101.0)
        assert list(box.outbox.due(1e12, 10)) == []

    def test_receivers_and_incidents_do_not_wait_for_each_other(self, box: Subject) -> None:
        box.add(message("a"), message("a", receiver="pager"), message("b"))
        box.outbox.retry(message("a"), 1e4, "down")
        assert set(ids(box.outbox.due(100.0, 10))) == {"a-1-pager", "b-1-chat"}

    def test_a_retry_waits_for_its_time_counts_and_keeps_its_place(self, box: Subject) -> None:
        box.add(message("a", 1), message("a", 2))
        box.outbox.retry(message("a", 1), 150.0, "timeout")
        assert list(box.outbox.due(149.9, 10)) == []
        (again,) = box.outbox.due(150.0, 10)
        assert (again.id, again.attempts) == ("a-1-chat", 1)
        box.outbox.retry(again, 200.0, "timeout")
        (again,) = box.outbox.due(200.0, 10)
        assert again.attempts == 2

    def test_a_dead_message_is_never_due_and_blocks_nothing(self, box: Subject) -> None:
        box.add(message("a", 1), message("a", 2))
        box.outbox.dead(message("a", 1), 101.0, "404")
        assert ids(box.outbox.due(1e12, 10)) == ["a-2-chat"]

    def test_the_same_message_again_changes_nothing(self, box: Subject) -> None:
        # What a replay after a crash does.
        box.add(message("a"), message("b"), message("c"))
        box.outbox.delivered(message("a"), 101.0)
        box.outbox.dead(message("b"), 101.0, "404")
        box.outbox.retry(message("c"), 500.0, "timeout")
        box.add(message("a"), message("b"), message("c"))
        assert list(box.outbox.due(499.0, 10)) == []
        assert ids(box.outbox.due(500.0, 10)) == ["c-1-chat"]

    def test_recording_twice_is_the_same_as_once(self, box: Subject) -> None:
        box.add(message("a", 1), message("a", 2))
        box.outbox.delivered(message("a", 1), 101.0)
        box.outbox.delivered(message("a", 1), 102.0)
        assert ids(box.outbox.due(200.0, 10)) == ["a-2-chat"]

    def test_everything_survives_a_restart(self, box: Subject) -> None:
        box.add(*(message(name) for name in "abcd"))
        box.outbox.delivered(message("a"), 101.0)
        box.outbox.dead(message("b"), 101.0, "404")
        box.outbox.retry(message("c"), 500.0, "timeout")
        box.reopen()
        assert ids(box.outbox.due(499.0, 10)) == ["d-1-chat"]
        assert {m.id: m.attempts for m in box.outbox.due(500.0, 10)} == {"c-1-chat": 1, "d-1-chat": 0}

    def test_the_newest_receipt_comes_with_what_follows(self, box: Subject) -> None:
        box.add(*(message("a", n) for n in (1, 2, 3, 4)), message("b"), message("a", receiver="pager"))
        for number, receipt in ((1, None), (2, "first"), (3, None)):
            box.outbox.delivered(message("a", number), 100.0 + number, receipt)
        box.reopen()
        found = {m.id: m.receipt for m in box.outbox.due(200.0, 10)}
        assert found == {"a-4-chat": "first", "b-1-chat": None, "a-1-pager": None}
        box.outbox.delivered(message("a", 4), 105.0, "second")
        box.add(message("a", 5))
        assert {m.id: m.receipt for m in box.outbox.due(200.0, 10)}["a-5-chat"] == "second"

    def test_told_is_the_newest_delivered_step_of_what_is_not_over(self, box: Subject) -> None:
        box.add(*(message("a", n) for n in (1, 2, 10, 11)), message("b"), message("c"), message("d", receiver="pager"))
        over = msgspec.structs.replace(
            message("c", 2).transition,
            change=Change.RESOLVED,
            incident=msgspec.structs.replace(message("c").transition.incident, status=Status.RESOLVED),
        )
        ended = msgspec.structs.replace(message("c", 2), transition=over)
        box.add(ended)
        assert list(box.outbox.told("chat")) == []
        for step in (message("a", 1), message("a", 2), message("a", 10), message("c"), ended):
            box.outbox.delivered(step, 100.0)
        box.outbox.delivered(message("d", receiver="pager"), 100.0)
        box.outbox.dead(message("b"), 100.0, "404")
        box.reopen()
        assert list(box.outbox.told("chat")) == [message("a", 10).transition]
        assert list(box.outbox.told("pager")) == [message("d").transition]

    def test_an_end_that_was_refused_is_an_end(self, box: Subject) -> None:
        incident = msgspec.structs.replace(message("a").transition.incident, status=Status.RESOLVED)
        end = msgspec.structs.replace(message("a", 2), transition=Transition(Change.RESOLVED, 2, incident))
        box.add(message("a"), end)
        box.outbox.delivered(message("a"), 100.0)
        assert list(box.outbox.told("chat")) == []  # it is on its way
        box.outbox.dead(end, 101.0, "400")
        box.reopen()
        assert list(box.outbox.told("chat")) == []

    # One fixture value serves all examples: it only makes outboxes.
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(data=st.data())
    def test_due_is_always_the_ready_head_of_every_queue(self, make_outbox: MakeOutbox, data: st.DataObject) -> None:
        box = make_outbox()
        queues: dict[tuple[str, str], list[Message]] = {}
        ready_at: dict[str, float] = {}
        numbers = st.lists(st.integers(1, 30), unique=True, max_size=4)
        for incident in "abc":
            for receiver in ("chat", "pager"):
                created_at = data.draw(st.integers(0, 50))
                queue = [
                    message(incident, number, receiver=receiver, created_at=created_at) for number in data.draw(numbers)
                ]
                box.add(*queue)
                queues[incident, receiver] = sorted(queue, key=lambda m: m.transition.number)

        now = 100.0
        for _ in range(data.draw(st.integers(0, 15))):
            now += data.draw(st.integers(0, 10))
            heads = [queue[0] for queue in queues.values() if queue]
            expected = {m.id: m for m in heads if ready_at.get(m.id, 0.0) <= now}
            due = list(box.outbox.due(now, 100))
            assert {m.id: m for m in due} == expected
            assert len(due) == len(expected)
            assert [m.created_at for m in due] == sorted(m.created_at for m in due)
            if not due:
                continue
            chosen = data.draw(st.sampled_from(due))
            queue = queues[chosen.transition.incident.id, chosen.receiver]
            match data.draw(st.sampled_from(["delivered", "dead", "retry"])):
                case "delivered":
                    box.outbox.delivered(chosen, now)
                    queue.pop(0)
                case "dead":
                    box.outbox.dead(chosen, now, "no")
                    queue.pop(0)
                case "retry":
                    ready_at[chosen.id] = now + data.draw(st.integers(1, 20))
                    box.outbox.retry(chosen, ready_at[chosen.id], "later")
                    queue[0] = msgspec.structs.replace(chosen, attempts=chosen.attempts + 1)
