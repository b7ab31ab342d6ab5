"""The console over real sockets: who gets in, and what nobody can do."""

import re
from html import unescape
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from alerting.incident import Transition
from alerting.message import Words, notice
from monitor.http.access import Principal
from monitor.http.access_config import Role
from monitor.http.console import POLICY, _local
from monitor.http.deeds import DEEDS
from monitor.http.rendering import Page, render
from monitor.http.sessions import KEPT, LIFE, Sessions
from monitor.store.store import Commit
from tests.kit.api_world import NO_TLS, PEOPLE, TOKENS, Api, audited, served_api
from tests.kit.console import Browser, texts
from tests.kit.html_reader import Reader
from tests.kit.incidents import OPENED_AT, hostile, incident, transitions

SAFE = {"html", "head", "meta", "title", "link", "body", "header", "strong", "a", "form", "input", "span", "button"}
SAFE |= {"main", "h1", "h2", "p", "ul", "li", "small", "table", "thead", "tbody", "tr", "th", "td", "div", "label"}
SAFE |= {"select", "option", "textarea"}


LOOKING = [who for who, (role, _) in PEOPLE.items() if role.may(Role.VIEWER)]


# Coming in.


def test_a_token_is_traded_for_a_cookie_that_no_script_and_no_other_site_gets(api: Api, browse: type[Browser]) -> None:
    browser = browse(api)
    asked = browser.client.get("/console/incidents/a1")
    assert (asked.status_code, asked.headers["location"]) == (303, "/console/sign-in?to=%2Fconsole%2Fincidents%2Fa1")
    page = browser.see(asked.headers["location"])
    assert 'value="/console/incidents/a1"' in page
    answer = browser.sign_in(TOKENS["operator"], to="/console/incidents/a1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/incidents/a1")
    cookie = answer.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))
    assert TOKENS["operator"] not in cookie
    assert "operator, operator" in texts(browser.see("/console"))


@pytest.mark.parametrize("token", ["", "wrong", f"{TOKENS['admin']} x", "ü", "x" * 2000])
def test_what_is_no_token_opens_nothing(api: Api, browse: type[Browser], token: str) -> None:
    browser = browse(api)
    answer = browser.sign_in(token)
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert "this token is not known" in answer.text
    assert browser.client.get("/console").status_code == 303
    assert not token or token not in answer.text


def test_a_program_that_may_not_look_does_not_get_in(api: Api, browse: type[Browser]) -> None:
    answer = browse(api).sign_in(TOKENS["producer"])
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_who_guesses_is_slowed_down(tmp_path: Path, browse: type[Browser]) -> None:
    with served_api(tmp_path, max_unknown=2) as api:
        browser = browse(api)
        answers = [browser.sign_in("guess") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert answers[-1].headers["retry-after"]
        assert browser.sign_in(TOKENS["viewer"]).status_code == 303


def test_signing_out_ends_the_session_and_not_only_the_cookie(api: Api, browse: type[Browser]) -> None:
    browser = browse(api, "operator")
    copy = {"cookie": f"tocsin={browser.client.cookies['tocsin']}"}
    form = re.findall(r'name="form" value="([^"]+)"', browser.see("/console"))[0]
    browser.client.post("/console/sign-out", data={"form": "another"}, headers=browser.headers)
    assert httpx.get(f"{api.url}/console", headers=copy, verify=NO_TLS).status_code == 200
    answer = browser.client.post("/console/sign-out", data={"form": form}, headers=browser.headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")
    assert httpx.get(f"{api.url}/console", headers=copy, verify=NO_TLS).status_code == 303


def asked(name: bytes, value: bytes, scheme: str = "http") -> Request:
    return Request({"type": "http", "scheme": scheme, "path": "/", "headers": [(b"host", b"t"), (name, value)]})


def test_over_tls_a_plain_cookie_is_none() -> None:
    sessions, response = Sessions(lambda: 0.0), Response()
    sessions.begin(Principal("ann", Role.VIEWER), asked(b"origin", b"http://t"), response)
    cookie = response.headers["set-cookie"].partition(";")[0].encode()
    assert sessions.of(asked(b"cookie", cookie)) is not None
    assert sessions.of(asked(b"cookie", cookie, "https")) is None


def test_a_session_has_an_end_and_a_name_has_only_so_many() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0], epoch=lambda: 1000.0)

    def begin(name: str, until: float | None = None) -> Request:
        response = Response()
        sessions.begin(Principal(name, Role.VIEWER, until=until), asked(b"origin", b"https://tocsin.example"), response)
        cookie = response.headers["set-cookie"].partition(";")[0]
        assert cookie.startswith("__Host-tocsin=")
        assert "Secure" in response.headers["set-cookie"]
        return asked(b"cookie", cookie.encode())

    other, mine = begin("bob"), [begin("ann") for _ in range(KEPT + 2)]
    assert [sessions.of(each) is not None for each in mine] == [False, False, *[True] * KEPT]
    found = sessions.of(other)
    assert found is not None
    assert found.who.name == "bob"
    brief = begin("eve", until=1060.0)
    now[0] = 59.0
    assert sessions.of(brief) is not None
    now[0] = 60.0
    assert sessions.of(brief) is None
    now[0] = LIFE
    assert sessions.of(other) is None


@given(st.sampled_from(["", "/console", "//", "https://evil.example", "/console//evil"]), st.text(max_size=30))
def test_signing_in_leads_nowhere_else(start: str, rest: str) -> None:
    to = _local(start + rest)
    assert to == "/console" or to.startswith(("/console/", "/console?"))
    assert to.isprintable()
    assert "\\" not in to


def test_who_is_signed_in_sees_the_file_of_an_incident_too(api: Api, browse: type[Browser]) -> None:
    browser = browse(api, "mail-viewer")
    assert "label_flip" in browser.see("/incidents/a1")
    browser.see("/incidents/b2", 404)
    browse(api).see("/incidents/a1", 401)


def test_every_page_has_its_policy(api: Api, browse: type[Browser]) -> None:
    browser = browse(api, "admin")
    for path in ("/console", "/console/incidents/a1", "/console/none", "/console/style.css", "/console/sign-in"):
        headers = browser.client.get(path).headers
        if path != "/console/none":
            assert headers["content-security-policy"] == POLICY
            assert headers["x-content-type-options"] == "nosniff"
    assert "script-src" not in POLICY  # and `default-src 'none'` means that there is none


# What cannot.


def test_no_other_site_can_send_a_form(fresh: Api, browse: type[Browser]) -> None:
    browser = browse(fresh, "admin")
    page = browser.see("/console/incidents/a1/approve")
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.partition("<main>")[2]))
    path = "/console/incidents/a1/approve"
    for origin in ({}, {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": f"{fresh.url}0"}):
        assert browser.client.post(path, data=hidden, headers=origin).status_code == 403
    for forged in ({}, {"form": ""}, {"form": "x"}, {"form": browser.client.cookies["tocsin"]}, {"form": "ü"}):
        fields = (hidden | forged) if forged else {"key": "k"}
        answer = browser.client.post(path, data=fields, headers=browser.headers)
        assert answer.status_code == 403
    other = browse(fresh, "approver").see("/console")
    theirs = re.findall(r'name="form" value="([^"]+)"', other)[0]
    assert browser.client.post(path, data=hidden | {"form": theirs}, headers=browser.headers).status_code == 403
    assert browser.client.post(path, json=hidden, headers=browser.headers).status_code == 415
    bearer = browser.headers | {"authorization": f"Bearer {TOKENS['admin']}"}
    assert httpx.post(fresh.url + path, data=hidden, headers=bearer, verify=NO_TLS).status_code == 403
    assert "rollback.intended" not in [verb for _, verb in audited(fresh)]


@pytest.mark.parametrize("who", LOOKING)
@pytest.mark.parametrize("deed", DEEDS)
def test_a_form_without_the_role_changes_nothing(api: Api, browse: type[Browser], who: str, deed: str) -> None:
    """By hand, because who may not do it is not offered the form; b2 is of a model that not everybody sees."""
    browser = browse(api, who)
    form = re.findall(r'name="form" value="([^"]+)"', browser.see("/console"))[0]
    fields = {
        "form": form,
        "key": f"{who}-{deed}",
        "target": "1",
        "matchers": "colour=red",
        "seconds": "60",
        "comment": "x",
    }
    before = api.store.audit.entries(limit=1)
    for name in ("c3", "none"):  # over; and not there
        answer = browser.client.post(f"/console/incidents/{name}/{deed}", data=fields, headers=browser.headers)
        wanted = Role.APPROVER if deed in ("approve", "deny") else Role.OPERATOR
        assert answer.status_code == 403 if not PEOPLE[who][0].may(wanted) else answer.status_code in (400, 404, 409)
    assert api.store.audit.entries(limit=1) == before


def test_one_token_makes_only_so_many_changes_here_and_in_the_api_together(
    tmp_path: Path, browse: type[Browser]
) -> None:
    with served_api(tmp_path, max_changes=2) as api:
        browser = browse(api, "operator")
        with api.as_("operator") as client:
            assert client.post("/incidents/a1/acknowledge").status_code == 200
        statuses = [browser.send("/console/incidents/a1/acknowledge").status_code for _ in range(2)]
        assert statuses == [303, 429]


def test_without_tokens_everybody_may_look_and_nobody_may_change(tmp_path: Path, browse: type[Browser]) -> None:
    with served_api(tmp_path, tokens=False) as api:
        browser = browse(api)
        page = browser.see("/console/incidents/a1")
        assert "nobody has to sign in here, and nothing can be changed" in texts(page)
        assert "<form" not in page
        assert not re.search(r'href="/console/incidents/a1/', page)
        browser.see("/console/incidents/a1/acknowledge", 404)
        answer = browser.client.post(
            "/console/incidents/a1/acknowledge", data={"form": "", "key": "k"}, headers=browser.headers
        )
        assert answer.status_code == 403
        assert browser.client.get("/console/sign-in").headers["location"] == "/console"
        assert api.store.desk.decisions() == []


def test_the_session_is_for_the_console_and_not_for_the_api(api: Api, browse: type[Browser]) -> None:
    assert browse(api, "admin").client.get("/api/v1/me").status_code == 401


@settings(max_examples=30, deadline=None)
@given(transitions(), hostile)
def test_no_name_does_any_harm(step: Transition, text: str) -> None:
    class Nobody:
        who = Principal("ann", Role.ADMIN)

        def may(self, *_: str) -> bool:
            return True

    words = notice(step, Words())
    facts = {"incidents": [(step.incident, words)], "next": text, "all": True}
    page = render(Page("incidents.html", facts), ask=Nobody(), form="f")
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.tags <= SAFE
    assert not [name for name in reader.attributes if name.startswith("on") or name == "style"]
    assert page.count("<form") == 1
    assert not any("\u202e" in part or "\x00" in part for part in reader.text)


def test_old_incidents_have_pages(fresh: Api, browse: type[Browser]) -> None:
    many = [incident(id=f"e{number:02}", opened_at=OPENED_AT + 1000.0 + number) for number in range(60)]
    fresh.store.commit(Commit(incidents=many))
    browser, found, path = browse(fresh, "viewer"), [], "/console?all=1"
    while path:
        page = browser.see(path)
        found += re.findall(r'href="/console/incidents/(\w+)"', page)
        older = re.search(r'href="([^"]+)">Older ones', page)
        path = unescape(older[1]) if older else ""
    assert len(found) == len(set(found)) == 64
