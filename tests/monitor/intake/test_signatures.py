"""Records are believed only if a producer who is known has signed them."""

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.intake.confluent_source import ConfluentSource
from monitor.intake.decode import DecodeError, DecodeReason
from monitor.intake.events import Label
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.kafka_source import KafkaSource
from monitor.intake.signatures import KEY, PRODUCER, SIGNATURE, SignaturesConfig, SignedDecoder, message, sign
from monitor.intake.source import EventSource, Partition, Record
from tests.kit.brokers import Broker

SHARED = "c4n4ry-shared-secret-of-32-characters"
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"0" * 32)
VALUE = json.dumps({"kind": "label", "event_id": "c4n4ry", "ts": 1_772_500_000.0, "label": "ham"}).encode()
KEYS: dict[str, Any] = {"ed": PRIVATE, "hm": SHARED.encode()}


@pytest.fixture(scope="module")
def public_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("keys") / "public.pem", PRIVATE.public_key())


def written(path: Path, key: Any) -> Path:
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture(scope="module")
def settings(public_key: Path) -> dict[str, Any]:
    keys = [{"id": "ed", "public_key": public_key}, {"id": "hm", "secret": {"value": SHARED}}]
    return {"producers": [{"name": "models", "keys": keys}, {"name": "labels", "keys": keys[1:]}]}


@pytest.fixture(scope="module")
def decoder(settings: dict[str, Any]) -> SignedDecoder:
    return SignedDecoder(SignaturesConfig.model_validate(settings))


def record(value: bytes | None = VALUE, topic: str = "events", headers: Any = ()) -> Record:
    pairs = headers.items() if isinstance(headers, dict) else headers
    return Record(Partition(topic, 0), 1, value, 0.0, (("trace", b"1"), *pairs))


def refused(decoder: SignedDecoder, of: Record) -> DecodeReason:
    with pytest.raises(DecodeError) as error:
        decoder.decode(of)
    assert "c4n4ry" not in str(error.value)
    return error.value.reason


def test_what_is_signed_is_what_the_readme_says() -> None:
    assert message("models", "k1", "events", b"{}\n") == b"tocsin event 1\nmodels\nk1\nevents\n{}\n"


@pytest.mark.parametrize("key", KEYS)
def test_a_signed_record_is_an_event(decoder: SignedDecoder, key: str) -> None:
    event = decoder.decode(record(headers=sign(KEYS[key], "models", key, "events", VALUE)))
    assert isinstance(event, Label)
    assert event.event_id == "c4n4ry"


def test_a_record_without_a_signature_is_refused_once_that_is_wanted(
    decoder: SignedDecoder, settings: dict[str, Any]
) -> None:
    assert refused(decoder, record()) is DecodeReason.UNSIGNED
    patient = SignedDecoder(SignaturesConfig.model_validate(settings | {"required": False}))
    assert isinstance(patient.decode(record()), Label)
    assert refused(patient, record(headers={SIGNATURE: b"AAAA"})) is DecodeReason.FORGED


FORGERIES: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "another producer, who has another key": lambda good: good | {PRODUCER: b"labels"},
    "nobody": lambda good: good | {PRODUCER: b"nobody"},
    "another key": lambda good: good | {KEY: b"hm"},
    "a key that is gone": lambda good: good | {KEY: b"old"},
    "no signature": lambda good: good | {SIGNATURE: b""},
    "not base64": lambda good: good | {SIGNATURE: b"\xff c4n4ry"},
    "too short": lambda good: good | {SIGNATURE: b"AAAA"},
    "without the key": lambda good: {name: text for name, text in good.items() if name != KEY},
    "only the producer": lambda good: {PRODUCER: good[PRODUCER]},
    "one header twice": lambda good: [*good.items(), (SIGNATURE, good[SIGNATURE])],
    "two producers": lambda good: [(PRODUCER, b"labels"), *good.items()],
    "with the public key as a secret": lambda good: (
        good | sign(PRIVATE.public_key().public_bytes_raw(), "models", "ed", "events", VALUE)
    ),
    "of another topic": lambda _: sign(PRIVATE, "models", "ed", "other", VALUE),
    "of another value": lambda _: sign(PRIVATE, "models", "ed", "events", VALUE + b" "),
    "by another producer's key": lambda _: sign(SHARED.encode(), "models", "ed", "events", VALUE),
    "for another producer": lambda _: sign(SHARED.encode(), "labels", "hm", "events", VALUE) | {PRODUCER: b"models"},
    "by somebody": lambda _: sign(Ed25519PrivateKey.generate(), "models", "ed", "events", VALUE),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_record_is_no_event(decoder: SignedDecoder, kind: str) -> None:
    good = sign(PRIVATE, "models", "ed", "events", VALUE)
    assert refused(decoder, record(headers=FORGERIES[kind](good))) is DecodeReason.FORGED


@bounds(deadline=None)
@given(value=st.binary(max_size=60), place=st.integers(0, 10_000), key=st.sampled_from(list(KEYS)))
def test_whatever_is_changed_in_a_record_is_noticed(decoder: SignedDecoder, value: bytes, place: int, key: str) -> None:
    headers = sign(KEYS[key], "models", key, "events", value)
    signed = refused(decoder, record(value, headers=headers))  # signed, and still no event
    assert signed not in (DecodeReason.FORGED, DecodeReason.UNSIGNED)
    changed = bytearray(value or b"x")
    changed[place % len(changed)] ^= 1 << place % 8
    assert refused(decoder, record(bytes(changed), headers=headers)) is DecodeReason.FORGED


def test_a_tombstone_stays_one_and_a_key_takes_the_place_of_another(tmp_path: Path, public_key: Path) -> None:
    new = Ed25519PrivateKey.generate()
    keys = [
        {"id": "old", "public_key": public_key},
        {"id": "new", "public_key": written(tmp_path / "n", new.public_key())},
    ]
    both = SignedDecoder(SignaturesConfig.model_validate({"producers": [{"name": "m", "keys": keys}]}))
    assert refused(both, record(None)) is DecodeReason.TOMBSTONE
    old_signed, new_signed = (sign(key, "m", name, "t", VALUE) for key, name in ((PRIVATE, "old"), (new, "new")))
    both.decode(record(topic="t", headers=old_signed))
    both.decode(record(topic="t", headers=new_signed))
    later = SignedDecoder(SignaturesConfig.model_validate({"producers": [{"name": "m", "keys": keys[1:]}]}))
    later.decode(record(topic="t", headers=new_signed))
    assert refused(later, record(topic="t", headers=old_signed)) is DecodeReason.FORGED


@pytest.mark.parametrize("client", [KafkaSource, ConfluentSource])
def test_signatures_come_through_kafka(
    embedded_broker: Broker, client: Callable[[KafkaConfig], EventSource], decoder: SignedDecoder
) -> None:
    topic = f"signed-{uuid.uuid4().hex}"
    embedded_broker.create_topic(topic)
    for headers in (sign(PRIVATE, "models", "ed", topic, VALUE), {}, sign(PRIVATE, "models", "ed", "other", VALUE)):
        embedded_broker.write(topic, [VALUE], headers=list(headers.items()))
    source = client(embedded_broker.config(topic))
    try:
        source.start(lambda partitions: dict.fromkeys(partitions, 0))
        records: list[Record] = []
        deadline = time.monotonic() + 60
        while len(records) < 3:
            assert time.monotonic() < deadline
            records += source.poll(0.2)
    finally:
        source.close()
    assert isinstance(decoder.decode(records[0]), Label)
    assert refused(decoder, records[1]) is DecodeReason.UNSIGNED
    assert refused(decoder, records[2]) is DecodeReason.FORGED


def test_keys_that_are_none_are_refused_and_not_quoted(tmp_path: Path, public_key: Path) -> None:
    (tmp_path / "nonsense").write_text("c4n4ry")
    other = written(tmp_path / "ec", generate_private_key(SECP256R1()).public_key())
    good = {"id": "k", "public_key": public_key}
    wrong: list[list[dict[str, Any]]] = [
        [],
        [{"id": "k"}],
        [good | {"secret": {"value": SHARED}}],
        [{"id": "k", "public_key": tmp_path / "nonsense"}],
        [{"id": "k", "public_key": other}],
        [{"id": "k", "public_key": tmp_path}],
        [{"id": "k", "secret": {"value": "c4n4ry-short"}}],
        [{"id": "a\nb", "public_key": public_key}],
        [good, good],
    ]
    for keys in wrong:
        with pytest.raises(ValidationError) as error:
            SignaturesConfig.model_validate({"producers": [{"name": "m", "keys": keys}]})
        assert "c4n4ry" not in str(error.value)
    with pytest.raises(ValidationError, match="more than one producer is called m"):
        SignaturesConfig.model_validate({"producers": [{"name": "m", "keys": [good]}] * 2})
