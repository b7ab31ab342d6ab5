"""Reads for as long as it can: what fails and may pass is begun anew from the store, after a pause, and told.

A loop that failed is thrown away with all that it had not committed. So there is one way to recover, the same as after
a kill, whether the disk was full, a broker refused, a login was revoked, or another replica took over.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import structlog

from monitor.detection.watch import Watch
from monitor.intake.quarantine import QuarantineError
from monitor.intake.source import SourceError
from monitor.service.loop import Loop
from monitor.store.store import StoreError

_log = structlog.get_logger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds before a new attempt; each pause is twice the one before."""
CALM = 60.0
"""Seconds that a loop has to read for its failure to be a new one."""
GIVE_UP = 900.0
"""Seconds of failures in a row after which the process ends: somebody else may know better."""

Failure = SourceError | StoreError | QuarantineError


class Supervisor:
    """Runs one loop after the other, in the caller's thread; `unready` and `watches` may be asked by any thread."""

    def __init__(
        self,
        open_loop: Callable[[], AbstractContextManager[Loop]],
        *,
        count: Callable[[str], None] = lambda _why: None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Supervise.

        Args:
            open_loop: makes a loop that has not started.
            count: told of every failure: `source`, `store` or `quarantine`.
            timer: seconds that only ever pass.
        """
        self._loop: Loop | None = None
        self._trouble = "it has not begun to read yet"
        self._open = open_loop
        self._count = count
        self._timer = timer

    def unready(self) -> str | None:
        """Why nothing is read at the moment, in one sentence; None while something is."""
        loop = self._loop
        if loop is None:
            return self._trouble
        return None if loop.ready else "no partitions are assigned yet"

    def watches(self) -> list[Watch]:
        """The models that are watched at the moment."""
        loop = self._loop
        return [] if loop is None else loop.watches()

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Read until asked to stop, or until a finite source has ended; beat while there is hope.

        Raises:
            SourceError, StoreError, QuarantineError: the very first start failed; or it will not pass, or has not
                passed for GIVE_UP seconds.
        """
        started = False
        first_failure, pause = self._timer(), FIRST_PAUSE
        while not stop.is_set():
            began = self._timer()
            try:
                with self._open() as loop:
                    loop.start()
                    started, self._loop = True, loop
                    loop.run(stop, beat)
                    return
            except (SourceError, StoreError, QuarantineError) as error:
                now = self._timer()
                if now - began > CALM:
                    first_failure, pause = now, FIRST_PAUSE
                if not started or stop.is_set() or not error.passing or now - first_failure > GIVE_UP:
                    raise
                self._trouble = str(error)
                self._count(_kind(error))
                _log.error("reading has failed; beginning anew from the store", why=self._trouble, seconds=pause)
            finally:
                self._loop = None
            beat()
            stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _kind(error: Failure) -> str:
    return {SourceError: "source", QuarantineError: "quarantine"}.get(type(error), "store")
