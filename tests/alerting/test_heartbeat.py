"""The dead man's switch."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from alerting.heartbeat import HeartbeatConfig, UnwellError, beat
from alerting.receiver import Reason, SendError
from tests.kit.http_server import Server, hang, reply
from tests.kit.supplies import on_loopback

CANARY = "c4n4ry"


def config(address: str) -> HeartbeatConfig:
    return HeartbeatConfig.model_validate({"url": {"value": address}})


def test_somebody_is_told_that_all_is_well(server: Server) -> None:
    beat(config(f"{server.address}/{CANARY}"), on_loopback(), 30.0, ())
    assert [request.path for request in server.requests] == [f"/{CANARY}"]


def test_where_something_is_wrong_nothing_is_said(server: Server) -> None:
    with pytest.raises(UnwellError, match="the loop has not turned"):
        beat(config(server.address), on_loopback(), 30.0, ["the loop has not turned for 90 s"])
    assert server.requests == []


@pytest.mark.parametrize(("answer", "reason"), [(reply(404), Reason.NOT_FOUND), (hang, Reason.TIMEOUT)])
def test_a_beat_that_was_not_heard_is_an_error_without_the_address(
    server: Server, answer: object, reason: Reason
) -> None:
    server.answers = [answer]  # type: ignore[list-item]  # one of the list
    with pytest.raises(SendError) as caught:
        beat(config(f"{server.address}/{CANARY}"), on_loopback(), 0.5 if reason is Reason.TIMEOUT else 30.0, ())
    assert caught.value.reason is reason
    assert CANARY not in str(caught.value)


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("nowhere")
    with pytest.raises(ValidationError, match="not an absolute"):
        HeartbeatConfig.model_validate({"url": {"file": tmp_path / "url"}})
