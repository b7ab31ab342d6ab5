"""A real MLflow server on a free loopback port, and what a data scientist does to its registry."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

START_SECONDS = 100.0
STOP_SECONDS = 10.0
START_ATTEMPTS = 3


class MlflowServer:
    """A running server; the methods are what people and their CI do, not what Tocsin does."""

    def __init__(self, url: str, login: tuple[str, str] | None = None) -> None:
        self.url = url
        self._login = login

    def add_model(self, model: str) -> None:
        self._post("registered-models/create", {"name": model})

    def add_version(self, model: str, tags: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
        """Register a version and return MLflow's number of it; its files are those of a folder, or nowhere."""
        body = {
            "name": model,
            "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
            **({"source": "s3://models/nowhere"} if folder is None else self._uploaded(folder)),
        }
        answer = self._post("model-versions/create", body)
        return str(answer["model_version"]["version"])

    def _uploaded(self, folder: Path) -> dict[str, str]:
        """Put a folder into the server's own artefact store, which takes one for a model if it comes from a run."""
        run = self._post("runs/create", {"experiment_id": "0"})["run"]["info"]
        place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{place}/{file.relative_to(folder).as_posix()}"
            httpx.put(target, content=file.read_bytes(), timeout=30.0, auth=self._login).raise_for_status()
        return {"source": run["artifact_uri"], "run_id": run["run_id"]}

    def set_alias(self, model: str, alias: str, number: str) -> None:
        self._post("registered-models/alias", {"name": model, "alias": alias, "version": number})

    def alias(self, model: str, alias: str) -> str:
        """MLflow's number of the version that an alias points to."""
        return str(self._get("registered-models/alias", name=model, alias=alias)["model_version"]["version"])

    def set_tag(self, model: str, number: str, key: str, value: str) -> None:
        self._post("model-versions/set-tag", {"name": model, "version": number, "key": key, "value": value})

    def version(self, model: str, number: str) -> dict[str, str]:
        """The tags of a version, as MLflow shows them."""
        found = self._get("model-versions/get", name=model, version=number)["model_version"]
        return {tag["key"]: tag["value"] for tag in found.get("tags", [])}

    def model_tags(self, model: str) -> dict[str, str]:
        """The tags of a model, as MLflow shows them."""
        found = self._get("registered-models/get", name=model)["registered_model"]
        return {tag["key"]: tag["value"] for tag in found.get("tags", [])}

    def add_webhook(self, url: str, secret: str) -> None:
        """Have every alias that is set told to an address."""
        events = [{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}]
        self._post("webhooks", {"name": "tocsin", "url": url, "events": events, "secret": secret})

    def _get(self, endpoint: str, **query: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/api/2.0/mlflow/{endpoint}", params=query, timeout=30.0, auth=self._login)
        result: dict[str, Any] = answer.raise_for_status().json()
        return result

    def _post(self, endpoint: str, body: dict[str, object]) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/api/2.0/mlflow/{endpoint}", json=body, timeout=30.0, auth=self._login)
        result: dict[str, Any] = answer.raise_for_status().json()
        return result


@contextmanager
def running_mlflow(folder: Path, login: tuple[str, str] | None = None) -> Iterator[MlflowServer]:
    """Start a server whose data and log are in `folder`; stop it, and all it has started, at the end.

    With a `login` it wants that for everything, and its webhooks may come to this machine.
    """
    for attempt in range(START_ATTEMPTS):  # a free port may be taken by somebody else before the server has it
        port = _free_port()
        log = folder / f"mlflow-{attempt}.log"
        process = _start(folder, port, log, login)
        try:
            if _is_ready(process, f"http://127.0.0.1:{port}"):
                yield MlflowServer(f"http://127.0.0.1:{port}", login)
                return
        finally:
            _stop(process)
    raise RuntimeError(f"MLflow did not start; the end of {log}:\n{log.read_text()[-2000:]}")


def need_mlflow() -> None:
    """Skip the test where there is no MLflow; in CI that is a failure."""
    if importlib.util.find_spec("mlflow") is None:
        reason = "MLflow is not installed (the extra `demo`)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One server for the whole run: it takes ten seconds and more to start."""
    need_mlflow()
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _start(folder: Path, port: int, log: Path, login: tuple[str, str] | None) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    # Without its job runner, the server is two processes instead of ten.
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["DO_NOT_TRACK"] = "true"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    if login is not None:
        environment |= _guarded(folder, *login)
        command += ["--app-name", "basic-auth"]
    with log.open("wb") as output:
        return subprocess.Popen(
            command + places,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that the group can be stopped as one
        )


def _guarded(folder: Path, user: str, password: str) -> dict[str, str]:
    """The environment of a server that wants a login."""
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{folder}/auth.db\nadmin_username = {user}\nadmin_password = {password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only for a test",
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
    }


def _is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health", timeout=5.0).is_success:
                return True
        except httpx.TransportError:
            time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait(STOP_SECONDS)
