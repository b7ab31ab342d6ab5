"""The API over real sockets, with a real store: what it answers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from alerting.incident import Incident
from monitor.rollback.action import Action
from monitor.rollback.mark import Mark
from monitor.store.store import StoreError
from tests.kit.api_world import (
    ACTIONS,
    INCIDENTS,
    NOW,
    Api,
    get,
    refusal,
)
from tests.kit.served import World


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


def test_drills_say_whether_each_fault_was_found(api: Api) -> None:
    found = get(api, "/drills")["drills"]
    assert [(each["model"], each["kind"], each["events"]) for each in found] == [
        ("mail", "inputs", 7),
        ("mail", "labels", None),
        ("net-ids", "inputs", 12),
    ]
    assert {each["model"] for each in get(api, "/drills", "mail-viewer")["drills"]} == {"mail"}


def test_how_far_an_incident_reaches_is_counted_up_to_now_and_marks_that_it_took_are_told(fresh: Api) -> None:
    for version, why in (("2", "incident a1"), ("1", "incident b2")):
        fresh.store.marks.put(Mark("mail", version, NOW, why=why, withdrawn=True))
    told, now = get(fresh, "/incidents/a1")["radius"], get(fresh, "/incidents/a1/radius")
    assert now["withdrawn"] == ["2"]
    assert (now["radius"]["classes"], now["radius"]["since"]) == (told["classes"], told["since"])
    assert now["radius"]["until"] > told["until"]
    (served,) = now["radius"]["versions"]
    watched = World(predictions=1_700).events()[2_800:]  # what came after the reference, and after the onset
    assert served["predictions"] == pytest.approx(sum("features" in event for event in watched), abs=2)
    # What is over, or watched elsewhere, is as it was told.
    assert get(fresh, "/incidents/c3/radius")["radius"] == get(fresh, "/incidents/c3")["radius"]
    assert get(fresh, "/incidents/b2/radius")["radius"] == get(fresh, "/incidents/b2")["radius"]


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


def test_the_document_has_every_call(api: Api) -> None:
    described = get(api, "/openapi.json")
    assert described["openapi"] == "3.1.0"
    paths = {(method.upper(), path) for path, found in described["paths"].items() for method in found}
    wanted = {(each.method, "/api/v1" + each.path.replace(":path", "")) for each in api.endpoints}
    assert paths == wanted - {("GET", "/api/v1/openapi.json")}
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', str(described).replace("'", '"')))
    assert references == described["components"]["schemas"].keys()
