"""What a registry tells by itself: only what it has signed is heard, and only once in a while."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.http.endpoint import MAX_BODY
from monitor.http.hooks import hooks
from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.mark import Mark
from monitor.rollback.mlflow_hook import AliasChange, HookError, read, verify
from monitor.service.guard import alias_act
from monitor.store.store import Store, StoreError
from tests.kit.asgi import serving

SECRET = "wh-s3cret-c4n4ry"
NOW = 1_772_500_000.0
CHANGE: dict[str, Any] = {
    "entity": "model_version_alias",
    "action": "created",
    "timestamp": "2026-03-03T01:06:40+00:00",
    "data": {"name": "mail", "alias": "champion", "version": "3"},
}


def headers(raw: bytes, *, secret: str = SECRET, at: float = NOW, delivery: str = "d1") -> dict[str, str]:
    signed = hmac.new(secret.encode(), f"{delivery}.{at:.0f}.".encode() + raw, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(signed).decode()}"
    return {"X-MLflow-Delivery-Id": delivery, "X-MLflow-Timestamp": f"{at:.0f}", "X-MLflow-Signature": signature}


class Side:
    """The route, and what was heard over it."""

    def __init__(self) -> None:
        self.heard: list[AliasChange] = []
        self.refused: list[int] = []
        self.wrong: Exception | None = None
        self.secret = SECRET
        self.url = ""

    def hear(self, change: AliasChange) -> None:
        if self.wrong is not None:
            raise self.wrong
        self.heard.append(change)

    def post(self, message: object, **keys: Any) -> int:
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        told = httpx.post(f"{self.url}/hooks/mlflow", content=raw, headers=headers(raw, **keys))
        assert "c4n4ry" not in told.text
        return told.status_code


@pytest.fixture
def side() -> Iterator[Side]:
    made = Side()
    with serving(hooks(lambda: made.secret, made.hear, made.refused.append, lambda: NOW)) as made.url:
        yield made


def test_a_signed_change_of_an_alias_is_heard(side: Side) -> None:
    assert side.post(CHANGE) == 200
    assert side.heard == [AliasChange("mail", "champion")]


@pytest.mark.parametrize(
    ("message", "keys", "status"),
    [
        (CHANGE, {"secret": "another"}, 403),
        (CHANGE, {"at": NOW - 301.0}, 403),
        (CHANGE, {"at": NOW + 301.0}, 403),
        (CHANGE | {"entity": "model_version"}, {}, 200),
        (CHANGE | {"data": {"name": "mail"}}, {}, 400),
        (CHANGE | {"data": {"name": "", "alias": "champion"}}, {}, 400),
        (b"{", {}, 400),
        (b"[" * 5000, {}, 400),
        (b" " * (MAX_BODY + 1), {}, 413),
    ],
)
def test_nothing_else_is(side: Side, message: object, keys: dict[str, Any], status: int) -> None:
    assert side.post(message, **keys) == status
    assert side.heard == []
    assert side.refused == [403] * (status == 403)


def test_without_a_signature_or_with_an_empty_secret_nobody_is_believed(side: Side) -> None:
    assert httpx.post(f"{side.url}/hooks/mlflow", json=CHANGE).status_code == 403
    assert httpx.get(f"{side.url}/hooks/mlflow").status_code == 405
    side.secret = ""
    assert side.post(CHANGE, secret="") == 403
    assert side.heard == []


def test_a_copy_is_not_heard_again(side: Side) -> None:
    assert [side.post(CHANGE) for _ in range(3)] == [200, 200, 200]
    assert len(side.heard) == 1
    assert side.post(CHANGE, delivery="d2") == 200
    assert len(side.heard) == 2
    raw = json.dumps(CHANGE).encode()
    disguised = [("x-mlflow-signature", "v1,other"), *headers(raw).items()]
    assert httpx.post(f"{side.url}/hooks/mlflow", content=raw, headers=disguised).status_code == 200
    assert len(side.heard) == 2


def test_a_store_that_is_away_makes_mlflow_try_again(side: Side) -> None:
    side.wrong = StoreError("store: away")
    assert side.post(CHANGE) == 503
    side.wrong = None
    assert (side.post(CHANGE), len(side.heard)) == (200, 1)


@given(raw=st.binary(max_size=80), place=st.integers(0, 79), delivery=st.sampled_from(["d1", "d2"]))
def test_whatever_is_changed_on_the_way_is_noticed(raw: bytes, place: int, delivery: str) -> None:
    signed = headers(raw)
    verify(SECRET, signed, raw, NOW)
    changed = bytearray(raw or b"x")
    changed[place % len(changed)] ^= 1
    with pytest.raises(HookError):
        verify(SECRET, signed, bytes(changed), NOW)
    if delivery != "d1":
        with pytest.raises(HookError):
            verify(SECRET, signed | {"X-MLflow-Delivery-Id": delivery}, raw, NOW)


@given(raw=st.binary(max_size=200))
def test_no_message_breaks_the_reader(raw: bytes) -> None:
    with pytest.raises(HookError, match="not one of MLflow's"):
        read(raw)


def test_the_audit_log_has_where_the_alias_is_and_whether_that_was_convicted(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    entry = {"aliases": {"champion": "2"}, "versions": {"2": {"created": 0}}}
    path.write_text(json.dumps({"models": {"mail": entry}}))
    registry = FileRegistry(FileRegistryConfig(kind="file", path=path))
    with closing(Store(tmp_path / "tocsin.db")) as store:
        act = alias_act("mail", "champion", registry, store, NOW)
        assert (act.verb, act.actor, act.detail) == ("alias.changed", "the registry", "It is at 2.")
        store.marks.put(Mark("mail", "2", NOW, why="incident i1", withdrawn=True))
        convicted = alias_act("mail", "champion", registry, store, NOW)
        assert convicted.detail == "It is at 2, which was convicted: incident i1."
        assert "cannot be told" in alias_act("gone", "champion", registry, store, NOW).detail
