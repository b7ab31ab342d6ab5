"""Who has written a record: signatures in its headers, verified before anything in it is believed.

A producer signs the bytes that `message` gives, with Ed25519 or with HMAC-SHA256, and adds three headers:

    tocsin-producer     its name
    tocsin-key          the id of the key, so that keys can be changed one after the other
    tocsin-signature    the signature, in base64

Which of the two it is, is said by the key and never by the record.
"""

import base64
import binascii
import hmac
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import Field, FilePath, StringConstraints, field_validator, model_validator

from alerting.section import Secret, Section, checked
from monitor.intake.decode import DecodeError, Decoder, DecodeReason
from monitor.intake.events import Event
from monitor.intake.source import Record

PRODUCER, KEY, SIGNATURE = "tocsin-producer", "tocsin-key", "tocsin-signature"
MIN_SECRET = 32
"""Characters of a shared secret."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


def message(producer: str, key: str, topic: str, value: bytes) -> bytes:
    """What is signed: four lines, and then the value as it is. None of the four can have a line break in it.

    The topic is in it, so that a record cannot be moved to another one.
    """
    return f"tocsin event 1\n{producer}\n{key}\n{topic}\n".encode() + value


def sign(secret: Ed25519PrivateKey | bytes, producer: str, key: str, topic: str, value: bytes) -> dict[str, bytes]:
    """The headers of a record, made with a private key or with a shared secret."""
    told = message(producer, key, topic, value)
    made = hmac.digest(secret, told, "sha256") if isinstance(secret, bytes) else secret.sign(told)
    return {PRODUCER: producer.encode(), KEY: key.encode(), SIGNATURE: base64.b64encode(made)}


class ProducerKey(Section):
    """A key of a producer: exactly one of the two kinds."""

    id: Name
    """What the producer calls it."""
    public_key: FilePath | None = None
    """Ed25519, PEM: whoever reads it can sign nothing."""
    secret: Secret | None = None
    """For HMAC-SHA256: whoever can verify can sign as well."""

    @field_validator("public_key")
    @classmethod
    def _is_ed25519(cls, path: FilePath | None) -> FilePath | None:
        if path is not None:
            _public(path)
        return path

    @field_validator("secret")
    @classmethod
    def _is_long(cls, secret: Secret | None) -> Secret | None:
        def check(text: str) -> None:
            if len(text) < MIN_SECRET:
                raise ValueError(f"a shared secret has at least {MIN_SECRET} characters")

        return secret if secret is None else checked(secret, check)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.public_key is None) == (self.secret is None):
            raise ValueError("give exactly one of `public_key` and `secret`")
        return self

    def verifier(self) -> Callable[[bytes, bytes], bool]:
        """Whether a message has a signature by this key; it is read now."""
        if self.public_key is not None:
            return _by_ed25519(_public(self.public_key))
        return _by_hmac(b"" if self.secret is None else self.secret.reveal().encode())


class Producer(Section):
    """Somebody who writes events."""

    name: Name
    keys: Annotated[tuple[ProducerKey, ...], Field(min_length=1)]
    """Several while one takes the place of another."""

    @field_validator("keys")
    @classmethod
    def _are_different(cls, keys: tuple[ProducerKey, ...]) -> tuple[ProducerKey, ...]:
        _refuse_twice((key.id for key in keys), "key")
        return keys


class SignaturesConfig(Section):
    """Who may write events. Without a producer signatures are not looked at."""

    producers: tuple[Producer, ...] = ()
    required: bool = True
    """Whether records without a signature are refused, too. Until every producer signs they are not."""

    @field_validator("producers")
    @classmethod
    def _are_different(cls, producers: tuple[Producer, ...]) -> tuple[Producer, ...]:
        _refuse_twice((producer.name for producer in producers), "producer")
        return producers


class SignedDecoder(Decoder):
    """Decodes only what somebody who is known has signed."""

    def __init__(self, config: SignaturesConfig) -> None:
        """Reads the keys; the limits are the usual ones."""
        super().__init__()
        self._required = config.required
        self._keys = {
            (producer.name.encode(), key.id.encode()): (producer.name, key.id, key.verifier())
            for producer in config.producers
            for key in producer.keys
        }

    def _open(self, record: Record) -> Event:
        if record.value is not None:
            self._verify(record, record.value)
        return super()._open(record)

    def _verify(self, record: Record, value: bytes) -> None:
        said = [(name, text) for name, text in record.headers if name in (PRODUCER, KEY, SIGNATURE)]
        if not said:
            if self._required:
                raise DecodeError(DecodeReason.UNSIGNED, "no header has a signature")
            return
        headers = dict(said)
        if len(said) != 3 or len(headers) != 3:
            raise DecodeError(DecodeReason.FORGED, f"not one each of {PRODUCER}, {KEY} and {SIGNATURE}")
        known = self._keys.get((headers[PRODUCER], headers[KEY]))
        if known is None:
            raise DecodeError(DecodeReason.FORGED, "signed by a producer, or with a key, that is not known")
        producer, key, good = known
        try:
            signature = base64.b64decode(headers[SIGNATURE], validate=True)
        except (binascii.Error, ValueError):
            raise DecodeError(DecodeReason.FORGED, "the signature is not base64") from None
        if not good(message(producer, key, record.partition.topic, value), signature):
            raise DecodeError(DecodeReason.FORGED, f"not what {producer} has signed for this topic with {key}")


def _public(path: FilePath) -> Ed25519PublicKey:
    """Raises ValueError."""
    try:
        found = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ValueError(f"the key cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("not a public key in PEM") from None
    if not isinstance(found, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")  # noqa: TRY004 - what pydantic makes an error of
    return found


def _by_ed25519(key: Ed25519PublicKey) -> Callable[[bytes, bytes], bool]:
    def good(told: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, told)
        except InvalidSignature:
            return False
        return True

    return good


def _by_hmac(secret: bytes) -> Callable[[bytes, bytes], bool]:
    return lambda told, signature: hmac.compare_digest(hmac.digest(secret, told, "sha256"), signature)


def _refuse_twice(names: Iterable[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"more than one {what} is called {', '.join(twice)}")
