"""The demo as it is: the whole story with every real part, and nothing left of it, whatever way it ends."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from alerting.incident import Severity, Status, Verdict
from monitor.demo.story import EXTRA, missing
from monitor.rollback.action import ActionState
from monitor.store.store import Store
from tests.kit.browser import visiting

pytestmark = [pytest.mark.slow, pytest.mark.mlflow, pytest.mark.timeout(420)]

# Where the tests themselves run in the background, Ctrl-C is ignored, and that is inherited.
DEMO = """
import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
from monitor.commands.cli import main; main()
"""


class Demo:
    """The command, run by somebody who reads what it prints."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._mark = f"TOCSIN_TEST_RUN={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-c", DEMO, "demo", "--workdir", str(folder), *options],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {name: value, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        )
        self.output = ""

    def read_until(self, words: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if words in line:
                return
        pytest.fail(f"it ended without {words!r}:\n{self.output}")

    def wait_for(self, words: str) -> int:
        """The number of its process whose command has these words, as soon as there is one."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for pid, command in self.processes().items():
                if words in command:
                    return pid
            time.sleep(0.05)
        pytest.fail(f"no {words} was started:\n{self.processes()}")

    def wait(self) -> int:
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        return self.process.wait()

    def processes(self) -> dict[int, str]:
        """Every process that descends from it, however far it has gone from there: its number and command."""
        found = {}
        for place in Path("/proc").iterdir():
            try:
                if place.name.isdigit() and self._mark.encode() in (place / "environ").read_bytes():
                    found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def is_gone(self) -> bool:
        deadline = time.monotonic() + 60
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.processes()


@pytest.fixture(autouse=True, scope="module")
def _extra() -> None:
    if lacking := missing(EXTRA):
        reason = f"not installed: {', '.join(lacking)} (the extra `demo`)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        demo.process.kill()
        demo.process.wait()
        assert demo.process.stdout is not None
        demo.process.stdout.close()


def test_the_whole_story_is_true_and_leaves_nothing_running(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path / "demo", "--keep")
    demos.append(demo)
    demo.read_until("Press Ctrl-C")
    told = demo.output

    # What it says at the end is asked again, of the parts themselves.
    mlflow, tocsin, server = (address(told, part) for part in ("MLflow", "Metrics", "Model server"))
    tocsin, bearer = tocsin.removesuffix("/metrics"), f"Bearer {token(told)}"
    query = {"name": "breast-cancer", "alias": "champion"}
    alias = ask(f"{mlflow}/api/2.0/mlflow/registered-models/alias", **query)["model_version"]
    assert alias["version"] == "1"
    assert ask(f"{server}/version") == {"model": "breast-cancer", "version": "1", "lost": 0}
    (incident,) = ask(f"{tocsin}/api/v1/incidents", bearer)["incidents"]
    assert incident["status"] == Status.RESOLVED
    # Recovery is looked at from time to time: the story may be over just before.
    assert eventually(lambda: ask(f"{tocsin}/api/v1/actions", bearer)["actions"][0]["state"] == ActionState.RECOVERED)
    assert len(demo.processes()) >= 6  # itself, guardian, broker, MLflow (two), model server, Tocsin

    demo.process.send_signal(signal.SIGINT)
    assert demo.wait() == 0
    assert demo.output.endswith("Nothing is left running.\n")
    assert demo.is_gone()

    # What it told while it went on is compared with what Tocsin has written down.
    store = Store(demo.folder / "tocsin.db")
    (kept,) = store.incidents()
    (action,) = store.actions.all()
    store.close()
    assert kept.version == "2"
    assert kept.severity is Severity.CRITICAL
    assert action.state is ActionState.RECOVERED
    assert (action.from_version, action.to_version) == ("2", "1")
    opened = number(r"Incident opened +(-?[\d.]+) s later", told)
    arrived = number(r"Message arrived +([\d.]+) s later", told)
    assert opened <= arrived + 0.1
    # The first verdict rests on a few answers, and may change openly.
    first, last = (re.search(rf"{which} verdict +(\w+: .+?)  ", told) for which in ("First", "Last"))
    assert first is not None
    assert last is not None
    assert last[1] == "label_flip: malignant taken for benign", first[1]
    assert kept.verdict is Verdict.LABEL_FLIP
    assert re.search(r"Rollbacks done +1 ", told)
    assert re.search(r"Messages +\d+ signed, 0 refused", told)
    before, during, since = (
        number(rf"{line} +([\d.]+)% of", told) for line in ("Wrong before", "Wrong by version 2", "Wrong since")
    )
    assert during > 2 * max(before, since)
    assert not [line for line in logged(demo.folder / "tocsin.log") if line["level"] == "error"]


def test_a_person_approves_the_proposal_in_the_console(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path / "demo", "--propose")
    demos.append(demo)
    demo.read_until("/console with the token")
    told = demo.output
    home = re.findall(r"^(http://127\.0\.0\.1:\d+/console) with", told, re.MULTILINE)[0]
    with visiting(390, 844) as visit:
        visit.page.goto(home)
        visit.page.get_by_label("Your token").fill(token(told))
        visit.click("Sign in")
        visit.click("breast-cancer 2")
        assert visit.says("Rollback: proposed, 2 to 1")
        visit.click("Approve")
        visit.click("Yes: approve")
        assert visit.says("Approved by you.")
        assert visit.complaints == []
    demo.read_until("MLflow's alias is at version 1 again")
    demo.process.send_signal(signal.SIGINT)
    assert demo.wait() == 1
    assert demo.is_gone()
    with closing(Store(demo.folder / "tocsin.db")) as store:
        acts = [(entry.act.actor, entry.act.verb) for entry in store.audit.entries(limit=1000)]
    assert ("you", "rollback.intended") in acts


def test_a_part_that_dies_is_named_with_its_log_and_the_rest_is_taken_down(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path / "demo")
    demos.append(demo)
    os.kill(demo.wait_for("monitor.demo.model_server"), signal.SIGKILL)
    assert demo.wait() == 1
    log = demo.folder / "model-server.log"
    assert f"The demo failed: model-server ended by itself with status -9; its log: {log}\n" in demo.output
    assert demo.is_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_it_is_interrupted_while_it_starts(
    tmp_path: Path, demos: list[Demo], number: signal.Signals
) -> None:
    demo = Demo(tmp_path / "demo")
    demos.append(demo)
    demo.wait_for("monitor.demo.model_server")
    assert len(demo.processes()) >= 4
    demo.process.send_signal(number)
    status = demo.wait()
    assert demo.is_gone()
    if number is signal.SIGINT:
        assert status == 1
        assert f"Logs are in {demo.folder}" in demo.output
    else:
        assert status == -number


def number(pattern: str, told: str) -> float:
    found = re.search(pattern, told)
    assert found is not None, pattern
    return float(found[1])


def address(told: str, part: str) -> str:
    found = re.search(rf"^{part} +(http://127\.0\.0\.1:\d+)", told, re.MULTILINE)
    assert found is not None
    return found[1]


def eventually(holds: Callable[[], bool], within: float = 60.0) -> bool:
    """Whether something comes true in time (seconds)."""
    ends = time.monotonic() + within
    while not holds() and time.monotonic() < ends:
        time.sleep(0.2)
    return holds()


def token(told: str) -> str:
    found = re.search(r"/console with the token (\w+)$", told, re.MULTILINE)
    assert found is not None
    return found[1]


def ask(url: str, bearer: str = "", **query: str) -> dict[str, Any]:
    headers = {"authorization": bearer} if bearer else {}
    answer: dict[str, Any] = httpx.get(url, params=query, headers=headers, trust_env=False).raise_for_status().json()
    return answer


def logged(log: Path) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
