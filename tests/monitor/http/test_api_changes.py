"""The API over real sockets, with a real store: what it changes, once, and in whose name."""

import threading
from pathlib import Path

import msgspec
import pytest

from monitor.http.endpoint import MAX_BODY
from tests.kit.api_world import (
    NOW,
    Api,
    audited,
    get,
    post,
    refusal,
    served_api,
)


@pytest.mark.parametrize("verb", ["acknowledge", "resolve"])
def test_an_operator_looks_after_an_incident(fresh: Api, verb: str) -> None:
    answer = post(fresh, f"/incidents/a1/{verb}", "operator")
    assert answer.status_code == 200
    (decision,) = fresh.store.desk.decisions()
    assert (decision.incident, decision.verb, decision.by) == ("a1", verb, "operator")
    assert msgspec.convert(answer.json(), type(decision)) == decision
    assert audited(fresh)[0] == ("operator", f"incident.{verb}")
    assert refusal(post(fresh, f"/incidents/c3/{verb}", "operator")) == (409, "it is resolved already")
    assert refusal(post(fresh, f"/incidents/none/{verb}", "operator"))[0] == 404


def test_a_silence_is_set_seen_and_ended(fresh: Api) -> None:
    wanted = {"matchers": ["model=mail", "verdict=*drift"], "seconds": 3600, "comment": "load test"}
    made = post(fresh, "/silences", "operator", json=wanted).json()
    assert (made["author"], made["ends_at"] - made["starts_at"]) == ("operator", 3600.0)
    assert get(fresh, "/silences")["silences"] == [made]
    ended = post(fresh, f"/silences/{made['id']}/expire", "admin").json()
    assert (ended["expired_by"], ended["ends_at"]) == ("admin", NOW)
    assert get(fresh, "/silences")["silences"] == []
    assert refusal(post(fresh, f"/silences/{made['id']}/expire", "admin"))[0] == 404
    assert audited(fresh)[:2] == [("admin", "silence.ended"), ("operator", "silence.set")]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"{", b"null", b"\xff", b"[" * 5000),
        b'{"matchers": [], "seconds": 60, "comment": "x"}',
        b'{"matchers": ["colour=red"], "seconds": 60, "comment": "x"}',
        b'{"matchers": ["model=mail"], "seconds": 0, "comment": "x"}',
        b'{"matchers": ["model=mail"], "seconds": 60, "comment": " "}',
        b'{"matchers": ["model=mail"], "seconds": 60, "comment": "x", "author": "somebody else"}',
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(api: Api, body: bytes) -> None:
    as_json = {"content-type": "application/json"}
    assert refusal(post(api, "/silences", "operator", content=body, headers=as_json))[0] == 400
    assert api.store.desk.silences() == []


def test_a_body_is_json_and_no_longer_than_it_may_be(api: Api) -> None:
    assert refusal(post(api, "/silences", "operator", data={"seconds": "1"}))[0] == 415
    as_json = {"content-type": "application/json"}
    assert refusal(post(api, "/silences", "operator", content=b" " * (MAX_BODY + 1), headers=as_json))[0] == 413


def test_a_proposal_is_approved_once(fresh: Api) -> None:
    answer = post(fresh, "/actions/a1/approve", "approver")
    assert (answer.json()["state"], answer.json()["approvals"]) == ("intended", ["approver"])
    assert audited(fresh)[0] == ("approver", "rollback.intended")
    assert refusal(post(fresh, "/actions/a1/approve", "approver"))[0] == 409
    assert refusal(post(fresh, "/actions/a1/deny", "approver"))[0] == 409
    assert refusal(post(fresh, "/actions/b2/approve", "approver"))[0] == 409  # only observed
    assert refusal(post(fresh, "/actions/c3/approve", "approver"))[0] == 404


def test_people_vouch_for_a_version_each_once(tmp_path: Path) -> None:
    path, why = "/known-good", {"model": "mail", "version": "2", "why": "passed review"}
    with served_api(tmp_path, vouchers=2) as api:
        first = post(api, path, "approver", json=why)
        assert (first.json()["proposed"], first.json()["vouchers"]) == (True, ["approver"])
        newest, _ = get(api, "/models/mail/versions")["versions"]
        assert newest["distrusted"] == "1 of 2 have vouched for it (approver)"
        status, said = refusal(post(api, path, "approver", json=why))
        assert (status, said) == (409, "approver has vouched for it already; somebody else has to")
        assert refusal(post(api, path, "admin", json=why | {"version": "7"}))[0] == 409
        assert refusal(post(api, path, "mail-admin", json=why | {"model": "net-ids"}))[0] == 404
        assert post(api, path, "admin", json=why).json()["vouchers"] == ["approver", "admin"]
        newest, _ = get(api, "/models/mail/versions")["versions"]
        assert (newest["known_good_at"], newest["distrusted"]) == (NOW, None)
        assert {actor for actor, verb in audited(api) if verb.startswith("mark.")} == {"approver", "admin"}


def test_a_denial_is_final(fresh: Api) -> None:
    assert post(fresh, "/actions/a1/deny", "approver").json()["state"] == "denied"
    assert audited(fresh)[0] == ("approver", "rollback.denied")
    assert refusal(post(fresh, "/actions/a1/approve", "admin"))[0] == 409


def test_of_many_who_approve_at_once_one_does(fresh: Api) -> None:
    answers: list[int] = []
    people = [
        threading.Thread(target=lambda: answers.append(post(fresh, "/actions/a1/approve", "admin").status_code))
        for _ in range(6)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(answers) == [200, *[409] * 5]
    assert audited(fresh).count(("admin", "rollback.intended")) == 1


def test_a_token_for_some_models_changes_nothing_of_others(fresh: Api) -> None:
    for path in ("/incidents/b2/acknowledge", "/actions/b2/approve", "/actions/b2/deny"):
        assert refusal(post(fresh, path, "mail-admin"))[0] == 404
    everywhere = {"matchers": ["severity=info"], "seconds": 60, "comment": "x"}
    elsewhere = everywhere | {"matchers": ["model=net-ids"]}
    wider = everywhere | {"matchers": ["model=mail*"]}
    without = everywhere | {"matchers": ["model!=mail"]}
    for wanted in (everywhere, elsewhere, wider, without):
        assert refusal(post(fresh, "/silences", "mail-admin", json=wanted))[0] == 400
    other = post(fresh, "/silences", "operator", json=elsewhere).json()
    assert refusal(post(fresh, f"/silences/{other['id']}/expire", "mail-admin"))[0] == 404
    assert get(fresh, "/silences", "mail-admin")["silences"] == []
    with fresh.as_("mail-admin") as client:
        assert refusal(client.get("/audit"))[0] == 403
    assert post(fresh, "/silences", "mail-admin", json=everywhere | {"matchers": ["model=mail"]}).status_code == 200
