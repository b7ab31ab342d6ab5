"""The console in a real browser, on a phone and on a desk: people sign in, look, and answer."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from monitor.store.store import Commit
from tests.kit.api_world import ACTIONS, NOW, TOKENS, Api, served_api
from tests.kit.browser import Visit, visiting
from tests.kit.documents import ROOT
from tests.kit.exhibits import exhibited
from tests.kit.served import backdoor

pytestmark = pytest.mark.slow

PHONE, DESK = (390, 844), (1280, 900)
SIZES = pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """With a real incident, its pictures, and a rollback of it that somebody has to answer."""
    incident, exhibit = exhibited(backdoor)
    incident = msgspec.structs.replace(incident, id="e5", version="2")
    proposed = msgspec.structs.replace(
        ACTIONS[0],
        incident="e5",
        due_at=NOW + 3000.0,
        reason="Proposes to roll the alias champion of mail back from 2 to 1; a person decides.",
    )
    with served_api(tmp_path) as api:
        api.store.commit(Commit(incidents=[incident], actions=[proposed], exhibits={"e5": exhibit}))
        yield api


def sign_in(visit: Visit, api: Api, who: str) -> None:
    visit.page.goto(f"{api.url}/console/incidents/e5")
    visit.page.get_by_label("Your token").fill(TOKENS[who])
    visit.click("Sign in")
    assert visit.page.url == f"{api.url}/console/incidents/e5"


def verbs(api: Api, who: str) -> list[str]:
    return [entry.act.verb for entry in api.store.audit.entries(limit=20) if entry.act.actor == who]


@SIZES
def test_somebody_looks_around_and_approves(api: Api, size: tuple[int, int], tmp_path: Path) -> None:
    """`TOCSIN_UPDATE_PICTURES=1` keeps the pictures for the README."""
    with visiting(*size, scheme="light" if size is DESK else "dark") as visit:
        sign_in(visit, api, "approver")
        assert visit.says("50 min 0 s left to approve it")
        keep(visit, tmp_path, "console-desk.png" if size is DESK else "console-phone.png")
        for link in ("Incidents", "All, those that are over too", "Models", "mail", "Silences"):
            visit.click(link)
            assert visit.fits(), link
        assert not visit.page.get_by_role("link", name="Audit").count()
        visit.page.goto(f"{api.url}/console/incidents/e5")
        visit.click("Approve")
        assert visit.fits()
        assert visit.says("Proposes to roll the alias champion of mail back from 2 to 1")
        assert verbs(api, "approver") == []  # nothing before the second page is sent
        visit.click("Yes: approve")
        assert visit.says("Rollback: intended")
        assert visit.says("Approved by approver.")
        assert visit.fits()
        visit.click("Sign out")
        visit.page.goto(f"{api.url}/console/incidents/e5")
        assert visit.page.get_by_label("Your token").count()
        assert visit.complaints == []
    assert verbs(api, "approver") == ["rollback.intended"]


@SIZES
def test_somebody_denies_silences_and_ends_the_silence(api: Api, size: tuple[int, int]) -> None:
    with visiting(*size) as visit:
        sign_in(visit, api, "admin")
        visit.click("Deny")
        visit.click("No")
        assert visit.says("Rollback: proposed")
        visit.click("Deny")
        visit.click("Yes: deny")
        assert visit.says("Rollback: denied")
        visit.click("Silence")
        assert visit.fits()
        visit.page.get_by_label("Why").fill("load test")
        visit.click("Yes: silence")
        assert visit.says("silence.set") is False  # that is about the silence, and not about the incident
        visit.click("Silences")
        assert visit.says("model=mail, verdict=backdoor")
        assert visit.fits()
        visit.click("End it")
        visit.click("Yes: end it")
        assert visit.says("There are none.")
        visit.click("Audit")
        assert visit.fits()
        assert visit.says("silence.ended")
        assert visit.complaints == []
    assert [silence.expired_by for silence in api.store.desk.silences()] == ["admin"]


def test_who_may_only_look_finds_no_button(api: Api) -> None:
    with visiting(*PHONE) as visit:
        sign_in(visit, api, "viewer")
        assert [button.inner_text() for button in visit.page.get_by_role("button").all()] == ["Sign out"]
        assert visit.page.locator(".deeds").count() == 0
        assert visit.complaints == []


def keep(visit: Visit, folder: Path, name: str) -> None:
    """A picture of the first screens of the page."""
    picture = folder / name
    visit.page.screenshot(
        path=picture, clip={"x": 0, "y": 0, "width": visit.page.viewport_size["width"], "height": 1100}, full_page=True
    )
    assert picture.stat().st_size > 20_000
    if os.environ.get("TOCSIN_UPDATE_PICTURES"):
        from PIL import Image

        Image.open(picture).convert("RGB").quantize(128).save(ROOT / name, optimize=True)
