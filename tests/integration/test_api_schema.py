"""Schemathesis over the OpenAPI document: no 5xx, no answer outside of its schema, nothing without a role."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.api_world import TOKENS, served_api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = Path(sys.executable).with_name("schemathesis")


def run(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    fixed = [
        "--checks=all",
        "--max-examples=20",
        "--seed=1",
        "--generation-database=none",
        "--no-color",
        "--warnings=off",
    ]
    command = [PROGRAM, "run", f"{url}/api/v1/openapi.json", *fixed, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=250)


def test_with_a_token(tmp_path: Path) -> None:
    with served_api(tmp_path) as api:
        done = run(tmp_path, api.url, f"--header=Authorization: Bearer {TOKENS['admin']}")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_where_everybody_may_look(tmp_path: Path) -> None:
    with served_api(tmp_path, tokens=False) as api:
        done = run(tmp_path, api.url, "--exclude-checks=ignored_auth")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
