"""A real Chromium without a window, for pictures of pages and for people who click on them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


class Visit:
    """Somebody at a browser of their own; `complaints` is what it logged, and which pages failed."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._logged)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)

    def _logged(self, message: Any) -> None:
        if message.type in ("error", "warning"):  # and not advice
            self.complaints.append(message.text)

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # somebody has gone on before all was there
            self.complaints.append(f"{request.url}: {request.failure}")

    def click(self, words: str) -> None:
        """Click a link or a button by what stands on it, and wait for the page behind it."""
        found = self.page.get_by_role("link", name=words, exact=True)
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=words, exact=True).or_(found).first.click()

    def fits(self) -> bool:
        """Whether nobody has to scroll sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))

    def says(self, words: str) -> bool:
        """Whether the page has these words."""
        return words in self.page.inner_text("body")


@contextmanager
def visiting(width: int, height: int, *, scheme: str = "light") -> Iterator[Visit]:
    """A window of this size, in the colours of `scheme` (light or dark)."""
    from playwright.sync_api import sync_playwright  # only for those who have a browser

    program = chromium()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-quic"])
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        yield Visit(context.new_page())
        browser.close()
