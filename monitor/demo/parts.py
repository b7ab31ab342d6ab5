"""The demo's child processes: started with a log each, waited for, and gone whatever way the demo ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from monitor.demo import guardian

POLL = 0.05
"""Seconds between two looks at something that is waited for."""


class PartError(Exception):
    """A part of the demo did not do what it should; the message names the part and its log."""


class Part(NamedTuple):
    """One running child process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def describe(self) -> str:
        """Name the log and quote its last lines, for a person who has to find out why."""
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        return "\n".join([f"its log: {self.log}", *(f"  | {line}" for line in tail)])


class Parts:
    """Starts child processes and owns them; leaving the `with` block ends them, and so does being killed.

    A guardian process does the ending in every case, so there is one way out and not several.
    """

    def __init__(self, folder: Path, *, grace: float = 6.0) -> None:
        """Start nothing yet.

        Args:
            folder: Where the logs go.
            grace: Seconds that a part has to end by itself before it is killed.
        """
        self._folder = folder
        self._grace = grace
        self._parts: list[Part] = []

    def __enter__(self) -> Self:
        # -I: nothing of the environment or the current folder can get in the way of the one who cleans up.
        self._guardian = subprocess.Popen(  # noqa: S603 - our own file, run by our own interpreter
            [sys.executable, "-I", guardian.__file__, str(self._grace)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stop: signal.Signals = signal.SIGTERM,
    ) -> Part:
        """Start a child in a process group of its own, its output in `<folder>/<name>.log`.

        Args:
            name: What people call it, and the name of its log.
            command: The program and its arguments.
            environment: Its whole environment; without it, that of the demo.
            stop: The signal that ends it; it is killed if that does not help within a few seconds.

        Raises:
            PartError: The program cannot be started.
        """
        # In a thread of its own, because Ctrl-C only ever reaches the main one: it cannot come between the start of a
        # process and the word to the guardian.
        with ThreadPoolExecutor(1) as aside:
            return aside.submit(self._start, name, command, environment, stop).result()

    def _start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None, stop: signal.Signals
    ) -> Part:
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - the demo's own commands, no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise PartError(f"{name} could not be started: {error}") from error
        part = Part(name, process, log)
        self._parts.append(part)
        if self._guardian.stdin is not None:
            # A group's number is that of its first process.
            self._guardian.stdin.write(f"{process.pid} {int(stop)}\n".encode())
            self._guardian.stdin.flush()
        return part

    def check(self) -> None:
        """Raise PartError if a part has ended by itself."""
        for part in self._parts:
            status = part.process.poll()
            if status is not None:
                raise PartError(f"{part.name} ended by itself with status {status}; {part.describe()}")

    def wait(self, what: str, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until `ready` says so.

        Args:
            what: What is waited for, as it reads after "waited 60 s for".
            ready: Asked again and again.
            timeout: Seconds.

        Raises:
            PartError: A part ended meanwhile, or the time is over.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() >= deadline:
                logs = ", ".join(str(part.log) for part in self._parts)
                raise PartError(f"waited {timeout:.0f} s for {what}, in vain; logs: {logs}")
            time.sleep(POLL)

    def close(self) -> None:
        """End every part, the last one started first. Safe to call twice."""
        if self._guardian.stdin is not None and not self._guardian.stdin.closed:
            self._guardian.stdin.close()
        while self._guardian.poll() is None:
            for part in self._parts:
                part.process.poll()  # buries the dead, or the guardian would still see them
            time.sleep(POLL)
        for part in self._parts:
            if part.process.poll() is None:  # somebody has killed the guardian
                os.killpg(part.process.pid, signal.SIGKILL)
            part.process.wait()


def free_ports(count: int) -> list[int]:
    """Return different TCP ports of 127.0.0.1 on which nobody listens at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def listens(port: int) -> bool:
    """Whether something accepts TCP connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
