"""An API over real sockets with a real store, for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.kit.api_world import NO_TLS, Api, served_api
from tests.kit.console import Browser


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with served_api(tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Api]:
    """One of its own, for those who change it."""
    with served_api(tmp_path) as api:
        yield api


@pytest.fixture(scope="module")
def outside() -> Iterator[httpx.Client]:
    """A client that nobody has given a token."""
    with httpx.Client(verify=NO_TLS) as client:
        yield client


@pytest.fixture
def browse() -> Iterator[type[Browser]]:
    """Browsers that are closed afterwards."""
    opened: list[Browser] = []

    class Closed(Browser):
        def __init__(self, api: Api, who: str | None = None) -> None:
            super().__init__(api, who)
            opened.append(self)

    yield Closed
    for browser in opened:
        browser.client.close()
