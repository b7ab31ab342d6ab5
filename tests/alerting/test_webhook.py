"""The generic webhook: Alertmanager's payload, Standard Webhooks' signature."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from pydantic import ValidationError

from alerting.incident import Severity, Transition, Verdict
from alerting.message import Words
from alerting.receiver import Reason, SendError
from alerting.webhook import WebhookConfig, payload, sign, signing_key
from tests.kit import golden
from tests.kit.certificates import serving
from tests.kit.http_server import Server
from tests.kit.incidents import opened, resolved, transitions
from tests.kit.payloads import WORST, check_webhook
from tests.kit.supplies import on_loopback

GOLDEN = Path(__file__).parent / "golden"
NOW = 1_772_420_800.9


def config(address: str, **more: object) -> WebhookConfig:
    return WebhookConfig.model_validate({"kind": "webhook", "name": "hook", "url": address, **more})


def send(server: Server, *transitions: Transition, **more: object) -> None:
    async def scenario() -> None:
        receiver = config(server.address, **more).connect(
            on_loopback(external_url="https://tocsin.example/", clock=lambda: NOW)
        )
        for transition in transitions:
            await receiver.send(transition)
        await receiver.close()

    asyncio.run(scenario())


def hmac_sha256(key: bytes, text: bytes) -> bytes:
    """HMAC as RFC 2104 writes it, without the library that the code under test uses."""
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + text).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).digest()


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode(), b"0123456789abcdef01234567"),
        ("plain text, ünd more of it than a block of SHA-256 can hold in its sixty-four bytes", None),
    ],
)
def test_a_receiver_can_verify_the_signature(server: Server, secret: str, key: bytes | None) -> None:
    transition = opened()
    send(server, transition, secret={"value": secret})
    (request,) = server.requests
    assert request.headers["webhook-id"] == transition.id
    assert request.headers["webhook-timestamp"] == str(int(NOW))
    version, signature = request.headers["webhook-signature"].split(",")
    signed = f"{transition.id}.{int(NOW)}.".encode() + request.body
    assert version == "v1"
    assert base64.b64decode(signature, validate=True) == hmac_sha256(key or secret.encode(), signed)


def test_the_signature_of_the_specification() -> None:
    """The example of the Standard Webhooks libraries' own tests."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_repeat_has_the_same_id(server: Server) -> None:
    send(server, opened(), opened(), resolved(), secret={"value": "k"})
    ids = [request.headers["webhook-id"] for request in server.requests]
    assert ids == [opened().id, opened().id, resolved().id]


def test_without_a_secret_nothing_is_signed(server: Server) -> None:
    send(server, opened())
    assert "webhook-signature" not in server.requests[0].headers
    assert server.requests[0].headers["webhook-id"] == opened().id


def test_a_password_in_the_address_is_sent_as_basic_auth(server: Server) -> None:
    server_address = server.address.replace("http://", "http://user:pass@")

    async def scenario() -> None:
        receiver = config(server_address).connect(on_loopback())
        await receiver.send(opened())
        await receiver.close()

    asyncio.run(scenario())
    assert server.requests[0].headers["authorization"] == "Basic " + base64.b64encode(b"user:pass").decode()


def test_a_certificate_is_verified(make_server: Callable[..., Server], tmp_path: Path) -> None:
    tls, authority = serving(tmp_path)
    server = make_server(tls)
    address = server.address.replace("http://", "https://")

    async def send_with(**more: object) -> None:
        receiver = config(address, **more).connect(on_loopback())
        try:
            await receiver.send(opened())
        finally:
            await receiver.close()

    with pytest.raises(SendError, match="certificate could not be verified") as caught:
        asyncio.run(send_with())
    assert (caught.value.reason, caught.value.passing) == (Reason.NETWORK, True)
    assert server.requests == []
    asyncio.run(send_with(ca_file=authority))
    assert len(server.requests) == 1


def test_a_secret_that_breaks_later_is_no_reason_to_send_unsigned(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("k")
    receiver = config(server.address, secret={"file": path}).connect(on_loopback())
    path.write_text("whsec_§§")

    async def scenario() -> None:
        with pytest.raises(SendError) as caught:
            await receiver.send(opened())
        assert (caught.value.reason, caught.value.passing) == (Reason.SETTINGS, True)
        await receiver.close()

    asyncio.run(scenario())
    assert server.requests == []


@pytest.mark.parametrize(("name", "transition"), [("opened", opened()), ("resolved", resolved())])
def test_the_payload(name: str, transition: Transition) -> None:
    message = payload(transition, Words(external_url="https://tocsin.example/"), receiver="hook")
    # The transition itself is compared field by field in the round trip below.
    assert message.pop("tocsin") == msgspec.to_builtins(transition)
    golden.check(GOLDEN / f"webhook-{name}.json", message)


def test_an_incident_is_one_alert_from_its_first_to_its_last_step() -> None:
    steps = [
        opened(),
        opened(2, severity=Severity.WARNING, verdict=Verdict.PERFORMANCE, updated_at=NOW),
        resolved(3),
    ]
    messages = [payload(step, Words(), receiver="hook") for step in steps]
    assert len({(m["groupKey"], *(m["alerts"][0][k] for k in ("fingerprint", "startsAt"))) for m in messages}) == 1  # type: ignore[index]  # JSON
    assert [m["status"] for m in messages] == ["firing", "firing", "resolved"]


@settings(max_examples=200, deadline=None)
@given(transitions())
@example(WORST)
def test_any_incident_arrives_whole(transition: Transition) -> None:
    check_webhook(transition)


def test_a_program_can_read_the_transition_back() -> None:
    body = msgspec.json.encode(payload(resolved(), Words(), receiver="hook"))
    assert msgspec.convert(json.loads(body)["tocsin"], Transition) == resolved()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"secret": {"value": ""}}, "secret"),
        ({"secret": {"value": "whsec_"}}, "empty"),
        ({"secret": {"value": "whsec_no base64"}}, "not valid base64 after whsec_"),
        ({"ca_file": "/nowhere/ca.pem"}, "no such file: /nowhere/ca.pem"),
        ({"url": "ftp://x/"}, "not an absolute"),
    ],
)
def test_wrong_settings_are_refused_at_the_start(more: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config("http://127.0.0.1/", **more)
    assert words in str(caught.value)
