"""What is kept is encrypted, if there is a key: AES-256-GCM, bound to the place where it stands.

A sealed value is MAGIC, the length of the key's id (one byte), the id, a nonce of 12 bytes, and then the ciphertext
with its tag (NIST SP 800-38D). Table, key of the row and all that stands before the ciphertext are authenticated with
it: a value that was put into another row is not opened. Nonces are random, which is good for 2^32 values with one key.
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import StringConstraints, field_validator

from alerting.section import Secret, Section, checked

MAGIC = b"\xc1tocsin\x01"
"""What documents never begin with: msgpack does not use the first byte."""
_PLAIN = MAGIC + b"\0"
"""Before a plain value that begins like a sealed one: a key's id is never empty."""
KEY_BYTES, NONCE_BYTES = 32, 12


class VaultError(Exception):
    """A value cannot be opened; one clause that says why, and nothing of the value."""


class StoreKey(Section):
    """A key that what is stored is encrypted with."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """Stands beside each value, so it must never be given to another key."""
    key: Secret
    """32 random bytes in base64, as from `openssl rand -base64 32`."""

    @field_validator("key")
    @classmethod
    def _is_a_key(cls, key: Secret) -> Secret:
        return checked(key, _bytes)


class Vault:
    """Seals with the first key, opens with any. Without a key it seals nothing."""

    def __init__(self, keys: Mapping[str, bytes] = MappingProxyType({}), *, only_sealed: bool = False) -> None:
        """`keys` are 32 bytes each, by id; `only_sealed` refuses what is kept in plain."""
        self._only_sealed = only_sealed
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self._head = next((MAGIC + bytes([len(name)]) + name.encode() for name in keys), b"")

    def seal(self, place: bytes, plain: bytes) -> bytes:
        """The value as it is kept at this place."""
        if not self._head:
            return _PLAIN + plain if plain.startswith(MAGIC) else plain
        nonce = os.urandom(NONCE_BYTES)
        newest = next(iter(self._keys.values()))
        return self._head + nonce + newest.encrypt(nonce, plain, self._head + place)

    def open(self, place: bytes, kept: bytes, *, anything: bool = False) -> bytes:
        """The value that was sealed for this place; one that was never sealed is returned as it is.

        Args:
            place: where it stands.
            kept: the value as it is kept.
            anything: take what is in plain in any case.

        Raises:
            VaultError: its key is not known, it is not what was sealed for this place with that key, or is in plain.
        """
        if not kept.startswith(MAGIC) or kept.startswith(_PLAIN):
            if self._only_sealed and not anything:
                raise VaultError("it is not encrypted, and store.only_encrypted refuses that")
            return kept.removeprefix(_PLAIN)
        length = len(MAGIC) + 1
        ends = length + int.from_bytes(kept[len(MAGIC) : length], "big")
        name, rest = kept[length:ends].decode("ascii", "replace"), kept[ends:]
        key = self._keys.get(name)
        if key is None:
            raise VaultError(f"it is encrypted with the key {name!r}, which is not in store.keys")
        try:
            return key.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], kept[:ends] + place)
        except (InvalidTag, ValueError):
            raise VaultError(
                f"it was changed or moved, or {name!r} is not the key that it was encrypted with"
            ) from None


def vault(keys: Sequence[StoreKey], *, only_sealed: bool = False) -> Vault:
    """The vault with these keys, which are read now. Raises OSError or ValueError if a file has changed meanwhile."""
    return Vault({each.id: _bytes(each.key.reveal()) for each in keys}, only_sealed=only_sealed)


def _bytes(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"not {KEY_BYTES} bytes in base64; `openssl rand -base64 {KEY_BYTES}` makes a key")
    return key
