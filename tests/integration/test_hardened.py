"""The daemon with all that hardens it at once: TLS, certificates, an issuer, signatures, encryption, audit copies."""

import json
import signal
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from monitor.commands.cli import app
from monitor.intake.signatures import sign
from tests.kit.brokers import Broker
from tests.kit.certificates import self_signed, signed
from tests.kit.daemon import Daemon
from tests.kit.http_server import Server
from tests.kit.issuer import issuing
from tests.kit.recording import recording

SECRET = "0123456789abcdef0123456789abcdef"
STORE_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.mark.slow
def test_a_daemon_with_everything_on(embedded_broker: Broker, hook: Server, tmp_path: Path) -> None:
    topic, copy = "hardened", "hardened-audit"
    embedded_broker.create_topic(copy)
    own, authority = self_signed(tmp_path, "server"), self_signed(tmp_path, "authority")
    runner = signed(tmp_path, "runner", authority, uri="spiffe://prod/ci")
    with (
        issuing() as idp,
        closing(Daemon(embedded_broker, topic, tmp_path, hook, registry="null", mode="observe")) as daemon,
    ):
        idp.add("k1", "ES256")
        config = yaml.safe_load(daemon.config.read_text())
        config["server"] |= {
            "tls": {
                "cert_file": str(own.certificate),
                "key_file": str(own.key),
                "client_ca_file": str(authority.certificate),
            },
            "access": {
                "certificates": [{"name": "ci", "subject": "URI:spiffe://prod/ci", "role": "viewer"}],
                "oidc": [
                    {
                        "name": "sso",
                        "issuer": idp.url,
                        "audience": "tocsin",
                        "grants": [{"claim": ["groups"], "value": "soc", "role": "admin"}],
                    }
                ],
            },
        }
        config["store"] |= {"keys": [{"id": "k1", "key": {"value": STORE_KEY}}], "only_encrypted": True}
        config["signatures"] = {"producers": [{"name": "p", "keys": [{"id": "k", "secret": {"value": SECRET}}]}]}
        config["audit"] = {"topic": copy}
        daemon.config.write_text(yaml.safe_dump(config))
        events = recording(40)
        for event in events:
            embedded_broker.write(topic, [event], headers=list(sign(SECRET.encode(), "p", "k", topic, event).items()))
        embedded_broker.write(topic, events[:1])
        daemon.start()
        hook.wait_for(1)  # somebody is told of the one that nobody has signed

        url = daemon.url.replace("http:", "https:")
        trusting = ssl.create_default_context(cafile=own.certificate)
        showing = ssl.create_default_context(cafile=own.certificate)
        showing.load_cert_chain(*runner)
        bearer = {"authorization": f"Bearer {idp.token('k1', groups=['soc'])}"}
        with httpx.Client(base_url=url, verify=trusting) as client, httpx.Client(base_url=url, verify=showing) as ci:
            daemon.wait_until(lambda: client.get("/api/v1/me", headers=bearer).status_code == 200)
            assert client.get("/api/v1/me", headers=bearer).json()["name"] == "sso:ada"
            assert ci.get("/api/v1/me").json()["name"] == "ci"
            assert client.get("/api/v1/me").status_code == 401
            (incident,) = client.get("/api/v1/incidents", headers=bearer).json()["incidents"]
            assert (incident["verdict"], incident["model"]) == ("forgery", f"{topic}[0]")
            closed = client.post(f"/api/v1/incidents/{incident['id']}/acknowledge", headers=bearer)
            assert closed.status_code == 200
            metrics = client.get("/metrics").text
            assert 'tocsin_requests_refused_total{status="401"}' in metrics
            hook.wait_for(2)  # of the acknowledgement

        def copied() -> bool:
            _, told = tocsin("audit", "verify", "--topic")
            return len(told) == 2 and told[0]["entries"] == told[1]["entries"] > 2

        def tocsin(*words: str) -> tuple[int, list[Any]]:
            result = CliRunner().invoke(app, [*words, "--config", str(daemon.config), "--output", "json"])
            return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]

        daemon.wait_until(copied)
        code, told = tocsin("audit", "list")
        assert (code, [each["actor"] for each in told if each["verb"] == "incident.acknowledge"]) == (0, ["sso:ada"])
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(30) == 0
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("tocsin.db*"))
    assert b"records without a signature" not in stored
    assert b"mail-0" not in stored
