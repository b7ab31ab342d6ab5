"""Delivery from the durable outbox: at least once, in order for each incident, no receiver waiting for another."""

import asyncio
import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence

from alerting.breaker import Breaker
from alerting.incident import Transition
from alerting.outbox import Message, Outbox
from alerting.policy import Attempt, Outcome, Policy
from alerting.receiver import Clock, Reason, Receiver, Repeating, SendError, attempt

log = logging.getLogger(__name__)

_PAGE = 100  # Messages that are first asked of the outbox; more only while receivers block so many.
_MIN_DELAY = 0.1  # Seconds; full jitter alone may say "at once".


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
            name: Breaker(threshold=policy.breaker_threshold, pause=policy.breaker_pause, spacing=receiver.spacing)
            for name, receiver in self._receivers.items()
        }
        self._repeated_at: dict[str, float] = {}
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
            self._begin(message.receiver, self._deliver(message), now)
        for name, receiver in self._receivers.items():
            if isinstance(receiver, Repeating) and self._is_free(name, now) and self._repeat_is_due(receiver, now):
                self._repeated_at[name] = now
                if told := self._outbox.told(name):
                    self._begin(name, self._repeat(receiver, told), now)

    def _begin(self, receiver: str, work: Coroutine[object, object, None], now: float) -> None:
        self._breakers[receiver].began(now)
        self._flying[receiver] = asyncio.create_task(work)

    def _is_free(self, receiver: str, now: float) -> bool:
        return receiver not in self._flying and self._breakers[receiver].allows(now)

    def _repeat_is_due(self, receiver: Repeating, now: float) -> bool:
        # Also where the clock was set back: to repeat too early harms nobody.
        return not 0.0 <= now - self._repeated_at.get(receiver.name, -math.inf) < receiver.every

    def _ready(self, now: float) -> Iterable[Message]:
        """The oldest due message of every free receiver.

        A receiver that is busy or failing may have any number of older messages due, which must not hide those of
        others: the page grows until it has something for every free receiver, or everything.
        """
        free = {name for name in self._receivers if self._is_free(name, now)}
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
        started, receipt, error = time.monotonic(), None, None
        receiver = self._receivers[message.receiver]
        try:
            sending = receiver.send(message.transition, message.receipt)
            receipt = await attempt(sending, receiver.name, self._policy.timeout)
        except SendError as failure:
            error = failure
        finally:
            del self._flying[message.receiver]
            self._news.set()
        outcome = self._settle(message, receipt, error)
        reason = None if error is None else error.reason
        self._observe(Attempt(message.receiver, outcome, reason, time.monotonic() - started))

    async def _repeat(self, receiver: Repeating, told: Sequence[Transition]) -> None:
        """One repeat; should it fail, the next one will do."""
        started, outcome, reason = time.monotonic(), Outcome.DELIVERED, None
        try:
            await attempt(receiver.repeat(told), receiver.name, self._policy.timeout)
        except SendError as error:
            outcome, reason = Outcome.RETRY, error.reason
            self._breakers[receiver.name].failed(self._clock(), retry_after=error.retry_after)
            log.warning("receiver %s did not accept a repeat of what is firing: %s", receiver.name, error)
        else:
            self._breakers[receiver.name].succeeded()
        finally:
            del self._flying[receiver.name]
            self._news.set()
        self._observe(Attempt(receiver.name, outcome, reason, time.monotonic() - started))

    def _settle(self, message: Message, receipt: str | None, error: SendError | None) -> Outcome:
        now = self._clock()
        outbox, breaker = self._outbox, self._breakers[message.receiver]
        if error is None:
            breaker.succeeded()
            self._write(message.id, lambda: outbox.delivered(message, now, receipt))
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
