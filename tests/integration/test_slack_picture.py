"""The message in Slack, drawn from the very payload that is sent, in a real browser."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tests.kit import block_kit
from tests.kit.browser import photograph
from tests.kit.documents import ROOT

pytestmark = pytest.mark.slow

PAYLOAD = ROOT / "tests" / "alerting" / "golden" / "slack-announced.json"
HEIGHT = 800


def test_the_message_in_a_browser(tmp_path: Path) -> None:
    """`TOCSIN_UPDATE_PICTURES=1` keeps the picture for the README."""
    page, picture = tmp_path / "slack.html", tmp_path / "slack.png"
    page.write_text(block_kit.html(json.loads(PAYLOAD.read_text()), "3:07 AM"))
    assert photograph(page.as_uri(), picture, tmp_path / "profile", width=760, height=HEIGHT) == ""
    image = Image.open(picture).convert("RGB")
    assert image.getpixel((24, 24)) == (200, 16, 46)  # the sender
    drawn = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    assert drawn is not None
    assert HEIGHT * 2 / 3 < drawn[3] < HEIGHT  # all of it is in the picture
    links = [(r, g, b) for _, (r, g, b) in image.crop((0, drawn[3] - 40, *drawn[2:])).getcolors(1 << 20) if b > r + 60]
    assert links
    if os.environ.get("TOCSIN_UPDATE_PICTURES"):
        image.crop((0, 0, image.width, drawn[3] + 12)).quantize(128).save(ROOT / "slack.png", optimize=True)
