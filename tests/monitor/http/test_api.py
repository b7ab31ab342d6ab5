"""The API over real sockets, with a real store: what it answers, and to whom."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerting.incident import Incident
from monitor.http.access_config import Role
from monitor.http.endpoint import MAX_BODY, Endpoint
from monitor.rollback.action import Action
from monitor.rollback.mark import Mark
from monitor.store.store import StoreError
from tests.kit.api_world import ACTIONS, INCIDENTS, NO_TLS, NOW, PEOPLE, TOKENS, Api, served_api

NAMED = {"model": "mail", "incident": "a1", "silence": "none"}
"""What stands in a path for each name in it; both belong to the model that the scoped token is for."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with served_api(tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """For those who ask everything, and do not mind what comes of it."""
    with served_api(tmp_path_factory.mktemp("changed-api")) as api:
        yield api


@pytest.fixture(scope="module")
def open_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Without tokens in the configuration."""
    with served_api(tmp_path_factory.mktemp("open-api"), tokens=False) as api:
        yield api


@pytest.fixture(scope="module")
def outside() -> Iterator[httpx.Client]:
    """A client that nobody has given a token."""
    with httpx.Client(verify=NO_TLS) as client:
        yield client


def get(api: Api, path: str, who: str = "viewer") -> Any:
    with api.as_(who) as client:
        answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and detail of an answer that is a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == answer.status_code
    assert said["title"]
    return answer.status_code, said.get("detail", "")


# What it answers.


def test_models_are_told_with_their_baselines(api: Api) -> None:
    mail, net = get(api, "/models")["models"]
    assert (mail["name"], mail["learning"], net["name"], net["learning"]) == ("mail", False, "net-ids", True)
    assert mail["baseline"].startswith("sha256:")
    assert (net["baseline"], net["learnt"] > 0) == (None, True)
    assert get(api, "/models/mail") == mail
    assert get(api, "/models/mail/baseline")["digest"] == mail["baseline"]


def test_versions_have_their_marks_and_the_one_that_serves(api: Api) -> None:
    newest, oldest = get(api, "/models/mail/versions")["versions"]
    assert (newest["version"], newest["serving"], newest["known_good_at"]) == ("2", True, None)
    assert (oldest["version"], oldest["serving"], oldest["known_good_at"]) == ("1", False, 1769990400.0)
    assert (newest["distrusted"], oldest["distrusted"]) == (None, None)


def test_a_mark_that_does_not_count_says_why(fresh: Api) -> None:
    fresh.store.marks.put(Mark("mail", "1", NOW, why="convicted by incident a1", withdrawn=True))
    _, oldest = get(fresh, "/models/mail/versions")["versions"]
    assert oldest["distrusted"] == "its mark was withdrawn (convicted by incident a1)"


def test_incidents_come_back_as_they_are(api: Api) -> None:
    found = get(api, "/incidents")["incidents"]
    assert [one["id"] for one in found] == ["d4", "b2", "c3", "a1"]
    assert msgspec.convert(get(api, "/incidents/a1"), Incident) == INCIDENTS[0]
    assert found[0]["onset"]["low"] is None  # JSON has no infinity
    assert [one["id"] for one in get(api, "/incidents?open_only=true")["incidents"]] == ["d4", "b2", "a1"]
    assert [one["id"] for one in get(api, "/incidents?model=net-ids")["incidents"]] == ["b2", "c3"]


def test_actions_come_back_as_they_are(api: Api) -> None:
    assert [msgspec.convert(one, Action) for one in get(api, "/actions")["actions"]] == ACTIONS[::-1]
    assert [one["incident"] for one in get(api, "/actions?state=proposed")["actions"]] == ["a1"]
    assert msgspec.convert(get(api, "/actions/b2"), Action) == ACTIONS[1]


def test_a_timeline_says_what_was_done_about_one_incident(api: Api) -> None:
    (act,) = get(api, "/incidents/a1/timeline")["acts"]
    assert (act["verb"], act["subject"], act["model"]) == ("rollback.proposed", "a1", "mail")
    assert get(api, "/incidents/c3/timeline") == {"acts": []}


@pytest.mark.parametrize(
    ("path", "key", "name"), [("/incidents", "incidents", "id"), ("/actions", "actions", "incident")]
)
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_pages_together_are_everything_once(api: Api, path: str, key: str, name: str, limit: int) -> None:
    whole = [one[name] for one in get(api, path)[key]]
    found, after = [], ""
    while True:
        page = get(api, f"{path}?limit={limit}{after}")
        assert len(page[key]) <= limit
        found += [one[name] for one in page[key]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == whole
    assert get(api, f"{path}?after=none-such")[key] == []


def test_the_audit_log_is_for_admins_and_goes_back_in_time(api: Api) -> None:
    entries = get(api, "/audit", "admin")["entries"]
    assert [entry["number"] for entry in entries] == list(range(len(entries), 0, -1))
    assert {entry["act"]["verb"] for entry in entries} == {"rollback.proposed", "rollback.observed"}
    first = get(api, "/audit?limit=1", "admin")
    assert get(api, f"/audit?after={first['next']}", "admin")["entries"] == entries[1:]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=-1", "limit=²", "limit=", "open_only=yes", "open=true"),
        *("limit=" + "9" * 5000, "limit=1&limit=2", "access_token=x"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    with api.as_("viewer") as client:
        status, detail = refusal(client.get(f"/incidents?{query}"))
    assert status == 400
    assert detail


@pytest.mark.parametrize(
    "path", ["/models/none", "/models/none/baseline", "/models/net-ids/baseline", "/incidents/none", "/actions/c3"]
)
def test_what_is_not_there_is_a_problem(api: Api, path: str) -> None:
    with api.as_("viewer") as client:
        assert refusal(client.get(path))[0] == 404


def test_what_a_registry_says_in_detail_stays_here(api: Api) -> None:
    with api.as_("viewer") as client:
        unknown = refusal(client.get("/models/net-ids/versions"))
        assert unknown == (404, "the model registry knows no such thing, or refuses to say")
        with registry_away(api):
            assert refusal(client.get("/models/mail/versions")) == (503, "the model registry does not answer")


@contextmanager
def registry_away(api: Api) -> Iterator[None]:
    kept = api.registry_file.read_text()
    api.registry_file.write_text("half of a fi")
    yield
    api.registry_file.write_text(kept)


def test_a_store_in_trouble_is_said_and_passes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(**_: object) -> None:
        raise StoreError("store tocsin.db: database is locked")

    with api.as_("viewer") as client:
        with monkeypatch.context() as trouble:
            trouble.setattr(api.store, "incidents", locked)
            assert refusal(client.get("/incidents")) == (503, "store tocsin.db: database is locked")
        assert client.get("/incidents").status_code == 200


# What it changes.


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Api]:
    """One of its own, for those who change it."""
    with served_api(tmp_path) as api:
        yield api


def post(api: Api, path: str, who: str, **options: Any) -> httpx.Response:
    with api.as_(who) as client:
        return client.post(path, **options)


def audited(api: Api) -> list[tuple[str, str]]:
    return [(entry.act.actor, entry.act.verb) for entry in api.store.audit.entries(limit=50)]


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


# To whom.


def ask(client: httpx.Client, endpoint: Endpoint) -> httpx.Response:
    path = re.sub(r"\{(\w+)(:path)?\}", lambda name: NAMED[name[1]], endpoint.path)
    body = {} if endpoint.body is None else {"json": {}}
    return client.request(endpoint.method, path, **body)


@pytest.mark.parametrize("who", [*PEOPLE, None])
def test_every_call_is_open_to_whom_it_should_be(changed: Api, who: str | None) -> None:
    with changed.as_(who) as client:
        answers = {(each.method, each.path): ask(client, each) for each in changed.endpoints}
    for each in changed.endpoints:
        status = answers[each.method, each.path].status_code
        if who is None:
            assert (each.path, status) == (each.path, 401)
        elif who == "mail-admin" and each.path == "/audit":
            assert status == 403
        elif PEOPLE[who][0].may(each.role):
            assert (each.path, status) not in ((each.path, 401), (each.path, 403))
        else:
            assert (each.path, status) == (each.path, 403)


def test_roles_are_a_ladder_beside_which_producers_stand() -> None:
    assert [[role.may(wanted) for wanted in Role] for role in Role] == [
        [True, False, False, False, False],
        [False, True, False, False, False],
        [False, True, True, False, False],
        [False, True, True, True, False],
        [True, True, True, True, True],
    ]


def test_a_model_that_a_token_is_not_for_does_not_exist(api: Api) -> None:
    assert [one["name"] for one in get(api, "/models", "mail-viewer")["models"]] == ["mail"]
    assert [one["id"] for one in get(api, "/incidents", "mail-viewer")["incidents"]] == ["d4", "a1"]
    assert get(api, "/incidents?model=net-ids", "mail-viewer")["incidents"] == []
    assert [one["incident"] for one in get(api, "/actions", "mail-viewer")["actions"]] == ["a1"]
    with api.as_("mail-viewer") as client:
        hidden = ("/models/net-ids", "/models/net-ids/versions", "/models/net-ids/baseline", "/incidents/b2")
        hidden += ("/incidents/b2/timeline",)
        for path in (*hidden, "/actions/b2"):
            assert refusal(client.get(path))[0] == 404
            assert "net-ids" not in client.get(path).text


@pytest.mark.parametrize(
    "header",
    [
        *("", "Bearer", "Basic dmlld2VyOng=", "Bearer wrong", f"Token {TOKENS['admin']}"),
        *(f"Bearer {TOKENS['admin']} x", f"Bearer {TOKENS['admin'][:-1]}", f"bearer {'x' * 10_000}"),
    ],
)
def test_what_is_no_token_opens_nothing(api: Api, outside: httpx.Client, header: str) -> None:
    answer = outside.get(f"{api.url}/api/v1/me", headers={"authorization": header})
    assert refusal(answer) == (401, "a bearer token is needed")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_tokens_are_taken_from_one_header_and_from_nowhere_else(api: Api, outside: httpx.Client) -> None:
    token = TOKENS["admin"]
    page = f"{api.url}/api/v1/me"
    assert outside.get(page, headers={"authorization": f"bEARER  {token}"}).json()["role"] == "admin"
    assert outside.get(page, headers=[("authorization", f"Bearer {token}")] * 2).status_code == 401
    assert outside.get(page, params={"access_token": token, "token": token}).status_code == 401
    assert outside.get(page, headers={"cookie": f"authorization={token}"}).status_code == 401
    assert outside.get(page, headers={"x-forwarded-user": "admin", "x-api-key": token}).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["//api/v1/me", "/api/v1//me", "/api/v1/me/", "/API/v1/me", "/api/v1/%2e/me", "/x/../api/v1/me;a", "/api/v1/ME"],
)
def test_there_is_one_way_in(api: Api, outside: httpx.Client, path: str) -> None:
    assert outside.get(api.url + path).status_code in (401, 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECTX"])
def test_other_methods_do_nothing(api: Api, outside: httpx.Client, method: str) -> None:
    override = {"x-http-method-override": "GET", "authorization": f"Bearer {TOKENS['admin']}"}
    assert outside.request(method, f"{api.url}/api/v1/incidents", headers=override).status_code == 405


def test_metrics_and_probes_need_no_token(api: Api, outside: httpx.Client) -> None:
    assert [outside.get(f"{api.url}/{page}").status_code for page in ("metrics", "healthz", "readyz")] == [200] * 3


def test_without_tokens_everybody_may_look_and_nobody_may_change(open_api: Api) -> None:
    with open_api.as_(None) as client:
        assert client.get("/me").json() == {"name": "anybody", "role": "viewer", "models": None}
        for each in open_api.endpoints:
            allowed = each.role is Role.VIEWER and not each.changes
            assert (each.path, ask(client, each).status_code) == (each.path, 200 if allowed else 403)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_no_parameter_and_no_name_is_a_server_error(api: Api, text: str) -> None:
    with api.as_("viewer") as client:
        assert client.get("/incidents", params={"limit": text}).status_code in (200, 400)
        assert client.get("/incidents", params={text or "x": "1"}).status_code in (200, 400)
        assert client.get("/actions", params={"after": text, "model": text}).status_code == 200
        assert client.get(
            httpx.URL(f"{api.url}/api/v1/incidents/").copy_with(raw_path=b"/api/v1/incidents/" + raw(text))
        ).status_code in (200, 404)


def raw(text: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in text.encode()).encode()


# The document.


def test_the_document_has_every_call(api: Api) -> None:
    described = get(api, "/openapi.json")
    assert described["openapi"] == "3.1.0"
    paths = {(method.upper(), path) for path, found in described["paths"].items() for method in found}
    wanted = {(each.method, "/api/v1" + each.path.replace(":path", "")) for each in api.endpoints}
    assert paths == wanted - {("GET", "/api/v1/openapi.json")}
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', str(described).replace("'", '"')))
    assert references == described["components"]["schemas"].keys()
