"""A server in MLflow's place that answers as a test says: every way in which a registry may misbehave."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from monitor.rollback.mlflow_registry import MlflowConfig


class Asked(NamedTuple):
    method: str
    endpoint: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, str]


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b"{}"
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    endless: bytes = b""
    """Sent again and again after the body, which is then announced as longer than it is."""


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def version(number: int, *, model: str = "net-ids", **tags: str) -> dict[str, Any]:
    listed = [{"key": key.replace("__", "."), "value": value} for key, value in tags.items()]
    return {
        "name": model,
        "version": str(number),
        "creation_timestamp": 1_772_000_000_000 + number,
        "status": "READY",
        "tags": listed,
    }


class Fake:
    """A server on a loopback port that answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self.answer: Callable[[Asked], Answer] = lambda _: Answer()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                address = urlsplit(self.path)
                asked = Asked(
                    self.command,
                    address.path.removeprefix("/api/2.0/mlflow/"),
                    {key: values[0] for key, values in parse_qs(address.query).items()},
                    dict(self.headers),
                    json.loads(self.rfile.read(length) or b"{}"),
                )
                fake.asked.append(asked)
                answer = fake.answer(asked)
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(10**12 if answer.endless else len(answer.body)))
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)
                while answer.endless and not fake.closing.wait(0.01):
                    self.wfile.write(answer.endless)

            do_GET = do_POST = do_DELETE = _do  # noqa: N815 - the names that http.server looks for

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def fake_mlflow() -> Iterator[Fake]:
    made = Fake()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.closing.set()
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def config(url: str, **keys: object) -> MlflowConfig:
    return MlflowConfig.model_validate({"kind": "mlflow", "url": url, "timeout": 5.0, **keys})
