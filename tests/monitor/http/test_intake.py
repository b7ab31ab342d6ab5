"""POST /api/v1/events over real sockets: what is taken, from whom, and what is said when it is not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.http.intake import MAX_BYTES
from monitor.intake.posted import CLOUD_EVENT, CLOUD_EVENTS, JSON, MAX_EVENTS
from tests.kit.api_world import PEOPLE, Api, served_api

LABEL = {"kind": "label", "event_id": "e1", "ts": 1_772_000_000, "label": "ham", "model": "mail"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with served_api(tmp_path) as api:
        yield api


def post(api: Api, body: Any, who: str | None = "producer", kind: str = JSON, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with api.as_(who) as client:
        return client.post("/events", content=content, headers={"content-type": kind, **headers})


@pytest.mark.parametrize("kind", [JSON, CLOUD_EVENT, CLOUD_EVENTS])
def test_events_are_appended_and_counted(api: Api, kind: str) -> None:
    cloud = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": LABEL}
    body = {JSON: [LABEL, LABEL], CLOUD_EVENT: cloud, CLOUD_EVENTS: [cloud, cloud]}[kind]
    count = 1 if kind == CLOUD_EVENT else 2
    answer = post(api, body, kind=f"{kind.upper()}; charset=utf-8")
    assert (answer.status_code, answer.json()) == (202, {"accepted": count})
    assert [(record.key, json.loads(record.value)) for record in api.topic.records] == [(b"mail", LABEL)] * count
    assert api.posted == {"appended": count}


def test_of_a_batch_with_a_bad_event_nothing_is_appended(api: Api) -> None:
    answer = post(api, [LABEL, LABEL | {"label": None}])
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("events[1]: wrong_type: $.label")
    assert api.topic.records == []
    assert api.posted == {"refused": 1}


@pytest.mark.parametrize("who", [*PEOPLE, None])
def test_producers_send_events_and_nothing_else_and_nobody_else_does(api: Api, who: str | None) -> None:
    allowed = who in ("producer", "mail-producer", "admin", "mail-admin")
    assert post(api, LABEL, who).status_code == (202 if allowed else 401 if who is None else 403)
    assert len(api.topic.records) == allowed
    if who in ("producer", "mail-producer"):
        with api.as_(who) as client:
            assert {client.get(path).status_code for path in ("/me", "/incidents", "/models")} == {403}
            assert client.post("/incidents/a1/acknowledge").status_code == 403


def test_a_token_for_some_models_sends_events_of_these_only(api: Api) -> None:
    for wrong in (LABEL | {"model": "net-ids"}, {name: LABEL[name] for name in LABEL if name != "model"}):
        answer = post(api, [LABEL, wrong], "mail-producer")
        assert (answer.status_code, answer.json()["detail"].startswith("events[1]: $.model: ")) == (400, True)
    assert api.topic.records == []
    assert post(api, {name: LABEL[name] for name in LABEL if name != "model"}).status_code == 202
    assert api.topic.records[0].key is None


def test_where_replicas_share_the_topic_a_label_has_to_name_its_model(tmp_path: Path) -> None:
    with served_api(tmp_path, keyed=True) as api:
        answer = post(api, {name: LABEL[name] for name in LABEL if name != "model"})
        assert (answer.status_code, "a label has to name its model" in answer.json()["detail"]) == (400, True)


def test_while_kafka_is_away_that_is_said_and_the_same_can_be_sent_again(api: Api) -> None:
    api.topic.away = True
    key = {"idempotency-key": "k1"}
    for _ in range(2):
        answer = post(api, [LABEL, LABEL], **key)
        assert answer.status_code == 503
        assert "send all of it again" in answer.json()["detail"]
    api.topic.away = False
    assert [post(api, [LABEL, LABEL], **key).status_code for _ in range(2)] == [202, 202]
    assert len(api.topic.records) == 2  # the second of these was the answer of the first
    assert api.posted == {"failed": 4, "appended": 2}


def test_what_is_too_large_too_many_or_of_another_kind_is_refused(api: Api) -> None:
    assert post(api, b" " * (MAX_BYTES + 1)).status_code == 413
    assert post(api, [LABEL] * (MAX_EVENTS + 1)).status_code == 400
    for kind in ("text/plain", "application/cloudevents+avro", ""):
        assert post(api, LABEL, kind=kind).status_code == 415
    assert api.topic.records == []


def test_batches_have_a_limit_of_their_own(tmp_path: Path) -> None:
    with served_api(tmp_path, max_changes=2) as api:
        assert [post(api, LABEL, "admin").status_code for _ in range(4)] == [202] * 4
        with api.as_("admin") as client:
            assert client.post("/incidents/a1/acknowledge").status_code == 200
    (tmp_path / "other").mkdir()
    with served_api(tmp_path / "other", max_batches=2) as api:
        answers = [post(api, LABEL) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert answers[-1].headers["retry-after"]


def test_without_tokens_nobody_sends_events(tmp_path: Path) -> None:
    with served_api(tmp_path, tokens=False) as api:
        assert post(api, LABEL, None).status_code == 403
        assert api.topic.records == []
