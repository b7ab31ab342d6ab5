"""Ends the demo's child processes when the demo ends, in whatever way that is.

Run as a process of its own with a pipe from the demo on standard input. Each line is a process group and the
signal that ends it; the one argument is how many seconds a group has to end by itself before it is killed. The
end of input means that the demo is over, or was killed: the kernel closes the pipe in both cases. It is run as a
plain file and uses the standard library only, so that it is there in milliseconds.
"""

import os
import signal
import sys
import time


def _send(group: int, number: int) -> bool:
    """Signal a process group and say whether it is still there."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def end(group: int, number: int, grace: float) -> None:
    """End one process group, by force after `grace` seconds."""
    deadline = time.monotonic() + grace
    alive = _send(group, number)
    while alive and time.monotonic() < deadline:
        time.sleep(0.02)
        alive = _send(group, 0)
    if alive:
        _send(group, signal.SIGKILL)


def main(grace: float) -> None:
    """Take down what was started, the last first, once the demo is gone."""
    groups = [tuple(map(int, line.split())) for line in sys.stdin]
    for group, number in reversed(groups):
        end(group, number, grace)


if __name__ == "__main__":
    main(float(sys.argv[1]))
