"""People who are known by their certificates, over real TLS."""

import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from monitor.http.access_config import AccessConfig, Role
from monitor.http.console import console
from monitor.http.endpoint import Call, Endpoint
from monitor.http.rooms import Rooms
from monitor.http.server import Server
from monitor.http.sessions import Sessions
from monitor.http.tls import TlsConfig
from tests.kit.api_world import TOKENS, configured, known
from tests.kit.certificates import Identity, self_signed, signed

PEOPLE = [
    {"name": "ada", "subject": "CN:ada", "role": "operator", "models": ["mail"]},
    {"name": "ci", "subject": "URI:spiffe://prod/ci", "role": "viewer"},
    {"name": "eve", "subject": "CN:eve", "role": "admin"},
]


class Nothing:
    """No exhibits."""

    def exhibit(self, incident: str) -> None:
        raise AssertionError(incident)


class Site:
    """A server, and the authority whose certificates it takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = self_signed(folder, "server")
        self.authority = self_signed(folder, "authority")
        self.refused = Counter[int]()
        self.url = ""

    @contextmanager
    def serving(self, **tls: Any) -> Iterator[None]:
        def who(call: Call) -> list[object]:
            return [call.principal.name, call.principal.role, call.principal.models]

        endpoints = [
            Endpoint("GET", "/me", Role.VIEWER, "Who.", list[Any], who),
            Endpoint("POST", "/act", Role.OPERATOR, "Do.", list[Any], who),
        ]
        parts: dict[str, Any] = {"registry": CollectorRegistry(), "health": {}, "readiness": {}}
        access = known(AccessConfig.model_validate({"certificates": PEOPLE, "tokens": configured()}), self.refused)
        files = {"cert_file": self.own.certificate, "key_file": self.own.key}
        given = TlsConfig.model_validate(files | {"client_ca_file": self.authority.certificate} | tls)
        rooms = Rooms(Nothing(), time.time)
        parts["pages"] = console(endpoints, access, Sessions(time.monotonic), rooms)
        server = Server("127.0.0.1", 0, endpoints=endpoints, access=access, tls=given, **parts)
        server.start()
        try:
            self.url = f"https://127.0.0.1:{server.port}"
            yield
        finally:
            server.stop()

    def holder(self, name: str, by: Identity | None = None, **settings: Any) -> Identity:
        return signed(self.folder, name, by or self.authority, **settings)

    def ask(self, shown: Identity | None, path: str = "/api/v1/me", method: str = "GET", **headers: str) -> Any:
        tls = ssl.create_default_context(cafile=self.own.certificate)
        if shown is not None:
            tls.load_cert_chain(*shown)
        with httpx.Client(verify=tls, headers={n.replace("_", "-"): v for n, v in headers.items()}) as client:
            return client.request(method, f"{self.url}{path}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    with made.serving():
        yield made


def test_a_certificate_says_who_it_is(site: Site) -> None:
    assert site.ask(site.holder("ada")).json() == ["ada", "operator", ["mail"]]
    assert site.ask(site.holder("runner", uri="spiffe://prod/ci")).json() == ["ci", "viewer", None]


def test_whoever_has_none_is_nobody_and_may_look_at_probes(site: Site) -> None:
    assert site.ask(None).status_code == 401
    assert site.ask(None, "/healthz").status_code == 200
    assert site.ask(None, authorization=f"Bearer {TOKENS['viewer']}").json()[0] == "viewer"


@pytest.mark.parametrize("uri", [None, "spiffe://prod/ci/x", "CN:ada"])
def test_a_good_certificate_of_somebody_who_is_not_configured_is_nobodys(site: Site, uri: str | None) -> None:
    before = site.refused[401]
    assert site.ask(site.holder("mallory", uri=uri)).status_code == 401
    assert site.refused[401] == before + 1


def test_a_certificate_that_is_two_peoples_is_nobodys(site: Site) -> None:
    assert site.ask(site.holder("eve", uri="spiffe://prod/ci")).status_code == 401


def test_certificates_of_others_and_old_ones_are_not_taken(site: Site) -> None:
    stranger = self_signed(site.folder, "stranger")
    old = site.holder("ada", ends=timedelta(hours=-1))
    forged = [
        site.holder("ada", stranger),
        self_signed(site.folder, "ada"),
        old,
        site.holder("ada", site.holder("eve")),
    ]
    for shown in forged:
        with pytest.raises(httpx.HTTPError):
            site.ask(shown)


def test_a_token_counts_more_than_a_certificate(site: Site) -> None:
    assert site.ask(site.holder("eve"), authorization=f"Bearer {TOKENS['viewer']}").json()[0] == "viewer"
    assert site.ask(site.holder("eve"), authorization="Bearer wrong").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec_fetch_site": "same-origin", "origin": "https://proxy.example.com"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"origin": "https://evil.example.com"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_page_of_another_site_changes_nothing_with_the_browsers_certificate(
    site: Site, headers: dict[str, str], status: int
) -> None:
    assert site.ask(site.holder("eve"), "/api/v1/act", "POST", **headers).status_code == status
    assert site.ask(site.holder("eve"), "/api/v1/act", "POST", origin=site.url).status_code == 200


def test_it_can_be_asked_of_everybody(tmp_path: Path) -> None:
    strict = Site(tmp_path)
    with strict.serving(clients_only=True):
        with pytest.raises(httpx.HTTPError):
            strict.ask(None, "/healthz")
        assert strict.ask(strict.holder("ada")).json()[0] == "ada"
        assert strict.ask(strict.holder("mallory"), "/healthz").status_code == 200


def test_without_authorities_nobody_is_asked(tmp_path: Path) -> None:
    plain = Site(tmp_path)
    with plain.serving(client_ca_file=None):
        assert plain.ask(plain.holder("ada")).status_code == 401


@pytest.mark.parametrize("wrong", [{"client_ca_file": None, "clients_only": True}, {"client_ca_file": "server.key"}])
def test_authorities_that_are_none_are_refused(site: Site, wrong: dict[str, Any]) -> None:
    if wrong["client_ca_file"] is not None:
        wrong = {"client_ca_file": site.folder / wrong["client_ca_file"]}
    with pytest.raises(ValidationError, match="client_ca_file"):
        TlsConfig.model_validate({"cert_file": site.own.certificate, "key_file": site.own.key} | wrong)


def test_nobody_is_there_twice() -> None:
    hashed = {"name": "ada", "sha256": "0" * 64}
    for wrong in (
        {"certificates": [PEOPLE[0], PEOPLE[0] | {"name": "bob"}]},
        {"certificates": [PEOPLE[0], PEOPLE[0] | {"subject": "CN:bob"}]},
        {"certificates": [PEOPLE[0]], "tokens": [hashed]},
        {"certificates": [PEOPLE[0] | {"subject": "ada"}]},
    ):
        with pytest.raises(ValidationError):
            AccessConfig.model_validate(wrong)


def test_a_certificate_signs_in_to_the_console(site: Site) -> None:
    for shown, status in ((site.holder("ada"), 303), (site.holder("nobody"), 401), (None, 401)):
        tls = ssl.create_default_context(cafile=site.own.certificate)
        if shown is not None:
            tls.load_cert_chain(*shown)
        with httpx.Client(verify=tls, base_url=site.url, headers={"origin": site.url}) as browser:
            assert ("CN:ada" in browser.get("/console/sign-in").text) is (status == 303)
            answer = browser.post("/console/sign-in", data={"token": ""})
        assert answer.status_code == status
        assert answer.headers.get("set-cookie", "").startswith("__Host-tocsin=") is (status == 303)
