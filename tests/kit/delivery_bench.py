"""Receivers that answer by a script, an outbox on a failing disk, and a delivery between them."""

import asyncio
import random
import threading
from collections.abc import Sequence
from typing import Any

from alerting.delivery import Delivery
from alerting.incident import Transition
from alerting.outbox import Message
from alerting.policy import Attempt, Policy
from alerting.receiver import Reason, SendError
from tests.kit.memory_outbox import MemoryOutbox

DOWN = SendError("answered 503", reason=Reason.SERVER, passing=True)
GONE = SendError("answered 404", reason=Reason.NOT_FOUND, passing=False)
BUSY = SendError("answered 429", reason=Reason.RATE_LIMITED, passing=True, retry_after=60.0)


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Receiver:
    """Answers by a script, the last answer for ever; None is acceptance, an event is waited for first."""

    def __init__(self, name: str, *script: SendError | Exception | asyncio.Event | None) -> None:
        self.name = name
        self.spacing = 0.0
        self.script = list(script) or [None]
        self.tried: list[str] = []
        self.accepted: list[str] = []
        self.arrived = threading.Event()
        self.closed = False
        self.busy = False

    async def send(self, transition: Transition, _receipt: str | None = None, /) -> None:
        assert not self.busy, "two in flight"
        self.busy = True
        try:
            self.tried.append(transition.id)
            self.arrived.set()
            answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if isinstance(answer, asyncio.Event):
                await answer.wait()
            elif answer is not None:
                raise answer
            else:
                await asyncio.sleep(0)
            self.accepted.append(transition.id)
        finally:
            self.busy = False

    async def close(self) -> None:
        self.closed = True


class Bench:
    """A delivery with everything around it in the test's hands."""

    def __init__(self, *receivers: Receiver, outbox: MemoryOutbox | None = None, **policy: Any) -> None:
        self.outbox = outbox or MemoryOutbox()
        self.clock = Clock()
        self.attempts: list[Attempt] = []
        self.delivery = Delivery(
            self.outbox,
            receivers,
            policy=Policy(**policy),
            clock=self.clock,
            chance=random.Random(1),
            observe=self.attempts.append,
        )

    def run(self, *, until: float | None = None) -> None:
        """Send what is due now, or all that becomes due until then."""

        async def scenario() -> None:
            await self.delivery.run_once()
            while until is not None and self.clock.now < until:
                self.clock.now += 1.0
                await self.delivery.run_once()

        asyncio.run(scenario())


class Failing(MemoryOutbox):
    """An outbox on a disk that is full, or gone."""

    def __init__(self) -> None:
        super().__init__()
        self.read_only = False
        self.gone = False

    def due(self, now: float, limit: int) -> Sequence[Message]:
        if self.gone:
            raise OSError("no such device")
        return super().due(now, limit)

    def delivered(self, message: Message, now: float, receipt: str | None = None) -> None:
        self._write()
        super().delivered(message, now, receipt)

    def retry(self, message: Message, at: float, error: str) -> None:
        self._write()
        super().retry(message, at, error)

    def dead(self, message: Message, now: float, error: str) -> None:
        self._write()
        super().dead(message, now, error)

    def _write(self) -> None:
        if self.read_only:
            raise OSError("no space left")
