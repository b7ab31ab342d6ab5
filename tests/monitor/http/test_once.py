"""Changes that are asked for twice, and tokens that are tried often: over real sockets, with a real store."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.http.access import Principal
from monitor.http.access_config import Role
from monitor.http.endpoint import Call, NoParameters, ProblemError
from monitor.http.once import once
from monitor.store.reply_table import KEPT
from monitor.store.store import StoreError
from tests.kit.api_world import NO_TLS, NOW, TOKENS, Api, served_api

SILENCE = {"matchers": ["model=mail"], "seconds": 3600, "comment": "load test"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with served_api(tmp_path) as api:
        yield api


def post(api: Api, path: str, key: str | None, who: str = "admin", **options: Any) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    with api.as_(who) as client:
        return client.post(path, headers=headers, **options)


def verbs(api: Api) -> list[str]:
    return [entry.act.verb for entry in api.store.audit.entries(limit=50)]


# The same change, asked for again.


def test_a_repeated_change_is_made_once_and_answered_alike(api: Api) -> None:
    first, again = (post(api, "/silences", "k1", json=SILENCE) for _ in range(2))
    assert (first.status_code, first.content) == (again.status_code, again.content) == (200, first.content)
    assert (len(api.store.desk.silences()), verbs(api).count("silence.set")) == (1, 1)
    assert post(api, "/silences", "k2", json=SILENCE).json()["id"]  # another key is another wish
    assert verbs(api).count("silence.set") == 2


def test_a_repeated_approval_is_an_approval_and_no_conflict(api: Api) -> None:
    first, again = (post(api, "/actions/a1/approve", "k1", "approver") for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert post(api, "/actions/a1/approve", None, "approver").status_code == 409
    assert verbs(api).count("rollback.intended") == 1


def test_a_refusal_is_repeated_as_it_was(api: Api) -> None:
    first, again = (post(api, "/incidents/c3/resolve", "k1") for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (409, first.json())


def test_a_key_belongs_to_one_call_of_one_person(api: Api) -> None:
    assert post(api, "/silences", "k1", json=SILENCE).status_code == 200
    other = post(api, "/silences", "k1", json=SILENCE | {"seconds": 60})
    assert (other.status_code, other.json()["detail"]) == (409, "this key was used for another call")
    assert post(api, "/incidents/a1/acknowledge", "k1").status_code == 409
    assert post(api, "/silences", "k1", "operator", json=SILENCE).json()["author"] == "operator"


def test_of_many_at_once_with_one_key_one_makes_the_change(api: Api) -> None:
    answers: list[int] = []
    people = [
        threading.Thread(target=lambda: answers.append(post(api, "/silences", "k1", json=SILENCE).status_code))
        for _ in range(6)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert set(answers) <= {200, 409}  # 409: the first one was not answered yet
    assert 200 in answers
    assert verbs(api).count("silence.set") == 1


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "caf\u00e9"])
def test_what_is_no_key_is_refused(api: Api, key: str) -> None:
    with api.as_("admin") as client:
        answer = client.post("/silences", json=SILENCE, headers=[(b"idempotency-key", key.encode("latin-1"))])
    assert (answer.status_code, api.store.desk.silences()) == (400, [])


def test_a_store_in_trouble_gives_the_key_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(_silence: object) -> None:
        raise StoreError("store tocsin.db: database is locked")

    with monkeypatch.context() as trouble:
        trouble.setattr(api.store.desk, "save", locked)
        assert post(api, "/silences", "k1", json=SILENCE).status_code == 503
    assert post(api, "/silences", "k1", json=SILENCE).status_code == 200


def test_a_call_that_was_cut_off_is_not_made_again(api: Api) -> None:
    class CutOffError(Exception):
        pass

    def cut_off(_call: object) -> object:
        raise CutOffError

    call = Call(Principal("admin", Role.ADMIN), {}, NoParameters(), None, "k1")
    with pytest.raises(CutOffError):
        once("/x", cut_off, api.store.replies, lambda: NOW)(call)
    for later, known in ((NOW, "has begun and was not answered"), (NOW + KEPT, "has begun")):
        with pytest.raises(ProblemError, match=known):
            once("/x", lambda _call: "made", api.store.replies, lambda now=later: now)(call)
    assert once("/x", lambda _call: "made", api.store.replies, lambda: NOW + KEPT + 1.0)(call) == "made"


# The same token, tried too often.


def test_who_guesses_is_slowed_down_and_nobody_else(tmp_path: Path) -> None:
    with served_api(tmp_path, max_unknown=3) as api, httpx.Client(verify=NO_TLS) as client:
        page = f"{api.url}/api/v1/me"
        guess = lambda number: client.get(page, headers={"authorization": f"Bearer guess-{number}"})  # noqa: E731
        assert [guess(number).status_code for number in range(3)] == [401] * 3
        refused = guess(3)
        assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert client.get(page).status_code == 401  # no token is no guess
        assert (
            client.get(page, headers={"x-forwarded-for": "192.0.2.7", "authorization": "Bearer x"}).status_code == 429
        )
        assert client.get(page, headers={"authorization": f"Bearer {TOKENS['viewer']}"}).status_code == 200


def test_one_token_makes_only_so_many_changes(tmp_path: Path) -> None:
    with served_api(tmp_path, max_changes=2) as api:
        answers = [post(api, "/silences", None, "operator", json=SILENCE) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert "retry-after" in answers[2].headers
        assert post(api, "/silences", None, "admin", json=SILENCE).status_code == 200
        with api.as_("operator") as client:
            assert client.get("/incidents").status_code == 200
