"""Real Prometheus and Alertmanager, on free ports of the loopback, for as long as a test needs them."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

START_SECONDS = 30.0


def program(name: str) -> str:
    """Where a program of theirs is. Where it is not, the test is skipped; in CI, where it has to be, it fails."""
    found = shutil.which(name)
    if found is None:
        why = f"{name} is not installed (Debian: prometheus, prometheus-alertmanager)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    return str(found)


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API; an error is a failed assertion that says why."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        body = answer.json()
        assert body["status"] == "success", f"{parameters}: {body.get('error')}"
        return body["data"]

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The series of an expression at a time, epoch seconds; or now."""
        return list(self.ask("query", query=expression, time=f"{at or time.time():.3f}")["result"])

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of an expression over a time."""
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return list(self.ask("query_range", query=expression, **times)["result"])


@contextmanager
def running_prometheus(
    folder: Path, targets: Mapping[str, str], rules: list[Path], alertmanager: str, *, evaluate: str
) -> Iterator[Prometheus]:
    """Scrape `targets` (address by job) and `evaluate` the rules, both so often; send alerts to host:port."""
    config = {
        "global": {"scrape_interval": evaluate, "evaluation_interval": evaluate},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()
        ],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/prometheus",
    ]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with _running(command, folder / "prometheus.log", f"http://127.0.0.1:{port}/-/ready"):
        yield Prometheus(f"http://127.0.0.1:{port}")


@contextmanager
def running_alertmanager(folder: Path, webhook: str) -> Iterator[str]:
    """Send every alert to the webhook at once; the address is host:port."""
    config = {
        "route": {
            "receiver": "hook",
            "group_by": ["alertname"],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "hook", "webhook_configs": [{"url": webhook}]}],
    }
    (folder / "alertmanager.yml").write_text(json.dumps(config))
    port = free_port()
    command = [program("prometheus-alertmanager"), f"--config.file={folder}/alertmanager.yml"]
    command += [f"--storage.path={folder}/alertmanager", f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--cluster.listen-address=", "--log.level=warn"]  # without the empty one it listens everywhere
    with _running(command, folder / "alertmanager.log", f"http://127.0.0.1:{port}/-/ready"):
        yield f"127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], log: Path, ready: str) -> Iterator[None]:
    with ExitStack() as stack:
        process = subprocess.Popen(command, stdout=stack.enter_context(log.open("wb")), stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
