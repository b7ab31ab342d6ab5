"""Delivery in a thread of its own: start, wake, stop."""

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from alerting.delivery import Delivery
from alerting.outbox import Message
from alerting.policy import Policy
from tests.contracts.outbox_contract import message
from tests.kit.delivery_bench import Clock, Failing, Receiver
from tests.kit.memory_outbox import MemoryOutbox


@pytest.fixture
def running() -> Any:
    """Start deliveries, and stop them whatever happens."""
    started: list[Delivery] = []

    def start(*receivers: Receiver, outbox: MemoryOutbox, **policy: Any) -> Delivery:
        delivery = Delivery(outbox, receivers, policy=Policy(**policy), clock=Clock(), chance=random.Random(1))
        started.append(delivery)
        delivery.start()
        return delivery

    yield start
    for delivery in started:
        delivery.stop(0.0)


class Listening(MemoryOutbox):
    """Says when something has been recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded = threading.Event()
        self.looked = threading.Event()

    def due(self, now: float, limit: int) -> Sequence[Message]:
        try:
            return super().due(now, limit)
        finally:
            self.looked.set()

    def delivered(self, message: Message, now: float, receipt: str | None = None) -> None:
        super().delivered(message, now, receipt)
        self.recorded.set()


Start = Callable[..., Delivery]


def test_a_wake_is_enough(running: Start) -> None:
    outbox, chat = Listening(), Receiver("chat")
    delivery = running(chat, outbox=outbox, poll=3600.0)
    assert outbox.looked.wait(30)
    assert delivery.alive
    outbox.add(message("a"))
    delivery.wake()
    assert outbox.recorded.wait(30)
    assert chat.accepted == ["a-1"]


def test_without_a_wake_the_outbox_is_looked_at_anyway(running: Start) -> None:
    outbox, chat = Listening(), Receiver("chat")
    running(chat, outbox=outbox, poll=0.01)
    assert outbox.looked.wait(30)
    outbox.add(message("a"))
    assert outbox.recorded.wait(30)


def test_stopping_sends_what_is_due_first(running: Start) -> None:
    outbox, chat = Listening(), Receiver("chat")
    delivery = running(chat, outbox=outbox, poll=3600.0)
    assert outbox.looked.wait(30)
    outbox.add(*(message("a", n) for n in range(1, 9)))
    delivery.stop(30.0)
    assert not delivery.alive
    assert len(outbox.delivered_at) == 8
    assert chat.closed


def test_stopping_gives_up_a_receiver_that_hangs_and_keeps_its_message(running: Start) -> None:
    outbox, stuck = MemoryOutbox(), Receiver("stuck", asyncio.Event())
    outbox.add(message("a", receiver="stuck"))
    delivery = running(stuck, outbox=outbox, timeout=3600.0)
    assert stuck.arrived.wait(30)
    delivery.stop(0.05)
    assert not delivery.alive
    assert stuck.closed
    assert list(outbox.waiting) == ["a-1-stuck"]
    assert outbox.waiting["a-1-stuck"].attempts == 0


def test_an_outbox_that_fails_is_asked_again(running: Start, caplog: pytest.LogCaptureFixture) -> None:
    outbox, chat = Failing(), Receiver("chat")
    outbox.gone = True
    delivery = running(chat, outbox=outbox, poll=0.01)
    outbox.add(message("a"))
    while "no such device" not in caplog.text:
        assert delivery.alive
    outbox.gone = False
    assert chat.arrived.wait(30)


def test_stop_and_wake_need_no_start() -> None:
    delivery = Delivery(MemoryOutbox(), [])
    delivery.wake()
    delivery.stop(1.0)
    assert not delivery.alive


def test_stopping_twice_is_stopping_once(running: Start) -> None:
    delivery = running(Receiver("chat"), outbox=MemoryOutbox())
    delivery.stop(1.0)
    delivery.stop(1.0)
    delivery.wake()
    assert not delivery.alive
