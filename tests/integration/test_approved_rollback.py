"""The whole life of a rollback that a person approves: a real broker, a real MLflow, the daemon and the commands."""

import json
import signal
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit.brokers import Broker
from tests.kit.daemon import Daemon
from tests.kit.http_server import Server
from tests.kit.mlflow_server import MlflowServer
from tests.kit.recording import START, recording

pytestmark = [pytest.mark.slow, pytest.mark.mlflow]

SOUND, POISONED, AFTER = 2000, 600, 5500
"""Predictions by version 1, by version 2, and by version 1 again."""
STEP = 10.0


class Team:
    """What people do and see."""

    def __init__(self, daemon: Daemon, mlflow: MlflowServer, model: str) -> None:
        self.daemon, self.mlflow, self.model = daemon, mlflow, model

    def release(self, tags: dict[str, str]) -> None:
        """Register a version, and let it serve."""
        self.mlflow.set_alias(self.model, "champion", self.mlflow.add_version(self.model, tags))

    def alias(self) -> str:
        return self.mlflow.alias(self.model, "champion")

    def action(self) -> dict[str, Any]:
        """The one rollback, as the API shows it; nothing while there is none."""
        try:
            (action,) = httpx.get(f"{self.daemon.url}/api/v1/actions").json()["actions"] or [{}]
        except httpx.TransportError:
            return {}
        found: dict[str, Any] = action
        return found

    def wait_for(self, state: str) -> dict[str, Any]:
        self.daemon.wait_until(lambda: self.action().get("state") == state)
        return self.action()

    def tocsin(self, *words: str) -> str:
        command = [sys.executable, "-m", "monitor.commands.cli", *words, "--config", str(self.daemon.config)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_from_the_first_version_to_a_proposal_its_approval_and_recovery(
    embedded_broker: Broker, mlflow_server: MlflowServer, tmp_path: Path, hook: Server
) -> None:
    model = f"mail-{uuid.uuid4().hex[:8]}"
    mlflow_server.add_model(model)
    registry = f"{{kind: mlflow, url: '{mlflow_server.url}'}}"
    made = Daemon(embedded_broker, f"approved-{model}", tmp_path, hook, registry=registry, mode="propose")
    with closing(made) as daemon:
        live(Team(daemon, mlflow_server, model), embedded_broker, hook)


def live(team: Team, broker: Broker, hook: Server) -> None:
    daemon, model = team.daemon, team.model

    # The first version, which the release process vouches for, and a second one that learnt from flipped labels.
    team.release({"tocsin.known_good_at": "2026-02-02T00:00:00+00:00"})
    daemon.start()
    events = recording(SOUND + POISONED, model=model, flip_from=SOUND)
    poisoned = next(number for number, event in enumerate(events) if json.loads(event).get("version") == "2")
    broker.write(daemon.topic, events[:poisoned])
    daemon.wait_until_read(poisoned)
    assert (team.action(), team.alias()) == ({}, "1")
    team.release({})
    broker.write(daemon.topic, events[poisoned:])

    # It is proposed, people are told where they are, and nothing is moved.
    proposal = team.wait_for("proposed")
    assert (proposal["from_version"], proposal["to_version"], team.alias()) == ("2", "1", "2")
    assert proposal["reason"].startswith(f"Proposes to roll the alias champion of {model} back from 2 to 1;")
    daemon.wait_until(lambda: any(proposal["reason"] in text for text in told(hook)))
    assert f"{model} 2 -> 1  proposed" in team.tocsin("rollback", "status")

    # A person approves; the daemon checks everything anew, and moves it.
    said = team.tocsin("rollback", "approve", proposal["incident"], "--by", "ann")
    assert said.startswith("Approved by ann at 20")
    team.wait_for("moved")
    assert team.alias() == "1"

    # The servers follow, the errors go away, and with them the incident.
    begins = START + (SOUND + POISONED) * STEP
    after = recording(AFTER, model=model, start=begins)
    broker.write(daemon.topic, [event.replace(b'"event_id": "', b'"event_id": "again-') for event in after])
    recovered = team.wait_for("recovered")
    assert recovered["reason"] == (
        f"Rolled the alias champion of {model} back from 2 to 1; 1 serves, and the incident is over."
    )
    (incident,) = httpx.get(f"{daemon.url}/api/v1/incidents").json()["incidents"]
    assert (incident["status"], incident["verdict"]) == ("resolved", "label_flip")
    daemon.wait_until(lambda: any('"resolved"' in text for text in told(hook)))
    assert daemon.metric("tocsin_rollbacks_total", 'state="moved"') == 1

    # Every step is in the audit log, with who it was.
    lines = team.tocsin("audit", "list", "--output", "json").splitlines()
    acts = [json.loads(line) for line in reversed(lines)]
    steps = [(act["verb"], act["actor"]) for act in acts if act["verb"].startswith("rollback.")]
    assert steps == [
        ("rollback.requested", "tocsin"),
        ("rollback.proposed", "tocsin"),
        ("rollback.intended", "ann"),
        ("rollback.moved", "tocsin"),
        ("rollback.recovered", "tocsin"),
    ]
    assert daemon.stop(signal.SIGTERM) == 0


def told(hook: Server) -> list[str]:
    """What the receiver got, in order."""
    return [request.body.decode() for request in hook.requests]
