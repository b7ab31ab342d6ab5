"""The demo's pager takes what Tocsin's own webhook sends, once, and nothing from anybody else."""

import asyncio
import base64
import contextlib
import http.client
import time
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.receiver import SendError
from alerting.webhook import WebhookConfig, sign, signing_key
from monitor.demo.receiver import MAX_BYTES, TOLERANCE, Message, Receiver, SignatureError, verify
from tests.kit.incidents import opened, resolved
from tests.kit.supplies import on_loopback

SECRET = "whsec_" + base64.b64encode(b"a key that only two know").decode()
NOW = 1_772_420_800.0


def signed(body: bytes, *, identity: str = "m1", secret: str = SECRET, at: float = NOW) -> dict[str, str]:
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": sign(signing_key(secret), identity, int(at), body),
    }


class Pager:
    def __init__(self) -> None:
        self.shown: list[Message] = []
        self.receiver = Receiver(0, SECRET, self.shown.append, lambda: NOW)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.receiver.port}/"

    def post(self, body: bytes, headers: dict[str, str]) -> int:
        return httpx.post(self.url, content=body, headers=headers, trust_env=False).status_code


@pytest.fixture
def pager() -> Iterator[Pager]:
    pager = Pager()
    with pager.receiver:
        yield pager


def test_what_the_webhook_receiver_of_tocsin_sends_is_kept_and_shown_once(pager: Pager) -> None:
    async def send(secret: str) -> None:
        config = WebhookConfig.model_validate(
            {"kind": "webhook", "name": "demo", "url": pager.url, "secret": {"value": secret}}
        )
        sender = config.connect(on_loopback(clock=lambda: NOW))
        try:
            for transition in (opened(), opened(), resolved()):
                await sender.send(transition)
        finally:
            await sender.close()

    asyncio.run(send(SECRET))
    assert [message.body["tocsin"]["incident"]["status"] for message in pager.shown] == ["firing", "resolved"]
    assert pager.receiver.messages == tuple(pager.shown)
    assert [message.received_at for message in pager.shown] == [NOW, NOW]

    with pytest.raises(SendError):
        asyncio.run(send("whsec_" + base64.b64encode(b"another key").decode()))
    assert pager.receiver.refused == 1
    assert len(pager.shown) == 2


def test_what_is_not_a_json_object_is_refused(pager: Pager) -> None:
    for body in (b"[1]", b"{", b"\xff", b""):
        assert pager.post(body, signed(body)) == 400
    assert pager.receiver.messages == ()


def test_what_is_too_large_is_refused_unread(pager: Pager) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", pager.receiver.port, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/")
        connection.putheader("content-length", str(MAX_BYTES + 1))
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_a_signature_holds_for_the_one_message_it_was_made_for() -> None:
    assert verify(SECRET, signed(b"{}"), b"{}", NOW) == "m1"
    two = signed(b"{}")
    two["webhook-signature"] = f"v1,{base64.b64encode(b'the old one').decode()} {two['webhook-signature']}"
    assert verify(SECRET, two, b"{}", NOW) == "m1"


@given(body=st.binary(max_size=200), other=st.binary(max_size=200), identity=st.text("abc-1", min_size=1))
def test_no_other_body_or_id_passes(body: bytes, other: bytes, identity: str) -> None:
    headers = signed(body, identity="right")
    assert verify(SECRET, headers, body, NOW) == "right"
    if other != body:
        with pytest.raises(SignatureError):
            verify(SECRET, headers, other, NOW)
    with pytest.raises(SignatureError):
        verify(SECRET, {**headers, "webhook-id": identity}, body, NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_every_header_is_needed(name: str) -> None:
    headers = signed(b"{}")
    del headers[name]
    with pytest.raises(SignatureError, match=name):
        verify(SECRET, headers, b"{}", NOW)


@pytest.mark.parametrize("at", [NOW - TOLERANCE - 1, NOW + TOLERANCE + 1])
def test_an_old_message_is_not_taken_again(at: float) -> None:
    with pytest.raises(SignatureError, match="timestamp"):
        verify(SECRET, signed(b"{}", at=at), b"{}", NOW)


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "1e9", "١٧٧٢٤٢٠٨٠٠"])
def test_a_timestamp_is_a_number_of_seconds(stamp: str) -> None:
    with pytest.raises(SignatureError, match="timestamp"):
        verify(SECRET, {**signed(b"{}"), "webhook-timestamp": stamp}, b"{}", time.time())
