"""Pages of incidents over a real socket: self-contained, harmless whatever names are in them, and for those who may."""

import hashlib
import re
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from alerting.incident import Incident, Transition
from monitor.http.access import Access
from monitor.http.access_config import AccessConfig
from monitor.http.page import POLICY, page, picture
from monitor.http.pages import pages
from monitor.http.server import Server
from monitor.http.sessions import Sessions
from monitor.pictures import png
from monitor.pictures.exhibit import Compared, Confused, Exhibit
from monitor.store.store import StoreError
from tests.kit.exhibits import exhibited
from tests.kit.html_reader import Reader
from tests.kit.incidents import hostile, incident, transitions
from tests.kit.served import backdoor

TOKEN = "a-token-of-somebody"
ACCESS = {"name": "ada", "sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "models": ["mail"]}


class Shelf:
    """Incidents and exhibits in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Incident, Exhibit | None]] = {}
        self.broken = False

    def incident(self, name: str) -> Incident | None:
        if self.broken:
            raise StoreError("store tocsin.db: disk I/O error")
        return self.kept[name][0] if name in self.kept else None

    def exhibit(self, incident: str) -> Exhibit | None:
        return self.kept[incident][1] if incident in self.kept else None


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    made = Shelf()
    found, exhibit = exhibited(backdoor)
    made.kept["b1"] = (msgspec.structs.replace(found, id="b1"), exhibit)
    made.kept["n1"] = (incident(id="n1"), None)
    return made


def serve(shelf: Shelf, access: AccessConfig) -> Server:
    known = Access(access, clock=lambda: 0.0, refused=lambda _status: None)
    return Server(
        "127.0.0.1",
        0,
        registry=CollectorRegistry(),
        endpoints=(),
        access=known,
        health={},
        readiness={},
        pages=pages(shelf, known, Sessions(lambda: 0.0)),
    )


@pytest.fixture(scope="module")
def client(shelf: Shelf) -> Iterator[httpx.Client]:
    server = serve(shelf, AccessConfig())
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    server.stop()


SAFE_TAGS = {"html", "head", "meta", "title", "style", "body", "p", "span", "h1", "h2", "table", "tr", "th", "td"}
SAFE_TAGS |= {"ul", "li", "footer", "svg", "rect", "polyline", "text"}
NEVER = re.compile(r"on\w+|style|href|src|xlink:href|action|formaction|srcset|data", re.IGNORECASE)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.tags <= SAFE_TAGS
    assert not [name for name in reader.attributes if NEVER.fullmatch(name)]
    return reader


def test_a_page_says_what_happened_and_needs_nothing_else(client: httpx.Client) -> None:
    answer = client.get("/incidents/b1")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"].startswith(POLICY)
    assert answer.headers["x-content-type-options"] == "nosniff"
    text = "\n".join(read(answer.text).text)
    for words in (
        "backdoor",
        "mail 1.0.0",
        "src-3",
        "What to do",
        "feature size, source src-3",
        "threshold",
        "How far it reaches",
    ):
        assert words in text
    assert len(answer.content) < 100_000


def test_an_incident_without_pictures_has_a_page_too(client: httpx.Client) -> None:
    answer = client.get("/incidents/n1")
    assert answer.status_code == 200
    assert "Pictures" not in answer.text
    assert client.get("/incidents/n1.png").status_code == 200


def test_the_pictures_are_a_png(client: httpx.Client) -> None:
    answer = client.get("/incidents/b1.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content.startswith(b"\x89PNG\r\n\x1a\n")
    assert 10_000 < len(answer.content) < 600_000


def test_without_pillow_a_picture_is_one_clear_line(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_lines: object, _drawings: object) -> bytes:
        raise png.NoPicturesError("pictures need Pillow: install tocsin[pictures]")

    monkeypatch.setattr("monitor.http.page.png", missing)
    answer = client.get("/incidents/b1.png")
    assert (answer.status_code, answer.text) == (501, "pictures need Pillow: install tocsin[pictures]\n")


@pytest.mark.parametrize("path", ["/incidents/other", "/incidents/other.png", "/incidents/..%2fb1", "/incidents/"])
def test_what_is_not_there_is_not_found(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_store_that_fails_is_said(client: httpx.Client, shelf: Shelf) -> None:
    shelf.broken = True
    answer = client.get("/incidents/b1")
    shelf.broken = False
    assert (answer.status_code, "disk I/O error" in answer.text) == (503, True)


def test_pages_are_for_those_who_may(shelf: Shelf) -> None:
    server = serve(shelf, AccessConfig.model_validate({"tokens": [ACCESS]}))
    server.start()
    address = f"http://127.0.0.1:{server.port}/incidents"
    bearer = {"authorization": f"Bearer {TOKEN}"}
    found = [httpx.get(f"{address}/b1"), httpx.get(f"{address}/b1", headers=bearer)]
    found += [httpx.get(f"{address}/n1.png", headers=bearer), httpx.get(f"{address}/nothing", headers=bearer)]
    server.stop()
    assert [answer.status_code for answer in found] == [401, 200, 404, 404]
    assert found[2].text == found[3].text  # what one may not see does not exist


numbers = st.floats(0.0, 1.0)
names = st.lists(hostile, min_size=2, max_size=4).map(tuple)


@st.composite
def exhibits(draw: st.DrawFn) -> Exhibit:
    """Exhibits with any names; the numbers are what `gather` gives."""

    def compared() -> Compared:
        held = draw(names)
        values = st.tuples(*(numbers for _ in held))
        return Compared(draw(hostile), held, draw(values), draw(values))

    classes = draw(names)
    table = st.tuples(*(st.tuples(*(numbers for _ in classes)) for _ in classes))
    points = draw(st.lists(st.tuples(st.floats(1.6e9, 1.9e9), st.floats(0.0, 1e9)), min_size=1, max_size=5).map(tuple))
    return Exhibit(
        1.7e9,
        draw(st.sampled_from([100.0, 1e5])),
        ((draw(hostile), points),),
        (compared(),),
        compared(),
        Confused(draw(hostile), classes, draw(table), draw(table)),
    )


@settings(max_examples=40, deadline=None)
@given(transitions(), exhibits())
def test_no_name_does_any_harm(step: Transition, exhibit: Exhibit) -> None:
    onset = msgspec.structs.replace(step.incident.onset, low=1.7e9, high=1.8e9)
    text = page(msgspec.structs.replace(step.incident, opened_at=1.7e9, onset=onset), exhibit)
    reader = read(text)
    assert not any("\u202e" in part or "\x00" in part for part in reader.text)
    assert text.count("<style>") == 1


@settings(max_examples=5, deadline=None)
@given(transitions(), exhibits())
def test_any_name_can_be_drawn(step: Transition, exhibit: Exhibit) -> None:
    onset = msgspec.structs.replace(step.incident.onset, low=1.7e9, high=1.8e9)
    assert picture(msgspec.structs.replace(step.incident, opened_at=1.7e9, onset=onset), exhibit).startswith(b"\x89PNG")
