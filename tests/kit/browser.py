"""A real Chromium without a window, for pictures of pages."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars")
_QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr")


def chromium() -> str:
    """Where it is. Where it is not, the test is skipped; in CI, where it has to be, it fails."""
    found = shutil.which("chromium")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("chromium is not installed (Debian: chromium)")
    return str(found)


def photograph(url: str, picture: Path, folder: Path, *, width: int = 780, height: int = 1900) -> str:
    """Take a picture of a page as PNG; return what the browser complained of, such as a breach of the page's policy."""
    command = [chromium(), *_OPTIONS, *_QUIET, f"--window-size={width},{height}", f"--user-data-dir={folder}"]
    run = subprocess.run(
        [*command, f"--screenshot={picture}", url], capture_output=True, text=True, timeout=90, check=True
    )
    return "\n".join(line for line in run.stderr.splitlines() if "CONSOLE" in line)
