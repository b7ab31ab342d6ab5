"""Delivery: at least once, in order, no receiver waiting for another, whatever receivers and the outbox do."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.delivery import Delivery
from alerting.incident import Transition
from alerting.policy import Attempt, Outcome, Policy
from alerting.receiver import Reason, SendError
from tests.contracts.outbox_contract import message
from tests.kit.delivery_bench import BUSY, DOWN, GONE, Bench, Failing, Receiver
from tests.kit.incidents import resolved
from tests.kit.memory_outbox import MemoryOutbox


def test_what_is_due_is_sent_and_recorded_in_order() -> None:
    chat, pager = Receiver("chat"), Receiver("pager")
    bench = Bench(chat, pager)
    bench.outbox.add(*(message("a", n) for n in (1, 2, 3)), message("b"), message("a", receiver="pager"))
    bench.run()
    assert [step for step in chat.accepted if step.startswith("a")] == ["a-1", "a-2", "a-3"]
    assert sorted(chat.accepted) == ["a-1", "a-2", "a-3", "b-1"]
    assert pager.accepted == ["a-1"]
    assert not bench.outbox.waiting
    assert Counter((a.receiver, a.outcome, a.reason) for a in bench.attempts) == {
        ("chat", Outcome.DELIVERED, None): 4,
        ("pager", Outcome.DELIVERED, None): 1,
    }


def test_a_passing_failure_is_tried_again_later_and_holds_back_what_follows() -> None:
    chat = Receiver("chat", DOWN, None)
    bench = Bench(chat)
    bench.outbox.add(message("a", 1), message("a", 2))
    bench.run()
    assert (chat.tried, chat.accepted) == (["a-1"], [])
    assert bench.outbox.errors == {"a-1-chat": "server: answered 503"}
    assert bench.attempts == [Attempt("chat", Outcome.RETRY, Reason.SERVER, bench.attempts[0].seconds)]
    bench.run(until=1010.0)
    assert chat.accepted == ["a-1", "a-2"]


def test_a_permanent_failure_is_recorded_and_holds_nothing_back() -> None:
    chat = Receiver("chat", GONE, None)
    bench = Bench(chat)
    bench.outbox.add(message("a", 1), message("a", 2))
    bench.run()
    assert bench.outbox.dead_ids == {"a-1-chat"}
    assert bench.outbox.errors == {"a-1-chat": "not_found: answered 404"}
    assert chat.accepted == ["a-2"]
    assert [a.outcome for a in bench.attempts] == [Outcome.DEAD, Outcome.DELIVERED]


def test_a_message_for_nobody_is_recorded_as_dead() -> None:
    bench = Bench(Receiver("chat"))
    bench.outbox.add(message("a", receiver="gone"), message("a"))
    bench.run()
    assert bench.outbox.dead_ids == {"a-1-gone"}
    assert bench.outbox.errors["a-1-gone"] == "settings: no receiver of this name is configured"
    assert set(bench.outbox.delivered_at) == {"a-1-chat"}
    assert Attempt("gone", Outcome.DEAD, Reason.SETTINGS, 0.0) in bench.attempts


@given(st.integers(0, 100), st.integers(0, 2**32))
def test_delays_grow_with_full_jitter_to_a_limit(attempts: int, seed: int) -> None:
    policy = Policy(first_delay=2.0, longest_delay=300.0)
    delivery = Delivery(MemoryOutbox(), [], policy=policy, chance=random.Random(seed))
    delay = delivery._delay(attempts, None)
    assert 0.0 < delay <= min(2.0 * 2**attempts, 300.0)
    assert delivery._delay(attempts, 1000.0) == 1000.0


def test_delays_are_spread_over_the_whole_window() -> None:
    delivery = Delivery(MemoryOutbox(), [], policy=Policy(first_delay=1.0), chance=random.Random(3))
    delays = [delivery._delay(5, None) for _ in range(400)]
    assert min(delays) < 4.0
    assert max(delays) > 28.0


def test_retry_after_holds_for_the_whole_receiver() -> None:
    chat = Receiver("chat", BUSY, None)
    bench = Bench(chat)
    bench.outbox.add(message("a"), message("b"))
    bench.run(until=1059.0)
    assert len(chat.tried) == 1
    bench.run(until=1061.0)
    assert sorted(chat.accepted) == ["a-1", "b-1"]


def test_the_breaker_tries_a_dead_receiver_with_one_message_at_a_time() -> None:
    chat = Receiver("chat", *[DOWN] * 7, None)
    bench = Bench(chat, breaker_threshold=5, breaker_pause=30.0)
    bench.outbox.add(*(message(str(i)) for i in range(20)))
    bench.run()
    assert len(chat.tried) == 5
    bench.run(until=1029.0)
    assert len(chat.tried) == 5
    bench.run(until=1030.0)
    assert len(chat.tried) == 6
    bench.run(until=1059.0)
    assert len(chat.tried) == 6
    bench.run(until=1200.0)
    assert len(chat.accepted) == 20


def test_a_fault_in_tocsin_does_not_rest_the_receiver() -> None:
    chat = Receiver("chat", *[KeyError("x")] * 8, None)
    bench = Bench(chat, breaker_threshold=2)
    bench.outbox.add(*(message(str(i)) for i in range(10)))
    bench.run()
    assert len(chat.accepted) == 2
    assert {a.reason for a in bench.attempts} == {Reason.INTERNAL, None}


def test_a_receiver_that_hangs_delays_nobody_and_is_cut_off() -> None:
    async def scenario() -> None:
        never = asyncio.Event()
        stuck, chat = Receiver("stuck", never), Receiver("chat")
        bench = Bench(stuck, chat, timeout=0.3, breaker_threshold=1)
        # More of them than one page of the outbox holds, and all of them older.
        bench.outbox.add(*(message(f"s{i}", receiver="stuck", created_at=1.0) for i in range(250)))
        bench.outbox.add(*(message("a", n, created_at=900.0) for n in (1, 2, 3)))
        running = asyncio.create_task(bench.delivery.run_once())
        async with asyncio.timeout(30):
            while len(chat.accepted) < 3:
                assert not running.done()
                await asyncio.sleep(0)
        assert len(stuck.tried) == 1
        await running
        assert bench.attempts[-1].receiver == "stuck"
        assert bench.attempts[-1].reason is Reason.TIMEOUT

    asyncio.run(scenario())


def test_what_was_accepted_but_not_recorded_is_recorded_later_and_not_sent_again() -> None:
    chat, pager = Receiver("chat", None), Receiver("pager", GONE, None)
    outbox = Failing()
    bench = Bench(chat, pager, outbox=outbox)
    outbox.add(message("a", 1), message("a", 2), message("a", receiver="pager"), message("a", receiver="gone"))
    outbox.read_only = True
    bench.run(until=1030.0)
    assert (chat.tried, pager.tried) == (["a-1"], ["a-1"])
    assert len(outbox.waiting) == 4
    outbox.read_only = False
    bench.run()
    assert chat.accepted == ["a-1", "a-2"]
    assert outbox.dead_ids == {"a-1-pager", "a-1-gone"}
    assert not outbox.waiting
    assert pager.tried == ["a-1"]


Fate = st.sampled_from([None, None, DOWN, DOWN, BUSY, GONE, KeyError("x")])


@settings(max_examples=60, deadline=None)
@given(
    queues=st.dictionaries(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["chat", "pager"])),
        st.lists(st.integers(1, 9), unique=True, min_size=1, max_size=4),
        max_size=8,
    ),
    scripts=st.fixed_dictionaries({name: st.lists(Fate, max_size=12) for name in ("chat", "pager")}),
    seed=st.integers(0, 2**16),
)
def test_every_message_ends_delivered_or_dead_in_order_and_once(
    queues: dict[tuple[str, str], list[int]], scripts: dict[str, list[Any]], seed: int
) -> None:
    receivers = [Receiver(name, *script, None) for name, script in scripts.items()]
    bench = Bench(*receivers, breaker_threshold=3, breaker_pause=20.0, longest_delay=30.0)
    bench.delivery._chance.seed(seed)
    everything = {
        m.id: m for (i, r), numbers in queues.items() for m in [message(i, n, receiver=r) for n in sorted(numbers)]
    }
    bench.outbox.add(*everything.values())
    bench.run(until=1000.0 + 12 * 70.0)  # as long as every failure may hold up
    assert not bench.outbox.waiting
    assert set(bench.outbox.delivered_at) | bench.outbox.dead_ids == set(everything)
    for receiver in receivers:
        assert len(receiver.accepted) == len(set(receiver.accepted))
        for incident in "abcd":
            numbers = [int(step[2:]) for step in receiver.accepted if step[0] == incident]
            assert numbers == sorted(numbers)
    assert len(bench.attempts) == sum(len(receiver.tried) for receiver in receivers)


class Forgetful(Receiver):
    """Forgets what it is not told again."""

    every = 60.0

    def __init__(self, name: str, *script: Any) -> None:
        super().__init__(name, *script)
        self.repeats: list[list[str]] = []

    async def repeat(self, told: Sequence[Transition]) -> None:
        self.repeats.append([step.id for step in told])
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, SendError):
            raise answer


def test_what_fires_is_repeated_until_it_ends() -> None:
    receiver = Forgetful("am")
    bench = Bench(receiver)
    bench.outbox.add(message("a", receiver="am"), message("b", receiver="am"))
    bench.run(until=1190.0)
    assert receiver.accepted == ["a-1", "b-1"]
    assert receiver.repeats == [["a-1", "b-1"]] * 4  # the first one as soon as it is free: a restart may be the reason
    ended = msgspec.structs.replace(
        message("a", 2, receiver="am"),
        transition=msgspec.structs.replace(resolved(2), incident=resolved(id="a").incident),
    )
    bench.outbox.add(ended)
    bench.run(until=1250.0)
    assert receiver.repeats[-1] == ["b-1"]


def test_a_repeat_that_fails_is_counted_and_the_next_one_goes_on() -> None:
    receiver = Forgetful("am", None, DOWN, None)
    bench = Bench(receiver)
    bench.outbox.add(message("a", receiver="am"))
    bench.run(until=1070.0)
    assert len(receiver.repeats) == 2
    assert [(a.outcome, a.reason) for a in bench.attempts] == [
        (Outcome.DELIVERED, None),
        (Outcome.RETRY, Reason.SERVER),
        (Outcome.DELIVERED, None),
    ]


def test_what_a_receiver_gave_back_comes_with_the_next_step() -> None:
    class Keeping(Receiver):
        given: ClassVar[list[str | None]] = []

        async def send(self, transition: Transition, receipt: str | None = None, /) -> str:  # type: ignore[override]
            self.given.append(receipt)
            return f"kept {transition.id}"

    bench = Bench(Keeping("chat"))
    bench.outbox.add(message("a", 1), message("a", 2), message("b"))
    bench.run()
    assert Keeping.given in ([None, "kept a-1", None], [None, None, "kept a-1"])


def test_a_receiver_that_limits_how_often_it_is_called_is_not_called_more_often() -> None:
    chat = Receiver("chat")
    chat.spacing = 2.0
    bench = Bench(chat)
    bench.outbox.add(*(message(str(number)) for number in range(10)))
    bench.run()
    assert len(chat.accepted) == 5
    bench.run(until=1004.0)
    assert len(chat.accepted) == 7
    bench.run(until=1030.0)
    assert len(chat.accepted) == 10
