"""What is sent when: real receivers, real local servers, a real store, and a clock in the test's hands.

"At 1 s a message is written; between 2 s and 3 s this is seen." Seconds are those of the delivery's clock, which is
moved by half a second at a time, so nothing here depends on how fast the machine is.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alerting.config import AlertingConfig, build, messages
from alerting.delivery import Delivery
from alerting.incident import Transition
from alerting.policy import Attempt, Outcome, Policy
from alerting.receiver import Reason
from monitor.store.store import Commit, Store
from tests.kit import http_server
from tests.kit.http_server import Answer, Server, reply
from tests.kit.incidents import opened, resolved

BEGAN = 1_772_420_700.0
TICK = 0.5
OK = reply(200, b"ok")
MakeServer = Callable[[], Server]


class Timeline:
    """A store, a delivery from it, and what arrived at each server when."""

    def __init__(self, folder: Path, servers: dict[str, Server], kind: str = "webhook", timeout: float = 20.0) -> None:
        self.now = 0.0
        self.servers = servers
        self.arrived: dict[str, list[float]] = {name: [] for name in servers}
        self.attempts: list[Attempt] = []
        receivers = [
            {"kind": "webhook", "name": name, "url": server.address}
            if kind == "webhook" or name == "good"
            else {"kind": kind, "name": name, "url": {"value": server.address}}
            for name, server in servers.items()
        ]
        self.config = AlertingConfig.model_validate({"receivers": receivers, "network": {"allow": ["127.0.0.1"]}})
        self._timeout = timeout
        self._path = folder / "tocsin.db"
        self._plans: list[tuple[float, Callable[[], object]]] = []
        self._start()

    def _start(self) -> None:
        self.store = Store(self._path)
        self._delivery = Delivery(
            self.store.outbox,
            build(self.config, clock=lambda: BEGAN + self.now),
            policy=Policy(timeout=self._timeout, first_delay=1.0, breaker_threshold=3, breaker_pause=5.0),
            clock=lambda: BEGAN + self.now,
            chance=random.Random(7),
            observe=self.attempts.append,
        )

    def at(self, second: float, plan: Callable[[], object]) -> None:
        self._plans.append((second, plan))

    def push(self, *steps: Transition) -> None:
        self.store.commit(Commit(messages=messages(self.config, steps, BEGAN + self.now)))

    async def restart(self) -> None:
        await self._delivery.close()
        self.store.close()
        self._start()

    def run(self, until: float) -> None:
        async def scenario() -> None:
            while self.now < until:
                for plan in [plan for second, plan in self._plans if second == self.now]:
                    if asyncio.iscoroutine(result := plan()):
                        await result
                await self._delivery.run_once()
                for name, server in self.servers.items():
                    self.arrived[name] += [self.now] * (len(server.requests) - len(self.arrived[name]))
                self.now += TICK
            await self._delivery.close()

        asyncio.run(scenario())

    def steps(self, name: str) -> list[str]:
        """Which messages arrived, in order."""
        return [request.headers["webhook-id"] for request in self.servers[name].requests]

    def counts(self, name: str) -> dict[str, int]:
        return {state: count for (receiver, state), count in self.store.outbox.counts().items() if receiver == name}


@pytest.fixture
def timeline(tmp_path: Path, make_server: Callable[[], Server]) -> Iterator[Callable[..., Timeline]]:
    made: list[Timeline] = []

    def make(*answers: Answer, **more: Any) -> Timeline:
        servers = {"good": make_server(), "other": make_server()}
        servers["good"].answers = [OK]
        servers["other"].answers = list(answers)
        made.append(Timeline(tmp_path, servers, **more))
        return made[-1]

    yield make
    for each in made:
        each.store.close()


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_what_is_accepted_is_sent_once(timeline: Callable[..., Timeline], status: int) -> None:
    line = timeline(reply(status))
    line.at(1.0, lambda: line.push(opened()))
    line.run(until=30.0)
    assert line.arrived == {"good": [1.0], "other": [1.0]}
    assert line.counts("other") == {"delivered": 1}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(400), Reason.REJECTED),
        (reply(401), Reason.UNAUTHORIZED),
        (reply(404), Reason.NOT_FOUND),
        (reply(410), Reason.NOT_FOUND),
        (reply(302, location="http://169.254.169.254/latest/meta-data/"), Reason.REDIRECT),
        (reply(307, location="http://10.0.0.1/"), Reason.REDIRECT),
    ],
)
def test_what_is_refused_for_good_is_kept_as_a_dead_letter(
    timeline: Callable[..., Timeline], answer: Answer, reason: Reason
) -> None:
    line = timeline(answer)
    line.at(1.0, lambda: line.push(opened()))
    line.at(5.0, line.restart)
    line.run(until=30.0)
    assert line.arrived == {"good": [1.0], "other": [1.0]}
    assert line.counts("other") == {"dead": 1}
    assert [attempt.reason for attempt in line.attempts if attempt.receiver == "other"] == [reason]


@pytest.mark.parametrize(
    "body", [b'{"ok":false,"error":"channel_not_found"}', b'{"ok":false,"error":"invalid_blocks"}']
)
def test_slack_that_says_200_and_not_ok_has_refused(timeline: Callable[..., Timeline], body: bytes) -> None:
    line = timeline(reply(200, body), kind="slack")
    line.at(1.0, lambda: line.push(opened()))
    line.run(until=30.0)
    assert line.arrived["other"] == [1.0]
    assert line.counts("other") == {"dead": 1}


def test_a_receiver_that_asks_to_be_left_alone_is_left_alone_for_so_long(timeline: Callable[..., Timeline]) -> None:
    line = timeline(reply(429, retry_after="7"), OK)
    line.at(1.0, lambda: line.push(opened()))
    line.at(3.0, lambda: line.push(opened(id="b")))  # asked for the receiver, not for the message
    line.run(until=30.0)
    assert line.arrived["other"] == [1.0, 8.0, 8.0]
    assert line.arrived["good"] == [1.0, 3.0]


def test_slack_that_limits_the_rate_in_its_own_words_is_tried_again(timeline: Callable[..., Timeline]) -> None:
    line = timeline(reply(200, b'{"ok":false,"error":"ratelimited"}'), OK, kind="slack")
    line.at(1.0, lambda: line.push(opened()))
    line.run(until=30.0)
    first, second = line.arrived["other"]
    assert (first, second <= 3.0) == (1.0, True)
    assert line.counts("other") == {"delivered": 1}


@pytest.mark.parametrize(
    "answer",
    [
        *(reply(500), reply(503), reply(408), http_server.reset, http_server.garbage),
        *(http_server.hang, http_server.drip_headers, http_server.drip_body),
    ],
)
def test_what_passes_is_tried_again_soon_in_order_and_delays_nobody(
    timeline: Callable[..., Timeline], answer: Answer
) -> None:
    endless = answer in {http_server.hang, http_server.drip_headers, http_server.drip_body}
    line = timeline(answer, answer, OK, timeout=1.0 if endless else 20.0)
    line.at(1.0, lambda: line.push(opened(), resolved(2)))
    line.run(until=30.0)
    first, second, third, fourth = line.arrived["other"]
    assert first == 1.0
    assert first < second <= first + 1.5  # full jitter up to a second, seen at the next tick
    assert second < third <= second + 2.5
    assert third == fourth
    assert line.steps("other") == [opened().id] * 3 + [resolved(2).id]
    assert line.arrived["good"] == [1.0, 1.0]
    assert line.counts("other") == {"delivered": 2}


def test_nothing_is_lost_over_a_restart_and_the_end_comes_after_the_beginning(
    timeline: Callable[..., Timeline],
) -> None:
    line = timeline(reply(503))
    line.at(1.0, lambda: line.push(opened()))
    line.at(4.0, lambda: line.push(resolved(2)))
    line.at(6.0, line.restart)

    def heal() -> None:
        line.servers["other"].answers = [OK]

    line.at(20.0, heal)
    line.run(until=60.0)
    accepted = [step for step, when in zip(line.steps("other"), line.arrived["other"], strict=True) if when >= 20.0]
    assert accepted == [opened().id, resolved(2).id]
    assert line.counts("other") == {"delivered": 2}
    assert line.arrived["good"] == [1.0, 4.0]


def test_a_receiver_that_is_down_is_rested_and_asked_with_one_message_at_a_time(
    timeline: Callable[..., Timeline],
) -> None:
    line = timeline(reply(500))
    line.at(1.0, lambda: line.push(*(opened(id=f"i{number}") for number in range(40))))
    line.run(until=31.0)
    assert line.arrived["other"][:3] == [1.0] * 3
    gaps = [
        later - earlier for earlier, later in zip(line.arrived["other"][2:], line.arrived["other"][3:], strict=False)
    ]
    assert min(gaps) >= 5.0
    assert line.arrived["good"] == [1.0] * 40
    assert line.counts("other") == {"pending": 40}


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_fault_and_then_a_yes_are_two_attempts(timeline: Callable[..., Timeline], status: int) -> None:
    line = timeline(reply(status), OK)
    line.at(1.0, lambda: line.push(opened()))
    line.run(until=30.0)
    first, second = line.arrived["other"]
    assert first == 1.0
    assert 1.0 < second <= 2.5
    assert line.counts("other") == {"delivered": 1}
    found = [(attempt.outcome, attempt.reason) for attempt in line.attempts if attempt.receiver == "other"]
    assert found == [(Outcome.RETRY, Reason.SERVER), (Outcome.DELIVERED, None)]
    assert line.arrived["good"] == [1.0]


@pytest.mark.slow
def test_a_byte_every_ten_seconds_does_not_hold_an_attempt_open(tmp_path: Path, make_server: MakeServer) -> None:
    """In real time, with the usual limits: no pause is as long as any time-out, so only the total ends it."""
    servers = {"good": make_server(), "slow": make_server()}
    servers["good"].answers = [OK]
    servers["slow"].answers = [http_server.drip(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", every=10.0)]
    receivers = [{"kind": "webhook", "name": name, "url": server.address} for name, server in servers.items()]
    config = AlertingConfig.model_validate({"receivers": receivers, "network": {"allow": ["127.0.0.1"]}})
    store = Store(tmp_path / "tocsin.db")
    ended = {name: threading.Event() for name in servers}
    attempts: list[Attempt] = []

    def observe(attempt: Attempt) -> None:
        attempts.append(attempt)
        ended[attempt.receiver].set()

    delivery = Delivery(store.outbox, build(config), policy=Policy(timeout=config.timeout), observe=observe)
    store.commit(Commit(messages=messages(config, [opened()], time.time())))
    delivery.start()
    try:
        assert ended["good"].wait(60)
        assert not ended["slow"].is_set()  # the other one is still at it, and nobody waited for it
        assert ended["slow"].wait(60)
    finally:
        delivery.stop(0.0)
    (slow,) = [attempt for attempt in attempts if attempt.receiver == "slow"][:1]
    assert (slow.outcome, slow.reason) == (Outcome.RETRY, Reason.TIMEOUT)
    assert slow.seconds >= config.timeout
    assert ("slow", "pending") in store.outbox.counts()
    store.close()
