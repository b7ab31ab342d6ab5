"""The API over real sockets: to whom it answers."""

import re
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.http.access_config import Role
from monitor.http.endpoint import Endpoint
from tests.kit.api_world import (
    PEOPLE,
    TOKENS,
    Api,
    get,
    refusal,
    served_api,
)

NAMED = {"model": "mail", "incident": "a1", "silence": "none"}
"""What stands in a path for each name in it; both belong to the model that the scoped token is for."""


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
