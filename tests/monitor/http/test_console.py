"""The console over real sockets: what it shows and what can be done in it; no browser needed."""

import re
from html import unescape

import msgspec
import pytest

from monitor.http.access_config import Role
from monitor.rollback.mark import Mark
from tests.kit.api_world import ACTIONS, NOW, PEOPLE, Api, audited
from tests.kit.console import Browser, texts

SAFE = {"html", "head", "meta", "title", "link", "body", "header", "strong", "a", "form", "input", "span", "button"}
SAFE |= {"main", "h1", "h2", "p", "ul", "li", "small", "table", "thead", "tbody", "tr", "th", "td", "div", "label"}
SAFE |= {"select", "option", "textarea"}


LOOKING = [who for who, (role, _) in PEOPLE.items() if role.may(Role.VIEWER)]


def test_incidents_are_listed_and_shown_with_what_was_done(api: Api, browse: type[Browser]) -> None:
    browser = browse(api, "approver")
    listed = texts(browser.see("/console"))
    assert "Open incidents" in listed
    assert browser.see("/console").count('class="box"') == 3
    assert browser.see("/console?all=1").count('class="box"') == 4
    assert browser.see("/console?all=1&after=d4").count('class="box"') == 3
    shown = texts(browser.see("/console/incidents/a1"))
    for words in (
        "label_flip, firing",
        "Rollback: proposed , 2 to 1",
        "A person decides.",
        "What to do",
        "Evidence",
        "Against it",
        "How far it reaches",
    ):
        assert words in shown
    assert "rollback.proposed" in shown.partition("Timeline")[2]


def test_a_rollback_says_how_long_it_can_be_answered(fresh: Api, browse: type[Browser]) -> None:
    proposed = ACTIONS[0]
    fresh.store.actions.save(msgspec.structs.replace(proposed, due_at=NOW + 754.0))
    browser = browse(fresh, "viewer")
    assert "12 min 34 s left to approve it, until 2026-03-03" in texts(browser.see("/console/incidents/a1"))
    fresh.store.actions.save(msgspec.structs.replace(proposed, due_at=NOW - 1.0))
    assert "It was to be answered until 2026-03-03" in texts(browser.see("/console/incidents/a1"))


def test_models_are_shown_with_versions_marks_and_baseline(api: Api, browse: type[Browser]) -> None:
    browser = browse(api, "viewer")
    listed = texts(browser.see("/console/models"))
    assert "mail frozen" in listed
    assert "net-ids being learnt" in listed
    model = texts(browser.see("/console/models?model=mail"))
    assert "frozen, sha256:" in model
    assert re.search(r"2 serving 2026-03-02 00:00:00 UTC never", model)
    assert re.search(r"1 known good 2026-02-01 00:00:00 UTC 2026-02-02 00:00:00 UTC", model)
    assert "refuses to say" in texts(browser.see("/console/models?model=net-ids"))
    browser.see("/console/models?model=none", 404)


def test_a_mark_that_does_not_count_is_no_badge(fresh: Api, browse: type[Browser]) -> None:
    fresh.store.marks.put(Mark("mail", "1", NOW, why="convicted by incident a1", withdrawn=True))
    model = texts(browse(fresh, "viewer").see("/console/models?model=mail"))
    assert "known good 2026" not in model
    assert "does not count: its mark was withdrawn (convicted by incident a1)" in model


def test_the_audit_log_is_for_admins_and_has_pages(api: Api, browse: type[Browser]) -> None:
    admin, operator, scoped = browse(api, "admin"), browse(api, "operator"), browse(api, "mail-admin")
    assert "rollback.proposed" in texts(admin.see("/console/audit"))
    assert "/console/audit" in admin.see("/console")
    first = api.store.audit.entries(limit=1)[0].number
    assert f'"number">{first}<' not in admin.see(f"/console/audit?after={first}")
    for other in (operator, scoped):
        other.see("/console/audit", 403)
        assert "/console/audit" not in other.see("/console")


def test_a_model_that_a_token_is_not_for_does_not_exist(api: Api, browse: type[Browser]) -> None:
    browser = browse(api, "mail-viewer")
    assert "net-ids" not in browser.see("/console?all=1") + browser.see("/console/models")
    for path in ("/console/incidents/b2", "/console/models?model=net-ids", "/console/incidents/b2/acknowledge"):
        browser.see(path, 404)


@pytest.mark.parametrize("who", LOOKING)
def test_buttons_are_for_those_who_may(api: Api, browse: type[Browser], who: str) -> None:
    role, _ = PEOPLE[who]
    page = browse(api, who).see("/console/incidents/a1")
    offered = set(re.findall(r'href="/console/incidents/a1/(\w+)"', page))
    care = {"acknowledge", "silence", "resolve"} if role.may(Role.OPERATOR) else set()
    assert offered == care | ({"approve", "deny"} if role.may(Role.APPROVER) else set())


# What can be done.


def test_an_operator_acknowledges_once_however_often_the_form_is_sent(fresh: Api, browse: type[Browser]) -> None:
    browser = browse(fresh, "operator")
    page = browser.see("/console/incidents/a1/acknowledge")
    assert fresh.store.desk.decisions() == []  # looking at the question is no answer
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.partition("<main>")[2]))
    for _ in range(2):
        answer = browser.client.post("/console/incidents/a1/acknowledge", data=hidden, headers=browser.headers)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/incidents/a1")
    assert [(made.verb, made.by) for made in fresh.store.desk.decisions()] == [("acknowledge", "operator")]
    assert audited(fresh)[0] == ("operator", "incident.acknowledge")
    assert "operator incident.acknowledge" in texts(browser.see("/console/incidents/a1"))


def test_an_approver_approves_or_denies(fresh: Api, browse: type[Browser]) -> None:
    browser = browse(fresh, "approver")
    assert "Approve? mail: 2 to 1 A person decides." in texts(browser.see("/console/incidents/a1/approve"))
    assert browser.send("/console/incidents/a1/approve").status_code == 303
    assert audited(fresh)[0] == ("approver", "rollback.intended")
    page = texts(browser.see("/console/incidents/a1"))
    assert "Rollback: intended" in page
    assert "Approved by approver." in page
    browser.see("/console/incidents/a1/deny", 404)  # too late, and not offered any more


def test_what_is_approved_is_what_was_shown(fresh: Api, browse: type[Browser]) -> None:
    browser = browse(fresh, "approver")
    page = browser.see("/console/incidents/a1/approve")
    fresh.store.actions.save(msgspec.structs.replace(ACTIONS[0], to_version="0"))
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.partition("<main>")[2]))
    answer = browser.client.post("/console/incidents/a1/approve", data=hidden, headers=browser.headers)
    assert answer.status_code == 409
    assert "it is about another version by now" in texts(answer.text)
    assert "rollback.intended" not in [verb for _, verb in audited(fresh)]
    assert browser.send("/console/incidents/a1/approve").status_code == 303


def test_a_denial_is_final(fresh: Api, browse: type[Browser]) -> None:
    browser = browse(fresh, "approver")
    late = browse(fresh, "admin")
    form = late.see("/console/incidents/a1/approve")
    assert browser.send("/console/incidents/a1/deny").status_code == 303
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form.partition("<main>")[2]))
    answer = late.client.post("/console/incidents/a1/approve", data=hidden, headers=late.headers)
    assert answer.status_code == 409
    assert "is denied, not proposed" in texts(answer.text)


def test_a_silence_is_set_seen_and_ended(fresh: Api, browse: type[Browser]) -> None:
    browser = browse(fresh, "operator")
    page = unescape(browser.see("/console/incidents/a1/silence"))
    assert "model=mail\nverdict=label_flip\n" in page
    fields = {"matchers": "model=mail\r\nverdict=label_*", "seconds": "3600", "comment": "load test"}
    assert browser.send("/console/incidents/a1/silence", **fields).status_code == 303
    (silence,) = fresh.store.desk.silences()
    assert (list(map(str, silence.matchers)), silence.author) == (["model=mail", "verdict=label_*"], "operator")
    assert "model=mail, verdict=label_* load test operator, until" in texts(browser.see("/console/silences"))
    assert browser.send(f"/console/silences/{silence.id}/expire").status_code == 303
    assert "There are none." in texts(browser.see("/console/silences"))
    assert audited(fresh)[:2] == [("operator", "silence.ended"), ("operator", "silence.set")]


def test_an_approver_vouches_for_a_version(fresh: Api, browse: type[Browser]) -> None:
    assert "Vouch" not in browse(fresh, "operator").see("/console/models?model=mail")
    browser = browse(fresh, "approver")
    found = re.findall(r'href="(/console/vouch[^"]+)"', browser.see("/console/models?model=mail"))
    assert [unescape(each) for each in found] == [f"/console/vouch?model=mail&version={each}" for each in (2, 1)]
    assert browser.send(unescape(found[0]), comment=" ").status_code == 400
    assert browser.send(unescape(found[0]), comment="passed review").headers["location"] == "/console/models?model=mail"
    assert fresh.store.marks.of("mail")["2"].vouchers == ("approver",)
    browser.see("/console/vouch?model=mail&version=7", 404)
    browser.see("/console/vouch", 404)


@pytest.mark.parametrize(
    "wrong",
    [{"matchers": ""}, {"matchers": "colour=red"}, {"seconds": "long"}, {"seconds": "1e9"}, {"comment": " "}],
)
def test_a_silence_that_makes_no_sense_is_refused(api: Api, browse: type[Browser], wrong: dict[str, str]) -> None:
    fields = {"matchers": "model=mail", "seconds": "3600", "comment": "x"} | wrong
    assert browse(api, "operator").send("/console/incidents/a1/silence", **fields).status_code == 400
    assert api.store.desk.silences() == []
