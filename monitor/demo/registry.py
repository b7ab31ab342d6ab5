"""What the demo's ML team and its model server do with the MLflow registry, over its REST interface."""

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx

ALIAS = "champion"
KNOWN_GOOD_TAG = "tocsin.known_good_at"
DIGEST_TAG = "tocsin.digest"
ENVIRONMENT = {
    # Background jobs would be eight more processes, and nothing here uses them.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
_SCHEME = "mlflow-artifacts:/"


def command(port: int, folder: Path) -> list[str]:
    """Return the command that runs an MLflow server on this port of 127.0.0.1, with everything it keeps in `folder`."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artefacts")),
    ]


def digest_of(artefact: bytes) -> str:
    """Return the digest of an artefact as it is recorded in a tag: `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(artefact).hexdigest()}"


class DigestError(Exception):
    """A downloaded artefact is not the one that was registered."""


class Version(NamedTuple):
    """A version of a model as MLflow has it."""

    number: str
    source: str
    digest: str | None
    known_good_at: str | None


class Registry:
    """One model in MLflow. Every call raises httpx.HTTPError if the server is away or refuses."""

    def __init__(self, client: httpx.Client, url: str, model: str) -> None:
        self._client = client
        self._url = url
        self._model = model

    def create(self) -> None:
        """Create the model, unless it is there."""
        answer = self._client.post(f"{self._url}/api/2.0/mlflow/registered-models/create", json={"name": self._model})
        if answer.status_code != httpx.codes.BAD_REQUEST or answer.json()["error_code"] != "RESOURCE_ALREADY_EXISTS":
            answer.raise_for_status()

    def register(self, artefact: bytes, filename: str, measured: dict[str, float]) -> str:
        """Upload an artefact, register it as the next version with its digest, and return the version's number.

        Args:
            artefact: The serialised model.
            filename: The artefact's name within its run.
            measured: Figures of the training, kept with the run.
        """
        now = round(datetime.now(UTC).timestamp() * 1000)
        run = self._post("runs/create", {"experiment_id": "0", "start_time": now})["run"]["info"]
        location = f"{run['artifact_uri']}/{filename}"
        self._client.put(self._artefact_url(location), content=artefact).raise_for_status()
        metrics = [{"key": key, "value": value, "timestamp": now} for key, value in measured.items()]
        self._post("runs/log-batch", {"run_id": run["run_id"], "metrics": metrics})
        self._post("runs/update", {"run_id": run["run_id"], "status": "FINISHED", "end_time": now})
        created = self._post(
            "model-versions/create",
            {
                "name": self._model,
                "source": location,
                "run_id": run["run_id"],
                "tags": [{"key": DIGEST_TAG, "value": digest_of(artefact)}],
            },
        )
        return str(created["model_version"]["version"])

    def promote(self, number: str) -> None:
        """Point the serving alias at a version."""
        self._post("registered-models/alias", {"name": self._model, "alias": ALIAS, "version": number})

    def mark_known_good(self, number: str, at: datetime) -> None:
        """Write the mark that makes a version a target for a rollback."""
        value = at.astimezone(UTC).isoformat(timespec="seconds")
        body = {"name": self._model, "version": number, "key": KNOWN_GOOD_TAG, "value": value}
        self._post("model-versions/set-tag", body)

    def serving(self) -> Version:
        """Return the version that the serving alias points to."""
        answer = self._client.get(
            f"{self._url}/api/2.0/mlflow/registered-models/alias",
            params={"name": self._model, "alias": ALIAS},
        )
        version = answer.raise_for_status().json()["model_version"]
        tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
        return Version(
            number=str(version["version"]),
            source=version["source"],
            digest=tags.get(DIGEST_TAG),
            known_good_at=tags.get(KNOWN_GOOD_TAG),
        )

    def artefact(self, version: Version) -> bytes:
        """Download a version's artefact and check it against the recorded digest.

        Raises:
            DigestError: There is no recorded digest, or it is that of something else.
        """
        content = self._client.get(self._artefact_url(version.source)).raise_for_status().content
        if version.digest != digest_of(content):
            raise DigestError(f"version {version.number}: the artefact is not the one with the recorded digest")
        return content

    def _artefact_url(self, location: str) -> str:
        path = location.removeprefix(_SCHEME).lstrip("/")
        return f"{self._url}/api/2.0/mlflow-artifacts/artifacts/{path}"

    def _post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - MLflow's own JSON, read field by field
        return self._client.post(f"{self._url}/api/2.0/mlflow/{path}", json=body).raise_for_status().json()
