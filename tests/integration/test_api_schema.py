"""Schemathesis over the OpenAPI document: no 5xx, no answer outside of its schema, nothing without a role."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.api_world import TOKENS, served_api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = Path(sys.executable).with_name("schemathesis")


LOOSE = "positive_data_acceptance,negative_data_rejection"
"""What cannot be asked of events: JSON Schema tells no times that are too far ahead, and no names that do not print."""


def run(folder: Path, document: str, *options: str) -> subprocess.CompletedProcess[str]:
    fixed = [
        "--checks=all",
        "--max-examples=20",
        "--seed=1",
        "--generation-database=none",
        "--no-color",
        "--warnings=off",
    ]
    command = [PROGRAM, "run", document, *fixed, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=250)


def test_with_a_token(tmp_path: Path) -> None:
    with served_api(tmp_path) as api:
        document, token = f"{api.url}/api/v1/openapi.json", f"--header=Authorization: Bearer {TOKENS['admin']}"
        done = run(tmp_path, document, token, "--exclude-path=/api/v1/events")
        events = run(tmp_path, document, token, "--include-path=/api/v1/events", f"--exclude-checks={LOOSE}")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert events.returncode == 0, events.stdout[-6000:] + events.stderr[-2000:]


def test_without_a_token(tmp_path: Path) -> None:
    """Nothing but refusals that the document has, and nothing is changed."""
    accepting = "positive_data_acceptance,negative_data_rejection,missing_required_header"
    with served_api(tmp_path) as api:
        with api.as_("viewer") as client:  # the document needs one, too
            (tmp_path / "openapi.json").write_bytes(client.get("/openapi.json").content)
        before = api.store.audit.entries(limit=50)
        options = (f"--url={api.url}", "--phases=examples,coverage,fuzzing", f"--exclude-checks={accepting}")
        done = run(tmp_path, "openapi.json", *options)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert api.store.audit.entries(limit=50) == before
        assert api.refused.keys() == {401}
    assert api.refused[401] > 100


def test_where_everybody_may_look(tmp_path: Path) -> None:
    with served_api(tmp_path, tokens=False) as api:
        options = ("--exclude-checks=ignored_auth", "--exclude-path=/api/v1/events")  # where nobody may send any
        done = run(tmp_path, f"{api.url}/api/v1/openapi.json", *options)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
