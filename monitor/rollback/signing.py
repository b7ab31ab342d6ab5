"""Signatures on known-good marks: Ed25519 over model, version, time and digest.

A registry's tags can be written by whoever has its token. A signature can be made only by whoever has the key, so a
stolen token alone makes no version eligible.
"""

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

if TYPE_CHECKING:
    from monitor.rollback.registry import ModelVersion


def message(model: str, version: str, at: float, digest: str | None) -> bytes:
    """What is signed: five lines; the time is ISO 8601 in UTC as registries keep it."""
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    return "\n".join(("tocsin known-good 1", model, version, moment, digest or "-")).encode()


def sign(key: Ed25519PrivateKey, model: str, version: str, at: float, digest: str | None) -> str:
    """The signature of a mark, in base64."""
    return base64.b64encode(key.sign(message(model, version, at, digest))).decode()


def is_signed(key: Ed25519PublicKey, version: "ModelVersion") -> bool:
    """Whether the version's known-good mark has a signature of this key's owner."""
    if version.known_good_at is None or version.signature is None:
        return False
    told = message(version.model, version.version, version.known_good_at, version.digest)
    try:
        key.verify(base64.b64decode(version.signature, validate=True), told)
    except (InvalidSignature, ValueError):
        return False
    return True
