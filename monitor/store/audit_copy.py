"""The audit log as it is copied to another place, line by line, and what can be told from such a copy.

A line is JSON: an entry, or a head that was signed. Lines may come more than once and, where several replicas copy, out
of order; what counts is that all entries are there and that no two say something else under one number.
"""

import base64
import binascii
from collections.abc import Iterable

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from monitor.store.audit import Broken, Entry, Head, SignedHead, first_broken, unsigned


class _EntryLine(msgspec.Struct, frozen=True, tag_field="kind", tag="entry"):
    number: int
    previous: str
    document: str
    digest: str


class _HeadLine(msgspec.Struct, frozen=True, tag_field="kind", tag="head"):
    number: int
    digest: str
    signature: str
    """In base64."""


_LINE: msgspec.json.Decoder[_EntryLine | _HeadLine] = msgspec.json.Decoder(_EntryLine | _HeadLine)


class CopyError(Exception):
    """A line is not of a copy of the audit log; which one, and not what it says."""


def entry_line(entry: Entry) -> bytes:
    """An entry as a line."""
    return msgspec.json.encode(_EntryLine(entry.number, entry.previous, entry.document, entry.digest))


def head_line(signed: SignedHead) -> bytes:
    """A signed head as a line."""
    signature = base64.b64encode(signed.signature).decode()
    return msgspec.json.encode(_HeadLine(signed.head.number, signed.head.digest, signature))


def verify(lines: Iterable[bytes], key: Ed25519PublicKey | None) -> Broken | Head:
    """Look through a whole copy.

    Args:
        lines: all of them, in any order.
        key: what heads must be signed with; None to take them unsigned.

    Returns:
        The first break, or the head of the intact chain.

    Raises:
        CopyError: a line is something else.
    """
    entries: dict[int, Entry] = {}
    heads: list[SignedHead] = []
    for number, raw in enumerate(lines, 1):
        found = _read(raw, number)
        if isinstance(found, SignedHead):
            heads.append(found)
        elif entries.setdefault(found.number, found) != found:
            return Broken(found.number, "it is there twice, and says something else")
    forged = None if key is None else unsigned(heads, key)
    if forged is not None:
        return Broken(forged.head.number, "its head is not signed with this key")
    for each in heads:
        known = entries.get(each.head.number)
        if known is not None and known.digest != each.head.digest:
            return Broken(each.head.number, "it is another one than the head that was signed")
    return first_broken((entries[number] for number in sorted(entries)), [each.head for each in heads])


def _read(raw: bytes, number: int) -> Entry | SignedHead:
    try:
        line = _LINE.decode(raw)
        if isinstance(line, _HeadLine):
            return SignedHead(Head(line.number, line.digest), base64.b64decode(line.signature, validate=True))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error):
        raise CopyError(f"line {number} is not of the audit log") from None
    return Entry(line.number, line.previous, line.document, line.digest)
