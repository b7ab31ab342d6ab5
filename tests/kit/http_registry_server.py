"""A small model registry behind HTTP, as people write them themselves: JSON, a login, and a compare-and-move."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from monitor.rollback.http_registry import HttpRegistryConfig

TOKEN = "t0ken-c4n4ry"
SECTION: dict[str, Any] = {
    "kind": "http",
    "token": {"value": TOKEN},
    "current": {"path": "/models/{model}/aliases/{alias}?full=1", "version": "data.version"},
    "versions": {"path": "/models/{model}/versions", "items": "data"},
    "move": {
        "method": "PUT",
        "path": "/models/{model}/aliases/{alias}",
        "body": {"version": "{to}", "expected": "{expected}"},
    },
    "mark": {
        "method": "PATCH",
        "path": "/models/{model}/versions/{version}",
        "body": {"known_good_at": "{known_good_at}", "known_good_signature": "{signature}"},
    },
    "pin": {
        "method": "PUT",
        "path": "/models/{model}/pin",
        "body": {"incident": "{incident}", "serving": "{version}", "suspect_since": "{suspect_since}"},
    },
    "artefact": {"path": "/models/{model}/versions/{version}/artefact"},
}


@dataclass
class Kept:
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    pinned: dict[str, str] | None = None


class RegistryServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, Kept] = {}
        self.artefacts: dict[str, bytes] = {}
        self.forced: int | None = None
        """A status that everything is answered with."""

    def config(self, **changes: Any) -> HttpRegistryConfig:
        return HttpRegistryConfig.model_validate(
            SECTION | {"url": f"http://127.0.0.1:{self.server_port}", "timeout": 30.0} | changes
        )


class _Handler(BaseHTTPRequestHandler):
    server: RegistryServer

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, body = self._work(json.loads(raw) if raw else {})
        if self.server.forced is not None:
            status, body = self.server.forced, {"message": f"forced, {self.headers['authorization']}"}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _work(self, body: dict[str, str]) -> tuple[int, Any]:
        _, _, model, kind, *rest = map(unquote, self.path.partition("?")[0].split("/"))
        kept = self.server.models.get(model)
        if self.headers["authorization"] != f"Bearer {TOKEN}" or kept is None:
            return (401, {"message": "who are you?"}) if kept is not None else (404, {"message": f"no model {model}"})
        if kind == "pin":
            kept.pinned = body if body["incident"] else None
            return 200, {}
        if kind == "aliases":
            return self._alias(kept, rest[0], body)
        return self._versions(kept, rest, body)

    def _versions(self, kept: Kept, rest: list[str], body: dict[str, str]) -> tuple[int, Any]:
        if not rest:
            return 200, {"data": list(kept.versions.values())}
        if rest[0] not in kept.versions:
            return 404, {"message": f"no version {rest[0]}"}
        if len(rest) > 1:
            return 200, self.server.artefacts[rest[0]]
        kept.versions[rest[0]] |= {key: value or None for key, value in body.items()}
        return 200, {}

    def _alias(self, kept: Kept, alias: str, body: dict[str, str]) -> tuple[int, Any]:
        if alias not in kept.aliases:
            return 404, {"message": f"no alias {alias}"}
        if self.command == "PUT":
            if kept.aliases[alias] != body["expected"]:
                return 409, {"message": "it is elsewhere"}
            kept.aliases[alias] = body["version"]
        return 200, {"data": {"version": kept.aliases[alias]}}


@pytest.fixture
def registry_server() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
