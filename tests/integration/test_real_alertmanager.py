"""A real Alertmanager beside the delivery: it receives, groups, silences and resolves, and its own tool shows it."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerting.config import AlertingConfig, build, messages
from alerting.delivery import Delivery
from alerting.incident import Change, Severity, Status, Transition, Verdict
from alerting.policy import Policy
from monitor.store.store import Commit, Store
from tests.kit.http_server import Server
from tests.kit.incidents import incident, opened
from tests.kit.prometheus import program, running_alertmanager

SECONDS = 60.0


class World:
    """Alertmanager, what it has told its own receiver, and Tocsin's delivery to it."""

    def __init__(self, address: str, told: Server, store: Store) -> None:
        self.url = f"http://{address}"
        self._told = told
        self._store = store
        self._config = AlertingConfig.model_validate(
            {
                "environment": "production",
                "network": {"allow": ["127.0.0.1"]},
                "receivers": [{"kind": "alertmanager", "name": "am", "urls": [self.url], "every": 2}],
            }
        )
        self.delivery = Delivery(store.outbox, build(self._config), policy=Policy(poll=0.1))

    def push(self, *steps: Transition) -> None:
        self._store.commit(Commit(messages=messages(self._config, steps, time.time())))
        self.delivery.wake()

    def alerts(self) -> dict[str, Any]:
        """Alerts that Alertmanager has, by the incident that each is about, and its verdict."""
        found = httpx.get(f"{self.url}/api/v2/alerts").json()
        return {f"{alert['labels']['incident']} {alert['labels']['verdict']}": alert for alert in found}

    def notified(self) -> list[tuple[str, frozenset[str]]]:
        """What Alertmanager has sent on: the status of each group, and the incidents in it."""
        bodies = [json.loads(request.body) for request in self._told.requests]
        return [(b["status"], frozenset(alert["labels"]["incident"] for alert in b["alerts"])) for b in bodies]

    def amtool(self, *arguments: str) -> str:
        command = [program("amtool"), f"--alertmanager.url={self.url}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.fixture
def world(tmp_path: Path, server: Server) -> Iterator[World]:
    with (
        running_alertmanager(tmp_path, f"{server.address}/told") as address,
        closing(Store(tmp_path / "tocsin.db")) as store,
    ):
        made = World(address, server, store)
        made.delivery.start()
        try:
            yield made
        finally:
            made.delivery.stop(0.0)


def eventually(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_alertmanager_receives_groups_repeats_silences_and_resolves(world: World) -> None:
    world.push(opened(id="a"), opened(id="b", severity=Severity.WARNING))
    eventually(lambda: ("firing", frozenset("ab")) in world.notified())
    shown = json.loads(world.amtool("alert", "query", "--output=json", "environment=production"))
    assert {alert["labels"]["incident"] for alert in shown} == {"a", "b"}
    assert all(alert["annotations"]["summary"].startswith("net-ids 1.2.0 takes") for alert in shown)

    # It is repeated: the end moves on, and the alerts outlive what one telling is worth.
    first = world.alerts()["a label_flip"]["endsAt"]
    eventually(lambda: world.alerts()["a label_flip"]["endsAt"] > first)

    # Another verdict is another alert to Alertmanager: the old one has to end.
    world.push(Transition(Change.UPDATED, 2, incident(id="b", severity=Severity.WARNING, verdict=Verdict.BACKDOOR)))
    eventually(lambda: {"a label_flip", "b backdoor"} == set(world.alerts()))

    world.amtool("silence", "add", "incident=a", "--comment=known", "--author=ada", "--duration=1h")
    eventually(lambda: world.alerts()["a label_flip"]["status"]["state"] == "suppressed")

    ended = incident(id="b", severity=Severity.WARNING, verdict=Verdict.BACKDOOR, status=Status.RESOLVED)
    world.push(Transition(Change.RESOLVED, 3, ended))
    eventually(lambda: set(world.alerts()) == {"a label_flip"})
    eventually(lambda: any(status == "resolved" and "b" in group for status, group in world.notified()))


@pytest.mark.slow
def test_what_tocsin_does_not_repeat_any_more_ends_by_itself(world: World) -> None:
    world.push(opened(id="a"))
    eventually(lambda: "a label_flip" in world.alerts())
    world.delivery.stop(1.0)
    eventually(lambda: not world.alerts())
