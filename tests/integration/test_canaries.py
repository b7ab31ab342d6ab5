"""Canaries: a secret in every place of the configuration that takes one, everything fails, and none is ever seen.

The server that everything leads to refuses with an answer that repeats the whole request, secrets and all.
"""

import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.kit.brokers import Broker
from tests.kit.fleet import wait_until
from tests.kit.http_registry_server import SECTION
from tests.kit.prometheus import free_port
from tests.kit.recording import recording

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

CANARY = "c4n4ry"
FROM_THE_ENVIRONMENT = {"CANARY_SECRET": f"{CANARY}-webhook-secret"}
API_TOKEN = f"{CANARY}-api-token-0123456789abcdef"


class Echo(BaseHTTPRequestHandler):
    """Refuses, and repeats all that it was sent."""

    protocol_version = "HTTP/1.1"

    def _refuse(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        said = f"{self.path} {self.headers} ".encode() + body
        self.send_response(403)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        self.server.asked.add(self.path.split("/")[1])  # type: ignore[attr-defined]  # of the server below

    do_GET = do_POST = do_PUT = do_PATCH = _refuse  # noqa: N815 - the names that the base class looks for

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.asked = set()  # type: ignore[attr-defined]  # what the handler adds to
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def configuration(broker: Broker, topic: str, folder: Path, echo: int, port: int) -> dict[str, Any]:
    """Every kind of receiver, a heartbeat, a registry and a token, each with canaries of its own."""
    login = f"user:{CANARY}-password@127.0.0.1:{echo}"
    (folder / "token").write_text(f"{CANARY}-from-a-file\n")
    receivers: list[dict[str, Any]] = [
        {"kind": "webhook", "url": f"http://{login}/webhook/{CANARY}", "secret": {"value": "${CANARY_SECRET}"}},
        {"kind": "slack", "url": {"value": f"http://{login}/slack/{CANARY}"}},
        {"kind": "slack_bot", "token": {"value": f"xoxb-{CANARY}-123456"}, "channel": "C0123456"},
        {"kind": "pagerduty", "routing_key": {"value": CANARY.ljust(32, "0")}},
        {"kind": "alertmanager", "urls": [f"http://{login}/alertmanager"], "token": {"file": str(folder / "token")}},
        {"kind": "apprise", "url": {"value": f"json://{login}/apprise/{CANARY}"}},
        {"kind": "email", "host": "127.0.0.1", "port": free_port(), "sender": "a@example.com", "to": ["b@example.com"]},
    ]
    receivers[2]["url"] = f"http://127.0.0.1:{echo}/slackbot"
    receivers[3]["url"] = f"http://127.0.0.1:{echo}/pagerduty"
    receivers[6] |= {"username": "u", "password": {"value": f"{CANARY}-mail"}}
    hashed = hashlib.sha256(API_TOKEN.encode()).hexdigest()
    return {
        "kafka": {"bootstrap_servers": [broker.address], "topics": [topic], "group_id": topic, "session_timeout": 4},
        "models": {"mail": {"reference": {"events": 2000}}},
        "detection": {"budget": 10000},
        "store": {"path": str(folder / "tocsin.db"), "commit_every": 0.2},
        "quarantine": {"file": str(folder / "quarantine.jsonl")},
        "alerting": {
            "network": {"allow": ["127.0.0.1"]},
            "receivers": [{"name": f"to-{each['kind']}", **each} for each in receivers],
            "heartbeat": {"url": {"value": f"http://{login}/heartbeat/{CANARY}"}, "every": 1},
        },
        "registry": SECTION | {"url": f"http://127.0.0.1:{echo}/registry", "token": {"value": f"{CANARY}-registry"}},
        "rollback": {"mode": "auto", "persistence": 0, "confirm": 0, "max_evidence_age": 1e9},
        "server": {"port": port, "access": {"tokens": [{"name": "ada", "sha256": hashed, "role": "admin"}]}},
        "log": {"level": "debug"},
    }


def tocsin(folder: Path, command: str, log: Path) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "monitor.commands.cli", command, "--config", str(folder / "tocsin.yaml")]
    with log.open("wb") as output:
        return subprocess.Popen(program, stdout=output, stderr=output, env=FROM_THE_ENVIRONMENT)


def pages(url: str) -> Mapping[str, str]:
    """Everything that can be asked for, by whoever has the token."""
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {API_TOKEN}"}, timeout=30) as client:
        found = {path: client.get(path).text for path in ("/metrics", "/healthz", "/readyz", "/api/v1/openapi.json")}
        (incident, *_) = client.get("/api/v1/incidents").json()["incidents"]
        names = {"{incident}": incident["id"], "{model}": "mail"}
        for path, methods in json.loads(found["/api/v1/openapi.json"])["paths"].items():
            for name, value in names.items():
                path = path.replace(name, value)  # noqa: PLW2901 - filled in, one name after the other
            if "get" in methods:
                found[path] = client.get(path).text
        found["page"] = client.get(f"/incidents/{incident['id']}").text
        wrong = {"authorization": f"Bearer {CANARY}-guess"}
        found["refused"] = client.get("/api/v1/me", headers=wrong).text
    return found


def test_no_secret_leaves_the_daemon(embedded_broker: Broker, tmp_path: Path, echo: ThreadingHTTPServer) -> None:
    topic, port = f"canaries-{tmp_path.name}", free_port()
    embedded_broker.create_topic(topic)
    config = configuration(embedded_broker, topic, tmp_path, echo.server_port, port)
    (tmp_path / "tocsin.yaml").write_text(yaml.safe_dump(config))
    assert tocsin(tmp_path, "check", tmp_path / "check.log").wait(60) == 0, (tmp_path / "check.log").read_text()
    embedded_broker.write(topic, [*recording(3000, flip_from=2000), b"{bad"])
    url = f"http://127.0.0.1:{port}"
    daemon = tocsin(tmp_path, "run", tmp_path / "run.log")
    asked: set[str] = echo.asked  # type: ignore[attr-defined]  # see the fixture
    kinds = {"webhook", "slack", "slackbot", "pagerduty", "alertmanager", "apprise", "heartbeat", "registry"}
    try:
        wait_until(lambda: daemon.poll() is not None or kinds <= asked)
        seen = dict(pages(url))
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
    for name in ("check.log", "run.log", "tocsin.db", "tocsin.db-wal", "quarantine.jsonl"):
        if (tmp_path / name).exists():
            seen[name] = (tmp_path / name).read_bytes().decode(errors="replace")
    assert len(seen["run.log"].splitlines()) > 10
    assert [name for name, content in seen.items() if CANARY in content] == []
