"""Tocsin itself, as the demo sees it: a configuration file, a process, and what that process says over HTTP."""

import hashlib
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitor.demo.registry import ALIAS
from monitor.http.access_config import Role
from monitor.rollback.config import Mode

SECRET_VARIABLE = "TOCSIN_DEMO_SECRET"  # noqa: S105 - the name of a variable, not what is in it
PERSON = "you"
"""Who may answer a proposal in the console, as the audit log names them."""
BUDGET = 100_000
"""Events per false incident: the one number that people set."""


class Addresses(NamedTuple):
    """Where the parts are, as URLs, and without a scheme where there is none."""

    kafka: str
    registry: str
    server: str
    receiver: str
    tocsin: str


def write_config(
    path: Path, addresses: Addresses, *, model: str, topic: str, reference: int, token: str, mode: Mode
) -> None:
    """Write the configuration that the demo runs Tocsin with.

    Args:
        path: The file; the state is kept beside it.
        addresses: Where the parts are.
        model: The model to watch.
        topic: Where its events are.
        reference: How many of the first events are known to be clean, and make the baseline.
        token: With what a person signs in to the console.
        mode: Whether Tocsin moves the alias by itself, or asks that person.
    """
    url = urlsplit(addresses.tocsin)
    person = {"name": PERSON, "sha256": hashlib.sha256(token.encode()).hexdigest(), "role": Role.APPROVER.value}
    config = {
        "kafka": {
            "bootstrap_servers": [addresses.kafka],
            "topics": [topic],
            "group_id": "tocsin",
            # The embedded broker keeps a new member waiting for half of the session timeout.
            "session_timeout": 2.0,
            "heartbeat_interval": 0.6,
        },
        "store": {"path": str(path.with_name("tocsin.db")), "commit_every": 1.0},
        "models": {model: {"reference": {"events": reference}}},
        "detection": {"budget": BUDGET},
        "alerting": {
            "network": {"allow": ["127.0.0.0/8"]},
            "receivers": [
                {
                    "kind": "webhook",
                    "name": "demo",
                    "url": addresses.receiver,
                    "secret": {"value": f"${{{SECRET_VARIABLE}}}"},
                }
            ],
        },
        "registry": {"kind": "mlflow", "url": addresses.registry, "alias": ALIAS},
        # The demo's minutes stand for days: elsewhere an incident has to last for longer before anything is moved.
        "rollback": {"mode": mode.value, "cooldown": 3600, "persistence": 2, "verify": "always"},
        "server": {"host": url.hostname, "port": url.port, "access": {"tokens": [person]}},
    }
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def command(config: Path) -> list[str]:
    """Return the command that runs Tocsin."""
    return [sys.executable, "-m", "monitor.commands.cli", "run", "--config", str(config)]


def answers(client: httpx.Client, url: str) -> bool:
    """Whether a server is there and answers a GET with 200."""
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


class Daemon:
    """The running daemon, over its own HTTP interface."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self._url = url

    def ready(self) -> bool:
        """Whether it reads events."""
        return answers(self._client, f"{self._url}/readyz")

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels; 0 where there are none.

        Args:
            name: The sample's name, as `/metrics` has it.
            labels: Label values that a sample must have to count.

        Raises:
            httpx.HTTPError: It does not answer.
        """
        text = self._client.get(f"{self._url}/metrics").raise_for_status().text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
