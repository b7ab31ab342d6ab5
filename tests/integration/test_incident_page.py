"""The page of an incident in a real browser: it looks as it should, and keeps its own policy."""

import os
from pathlib import Path

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from alerting.incident import Incident
from monitor.http.access_config import AccessConfig
from monitor.http.pages import pages
from monitor.http.server import Server
from monitor.http.sessions import Sessions
from monitor.pictures.exhibit import Exhibit
from tests.kit.api_world import known
from tests.kit.browser import photograph
from tests.kit.documents import ROOT
from tests.kit.exhibits import exhibited
from tests.kit.served import backdoor

pytestmark = pytest.mark.slow


class One:
    """An archive of one incident."""

    def __init__(self, incident: Incident, exhibit: Exhibit) -> None:
        self._incident, self._exhibit = incident, exhibit

    def incident(self, name: str) -> Incident | None:
        return self._incident if name == self._incident.id else None

    def exhibit(self, incident: str) -> Exhibit | None:
        return self._exhibit if incident == self._incident.id else None


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """`TOCSIN_UPDATE_PICTURES=1` keeps the picture for the README."""
    incident, exhibit = exhibited(backdoor)
    access = known(AccessConfig())
    server = Server(
        "127.0.0.1",
        0,
        registry=CollectorRegistry(),
        endpoints=(),
        access=access,
        health={},
        readiness={},
        pages=pages(One(incident, exhibit), access, Sessions(lambda: 0.0)),
    )
    server.start()
    try:
        url = f"http://127.0.0.1:{server.port}/incidents/{incident.id}"
        complaints = photograph(url, tmp_path / "page.png", tmp_path / "profile")
    finally:
        server.stop()
    assert complaints == ""
    image = Image.open(tmp_path / "page.png").convert("RGB")
    colours = {colour for _, colour in image.getcolors(maxcolors=1 << 20) or []}
    # The badge and the columns of the chart: style and pictures were allowed, and drawn.
    assert {(200, 16, 46), (138, 148, 166), (253, 231, 199)} <= colours
    if os.environ.get("TOCSIN_UPDATE_PICTURES"):
        image.quantize(128).save(ROOT / "incident.png", optimize=True)
