"""The demo's child processes: they start, they are waited for, and nothing of them is ever left."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from monitor.demo.parts import Part, PartError, Parts, free_ports, listens

SLEEPER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
# A child with a child of its own, which ignores the request to end; it prints both process ids.
STUBBORN = [
    sys.executable,
    "-c",
    textwrap.dedent(
        """
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(os.getpid(), child.pid, flush=True)
        time.sleep(600)
        """
    ),
]


def runs(pid: int) -> bool:
    """Whether a process runs; one that is dead and only waits to be noticed does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ends(pids: list[int]) -> bool:
    deadline = time.monotonic() + 30
    while any(runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(runs(pid) for pid in pids)


def printed(parts: Parts, log: Path) -> list[int]:
    parts.wait("its process ids", lambda: log.read_text().endswith("\n"), timeout=30)
    return [int(word) for word in log.read_text().split()]


def test_a_part_runs_with_its_output_in_its_log_until_the_block_is_left(tmp_path: Path) -> None:
    with Parts(tmp_path) as parts:
        part = parts.start("sleeper", SLEEPER)
        parts.wait("its word", lambda: part.log.read_text() == "here\n", timeout=30)
        parts.check()
    assert part.process.returncode == -signal.SIGTERM
    assert not runs(part.process.pid)


def test_children_of_children_end_too_and_so_do_those_that_do_not_want_to(tmp_path: Path) -> None:
    with Parts(tmp_path) as parts:
        part = parts.start("stubborn", STUBBORN, stop=signal.SIGKILL)
        pids = printed(parts, part.log)
        assert all(runs(pid) for pid in pids)
    assert ends(pids)


def test_a_part_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    with Parts(tmp_path, grace=0.2) as parts:
        part = parts.start("stubborn", STUBBORN)
        pids = printed(parts, part.log)
    assert part.process.returncode == -signal.SIGKILL
    assert ends(pids)


def test_an_exception_in_the_block_ends_the_parts_and_goes_on(tmp_path: Path) -> None:
    started: list[Part] = []

    def interrupted() -> None:
        with Parts(tmp_path) as parts:
            started.append(parts.start("sleeper", SLEEPER))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not runs(started[0].process.pid)


def test_the_parts_end_even_if_the_guardian_was_killed_before(tmp_path: Path) -> None:
    with Parts(tmp_path) as parts:
        part = parts.start("stubborn", STUBBORN)
        pids = printed(parts, part.log)
        parts._guardian.kill()
        parts._guardian.wait()
    assert ends(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_parts_end_when_the_demo_itself_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    demo = textwrap.dedent(
        f"""
        import signal, time
        from pathlib import Path
        from monitor.demo.parts import Parts
        # Where the tests themselves run in the background, these are ignored, and that is inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with Parts(Path({str(tmp_path)!r}), grace=0.5) as parts:
            first = parts.start("first", {SLEEPER!r})
            second = parts.start("second", {SLEEPER!r})
            print(first.process.pid, second.process.pid, parts._guardian.pid, flush=True)
            time.sleep(600)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", demo], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 3
        assert all(runs(pid) for pid in pids)
        os.kill(process.pid, number)
        assert process.wait(timeout=30) != 0
    assert ends(pids)


def test_a_part_that_ends_by_itself_is_named_with_its_log_and_last_words(tmp_path: Path) -> None:
    with Parts(tmp_path) as parts:
        parts.start("oracle", [sys.executable, "-c", "import sys; print('all is lost'); sys.exit(3)"])
        with pytest.raises(PartError, match=r"(?s)oracle ended by itself with status 3.*oracle\.log.*all is lost"):
            parts.wait("the oracle", lambda: False, timeout=30)


def test_waiting_in_vain_names_what_was_waited_for_and_the_logs(tmp_path: Path) -> None:
    with Parts(tmp_path) as parts:
        parts.start("sleeper", SLEEPER)
        with pytest.raises(PartError, match=r"waited 0 s for better weather, in vain; logs: .*sleeper\.log"):
            parts.wait("better weather", lambda: False, timeout=0.1)


def test_a_program_that_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    with Parts(tmp_path) as parts, pytest.raises(PartError, match=r"nobody could not be started: .*No such file"):
        parts.start("nobody", [str(tmp_path / "nobody")])


def test_free_ports_are_different_and_nobody_listens_on_them() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert not any(listens(port) for port in ports)
