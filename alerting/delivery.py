"""Delivery from the durable outbox: at least once, in order for each incident, no receiver waiting for another."""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

import msgspec

from alerting.breaker import Breaker
from alerting.outbox import Message, Outbox
from alerting.receiver import Clock, Reason, Receiver, SendError, attempt

log = logging.getLogger(__name__)

_PAGE = 100  # Messages that are first asked of the outbox; more only while receivers block so many.
_MIN_DELAY = 0.1  # Seconds; full jitter alone may say "at once".


class Outcome(StrEnum):
    """What became of one attempt; the value is a metric label."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"


class Attempt(msgspec.Struct, frozen=True):
    """One attempt, for the metrics."""

    receiver: str
    outcome: Outcome
    reason: Reason | None
    """Why it failed; None where it did not."""
    seconds: float


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """When to give up an attempt and when to make the next one. Times are seconds."""

    timeout: float = 15.0
    """Total time of one attempt, from the name lookup to the last byte of the answer."""
    first_delay: float = 1.0
    """The n-th repeat waits a random time up to `first_delay * 2 ** n` (full jitter), at most `longest_delay`."""
    longest_delay: float = 300.0
    breaker_threshold: int = 5
    breaker_pause: float = 30.0
    poll: float = 1.0
    """How often the outbox is looked at when nobody calls `wake`."""


class Delivery:
    """Sends what is due in the outbox, with one message in flight for each receiver.

    Everything happens in one asyncio loop: either in a thread of its own (`start`, `wake`, `stop`), or in the
    caller's (`run_once`, `close`). Do not mix the two.

    The outbox's methods are called in that loop, so they hold up all receivers while they run. Should one raise,
    nothing is lost: reading is tried again, and a result that could not be written is kept and written later, and
    its message not sent again meanwhile.
    """

    def __init__(
        self,
        outbox: Outbox,
        receivers: Iterable[Receiver],
        *,
        policy: Policy | None = None,
        clock: Clock = time.time,
        chance: random.Random | None = None,
        observe: Callable[[Attempt], None] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._receivers = {receiver.name: receiver for receiver in receivers}
        self._policy = policy = policy or Policy()
        self._clock = clock
        self._chance = chance or random.Random()  # noqa: S311  spreads load, protects nothing
        self._observe = observe
        self._breakers = {
            name: Breaker(threshold=policy.breaker_threshold, pause=policy.breaker_pause) for name in self._receivers
        }
        self._flying: dict[str, asyncio.Task[None]] = {}
        self._unwritten: dict[str, Callable[[], None]] = {}
        self._news = asyncio.Event()
        self._stopping: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # In a thread of its own.

    def start(self) -> None:
        """Deliver in a thread until `stop`."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="delivery", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at the outbox now: call it after a commit that wrote messages. Any thread, any time."""
        self._call(self._news.set)

    def stop(self, drain: float) -> None:
        """Send what is due for up to `drain` seconds, then give up what is in flight and end the thread.

        What was not delivered stays in the outbox. Safe to call twice, and before `start`.
        """
        self._call(self._ask_to_stop, drain)
        if self._thread is not None:
            # Closing connections and a name lookup that hangs may take a little longer; the thread is a daemon.
            self._thread.join(drain + self._policy.timeout)

    @property
    def alive(self) -> bool:
        """Whether the thread is running, for the health check."""
        return self._thread is not None and self._thread.is_alive()

    def _call(self, function: Callable[..., object], *args: object) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody is left to tell
                self._loop.call_soon_threadsafe(function, *args)

    def _ask_to_stop(self, drain: float) -> None:
        self._stopping = drain
        self._news.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        while self._stopping is None:
            self._news.clear()
            with self._outbox_may_fail():
                self._launch(self._clock())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._policy.poll):
                    await self._news.wait()
        with self._outbox_may_fail(), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stopping):
                await self.run_once()
        await self.close()

    # In the caller's loop.

    async def run_once(self) -> None:
        """Send what is due now, and wait until every attempt has ended. Raises what the outbox raises on reading."""
        now = self._clock()
        self._launch(now)
        while self._flying:
            await asyncio.wait(self._flying.values(), return_when=asyncio.FIRST_COMPLETED)
            self._launch(now)

    async def close(self) -> None:
        """Give up what is in flight and close the receivers."""
        flying = tuple(self._flying.values())
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
        for receiver in self._receivers.values():
            await receiver.close()

    def _launch(self, now: float) -> None:
        """Begin an attempt for every receiver that is free and has a message due."""
        for message_id, write in tuple(self._unwritten.items()):
            self._write(message_id, write)
        for message in self._ready(now):
            task = asyncio.create_task(self._deliver(message))
            self._flying[message.receiver] = task

    def _ready(self, now: float) -> Iterable[Message]:
        """The oldest due message of every free receiver.

        A receiver that is busy or failing may have any number of older messages due, which must not hide those of
        others: the page grows until it has something for every free receiver, or everything.
        """
        free = {name for name in self._receivers if name not in self._flying and self._breakers[name].allows(now)}
        ready: dict[str, Message] = {}
        limit = _PAGE
        while free:
            due = self._outbox.due(now, limit)
            for message in due:
                if message.id in self._unwritten:
                    continue
                if message.receiver not in self._receivers:
                    self._bury(message, now)
                elif message.receiver in free:
                    ready.setdefault(message.receiver, message)
            if len(due) < limit or len(ready) == len(free):
                break
            limit *= 2
        return ready.values()

    async def _deliver(self, message: Message) -> None:
        """One attempt, and its result into the outbox."""
        started = time.monotonic()
        error = None
        try:
            await attempt(self._receivers[message.receiver], message.transition, self._policy.timeout)
        except SendError as failure:
            error = failure
        finally:
            del self._flying[message.receiver]
            self._news.set()
        outcome = self._settle(message, error)
        reason = None if error is None else error.reason
        self._observe(Attempt(message.receiver, outcome, reason, time.monotonic() - started))

    def _settle(self, message: Message, error: SendError | None) -> Outcome:
        now = self._clock()
        outbox, breaker = self._outbox, self._breakers[message.receiver]
        if error is None:
            breaker.succeeded()
            self._write(message.id, lambda: outbox.delivered(message, now))
            return Outcome.DELIVERED
        text = f"{error.reason}: {error}"
        if not error.passing:
            breaker.succeeded()  # it answered; there is nothing to wait for
            log.error("receiver %s will never accept %s: %s", message.receiver, message.id, error)
            self._write(message.id, lambda: outbox.dead(message, now, text))
            return Outcome.DEAD
        if error.reason is not Reason.INTERNAL:  # a fault in Tocsin says nothing about the receiver
            breaker.failed(now, retry_after=error.retry_after)
        delay = self._delay(message.attempts, error.retry_after)
        log.warning("receiver %s did not accept %s: %s; again in %.1f s", message.receiver, message.id, error, delay)
        self._write(message.id, lambda: outbox.retry(message, now + delay, text))
        return Outcome.RETRY

    def _delay(self, attempts: int, retry_after: float | None) -> float:
        window = min(self._policy.first_delay * 2.0 ** min(attempts, 32), self._policy.longest_delay)
        return max(self._chance.uniform(0.0, window), retry_after or 0.0, _MIN_DELAY)

    def _bury(self, message: Message, now: float) -> None:
        log.error("nobody is called %s any more: %s is not delivered", message.receiver, message.id)
        text = f"{Reason.SETTINGS}: no receiver of this name is configured"
        self._write(message.id, lambda: self._outbox.dead(message, now, text))
        self._observe(Attempt(message.receiver, Outcome.DEAD, Reason.SETTINGS, 0.0))

    def _write(self, message_id: str, write: Callable[[], None]) -> None:
        """Write a result into the outbox, or keep it for later: a full disk must not send one message for ever."""
        self._unwritten[message_id] = write
        with self._outbox_may_fail():
            write()
            del self._unwritten[message_id]

    @contextlib.contextmanager
    def _outbox_may_fail(self) -> Iterator[None]:
        """Whatever the store raises is logged and the work tried again: alerts must outlive a store in trouble."""
        try:
            yield
        except Exception:
            log.exception("the outbox failed; trying again in %g s", self._policy.poll)
