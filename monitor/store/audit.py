"""The audit log as mathematics: acts become entries, each of which names the one before by its hash.

Whoever changes, removes or moves an entry breaks every hash after it. Whoever cuts off the end leaves a shorter chain
that is intact; so heads are signed and logged, and a head that was seen elsewhere can be held against the chain.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from alerting.incident import Transition
from monitor.rollback.action import Action

GENESIS = "0" * 64
"""The digest before the first entry."""
TOCSIN = "tocsin"
"""The actor where no person was."""


class AuditError(Exception):
    """A key or a head cannot be used; one clear line, without the key."""


class Act(msgspec.Struct, frozen=True):
    """Something that changed what Tocsin does, or what it thinks of a model."""

    at: float
    """Epoch seconds of the wall clock."""
    actor: str
    verb: str
    """What was done to what, such as `incident.opened`."""
    subject: str
    """The id of what it was done to."""
    model: str = ""
    detail: str = ""
    """One sentence for people."""


class Entry(msgspec.Struct, frozen=True):
    """An act in its place in the chain."""

    number: int
    """From 1 on, without gaps."""
    previous: str
    """The digest of the entry before."""
    document: str
    """The act as JSON, in the very characters that the digest is over."""
    digest: str
    """SHA-256 over the number, the digest before and the document, in hexadecimal."""

    @property
    def act(self) -> Act:
        """What was done; if the document is not an act any more, an act by nobody that says so."""
        try:
            return msgspec.json.decode(self.document, type=Act)
        except msgspec.DecodeError:
            return Act(0.0, "", "(unreadable)", "", detail="this entry has been changed")


class Head(msgspec.Struct, frozen=True):
    """The end of the chain at some moment."""

    number: int = 0
    digest: str = GENESIS

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


class SignedHead(msgspec.Struct, frozen=True):
    """A head that somebody with the key has vouched for."""

    head: Head
    signature: bytes


class Broken(msgspec.Struct, frozen=True):
    """Where the chain is broken: the first entry that is not what it was, or not where it was."""

    number: int
    why: str


def chained(acts: Iterable[Act], head: Head) -> Iterator[Entry]:
    """The acts as entries after `head`."""
    number, previous = head.number, head.digest
    for act in acts:
        number += 1
        document = msgspec.json.encode(act, order="deterministic").decode()
        digest = _digest(number, previous, document)
        yield Entry(number, previous, document, digest)
        previous = digest


def first_broken(entries: Iterable[Entry], heads: Iterable[Head]) -> Broken | Head:
    """Look through a whole chain, in the order of its numbers.

    Args:
        entries: all of it, from number 1 on.
        heads: what was said of it before; each has to be in it.

    Returns:
        The first break, or the head of the intact chain.
    """
    wanted = {head.number: head.digest for head in heads if head.number}
    last = Head()
    for entry in entries:
        if entry.number != last.number + 1:
            return Broken(last.number + 1, "it is missing")
        if entry.previous != last.digest:
            return Broken(entry.number, "it does not follow the one before")
        if entry.digest != _digest(entry.number, entry.previous, entry.document):
            return Broken(entry.number, "it has been changed")
        if wanted.pop(entry.number, entry.digest) != entry.digest:
            return Broken(entry.number, "it is another one than the head that was seen before")
        last = Head(entry.number, entry.digest)
    if wanted:
        return Broken(last.number + 1, f"it is missing, and so is all up to entry {max(wanted)}")
    return last


def of_transition(step: Transition, now: float) -> Act:
    """A step in an incident's life."""
    incident = step.incident
    who = incident.acknowledged_by if step.change == "acknowledged" else incident.resolved_by
    sure = "" if incident.confidence is None else f", {incident.confidence:.0%} sure"
    detail = f"{incident.verdict} of version {incident.version}, {incident.severity}, {incident.status}{sure}"
    return Act(now, who or TOCSIN, f"incident.{step.change}", incident.id, incident.model, detail)


def of_action(before: Action | None, after: Action) -> list[Act]:
    """A step of a rollback, as one act; none if there is nothing new for people in it."""
    told = (after.state, after.to_version, after.reason, after.approvals)
    if before is not None and told == (before.state, before.to_version, before.reason, before.approvals):
        return []
    actor = TOCSIN
    if after.denied_by is not None:
        actor = after.denied_by
    elif after.approvals and after.approvals != (before.approvals if before is not None else ()):
        actor = after.approvals[-1]
    detail = f"{after.from_version} -> {after.to_version or '?'}. {after.reason}".strip()
    return [Act(after.updated_at, actor, f"rollback.{after.state}", after.incident, after.model, detail)]


def read_key(pem: str) -> Ed25519PrivateKey:
    """The private key that heads are signed with. Raises AuditError."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise AuditError("not a private key in PEM without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditError("not an Ed25519 key; `openssl genpkey -algorithm ed25519` makes one")
    return key


def read_public_key(pem: str) -> Ed25519PublicKey:
    """The public key of whoever signs heads. Raises AuditError."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError):
        raise AuditError("not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise AuditError("not an Ed25519 key")
    return key


def sign(head: Head, key: Ed25519PrivateKey) -> SignedHead:
    """Vouch for a head."""
    return SignedHead(head, key.sign(_signed(head)))


def unsigned(heads: Sequence[SignedHead], key: Ed25519PublicKey) -> SignedHead | None:
    """The first of these that the key has not signed."""
    for signed in heads:
        try:
            key.verify(signed.signature, _signed(signed.head))
        except InvalidSignature:
            return signed
    return None


def parse_head(text: str) -> Head:
    """Read `NUMBER:DIGEST`, as it is logged. Raises AuditError."""
    number, _, digest = text.partition(":")
    if not (number.isascii() and number.isdigit() and len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
        raise AuditError("a head is NUMBER:DIGEST, as the log has it")
    return Head(int(number), digest)


def _digest(number: int, previous: str, document: str) -> str:
    return hashlib.sha256(f"{number}\n{previous}\n{document}".encode()).hexdigest()


def _signed(head: Head) -> bytes:
    # The first words keep a signature of one thing from being taken for one of another.
    return f"tocsin audit head\n{head.number}\n{head.digest}\n".encode()
