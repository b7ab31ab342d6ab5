"""What Tocsin is made of: the bill of materials, and known vulnerabilities, asked of an advisory service of our own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.kit.documents import ROOT

UV = Path(sys.executable).with_name("uv")


@pytest.fixture(autouse=True)
def _uv_is_there() -> None:
    missing = "uv is not in the virtual environment; `make setup` puts it there"
    if not UV.exists():
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


class Advisories(ThreadingHTTPServer):
    """Speaks as much of https://google.github.io/osv.dev/api/ as uv asks for: one package has one flaw."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: list[dict[str, str]] = [{"introduced": "0"}]
        self.flawed = "msgspec"
        self.status = 200
        self.asked: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Advisories

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
        names = [query["package"]["name"] for query in queries]
        self.server.asked.update(names)
        flaw = {"vulns": [{"id": "GHSA-made-up", "modified": "2026-01-01T00:00:00Z"}]}
        self._say({"results": [flaw if name == self.server.flawed else {} for name in names]})

    def do_GET(self) -> None:
        package = {"name": self.server.flawed, "ecosystem": "PyPI"}
        affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": self.server.events}]}
        times = dict.fromkeys(("modified", "published"), "2026-01-01T00:00:00Z")
        self._say({"id": "GHSA-made-up", "summary": "made up", "affected": [affected], **times})

    def _say(self, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def advisories() -> Iterator[Advisories]:
    with Advisories() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def audit(monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[int, str]:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return ended.returncode, ended.stdout


def test_a_flaw_that_has_a_fix_is_a_failure(advisories: Advisories, monkeypatch: pytest.MonkeyPatch) -> None:
    advisories.events.append({"fixed": "99.0"})
    code, said = audit(monkeypatch, "--service-url", advisories.url)
    assert code == 1
    assert "GHSA-made-up made up (fixed in 99.0" in said
    assert {"cryptography", "starlette", "mlflow", "pytest"} <= advisories.asked
    code, said = audit(monkeypatch, "--service-url", advisories.url, "--ignore", "GHSA-made-up")
    assert (code, "GHSA-made-up" in said) == (0, False)


def test_a_flaw_that_nobody_has_fixed_is_told(advisories: Advisories, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = audit(monkeypatch, "--service-url", advisories.url)
    assert code == 0
    assert "GHSA-made-up made up (fixed in nothing yet" in said
    assert "packages, 1 known vulnerabilities" in said


@pytest.mark.parametrize("status", [500, 404, None])
def test_where_nobody_can_be_asked_that_is_said(
    advisories: Advisories, monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    advisories.status = status or 200
    url = advisories.url if status else "http://127.0.0.1:1/"
    code, said = audit(monkeypatch, "--service-url", url)
    assert (code, said.partition(":")[0]) == (0, "AUDIT SKIPPED")


def test_what_goes_wrong_otherwise_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = audit(monkeypatch, "--no-such-option")
    assert (code, said.partition(":")[0]) == (1, "the audit failed")


def test_the_bill_of_materials_has_all_that_is_shipped_and_no_tools() -> None:
    recipe = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "cyclonedx" in line)
    words = recipe.replace("$(UV)", str(UV)).partition(" --output-file")[0].split()
    bill = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "tocsin")
    found = {each["name"]: each["purl"] for each in bill["components"]}
    assert found["pyjwt"].startswith("pkg:pypi/pyjwt@")
    assert {"httpx", "psycopg", "confluent-kafka"} <= found.keys()
    assert found.keys() & {"pytest", "ruff", "hypothesis"} == set()
