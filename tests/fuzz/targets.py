"""What is fuzzed: each target takes any bytes, and fails where something unforeseen is done with them.

A refusal has to be the one that is documented, and what is accepted has to be what the rest relies on.
"""

import base64
import math
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from alerting.network import Network
from monitor.detection.baseline import BaselineError
from monitor.detection.baseline import load as load_baseline
from monitor.http.issuer import Issuer, IssuerConfig, NoKeyError, NotBelievedError
from monitor.intake.decode import EARLIEST, LATEST, DecodeError, Decoder
from monitor.intake.events import Label
from monitor.intake.posted import CLOUD_EVENT, CLOUD_EVENTS, JSON, MAX_EVENTS, PostedError
from monitor.intake.posted import posted as read_posted
from monitor.intake.source import Partition, Record
from monitor.rollback.mlflow_hook import HookError
from monitor.rollback.mlflow_hook import read as read_webhook
from monitor.service.config import ConfigError, Problem
from monitor.service.config import load as load_config
from monitor.store.audit_copy import CopyError
from monitor.store.audit_copy import verify as verify_copy

MAX_DETAIL = 400
"""Characters of the longest reason for a refusal."""

_DECODER = Decoder()
_ISSUER = Issuer(
    IssuerConfig(name="sso", issuer="https://sso.example.com", audience="tocsin"), Network(), timer=lambda: 0.0
)
_ISSUER._keys = {("k", "EdDSA"): Ed25519PrivateKey.generate().public_key()}
_ISSUER._fetched = 0.0
_HERE = Partition("events", 0)
_FOLDER = tempfile.TemporaryDirectory(prefix="tocsin-fuzzed-")


def record(raw: bytes) -> None:
    """A record of a topic, in the native format."""
    refusal = None
    try:
        event = _DECODER.decode(Record(_HERE, 0, raw, 0.0))
    except DecodeError as error:
        refusal = error.detail
    if refusal is not None:
        assert len(refusal) <= MAX_DETAIL
        assert refusal.isprintable()
        return
    assert EARLIEST <= event.epoch < LATEST
    assert event.event_id.isprintable()
    if not isinstance(event, Label):
        numbers = [value for value in event.features.values() if isinstance(value, float)]
        assert all(map(math.isfinite, numbers))
    assert _DECODER.decode(Record(_HERE, 0, msgspec.json.encode(event), 0.0)).event_id == event.event_id


def config(raw: bytes) -> None:
    """A configuration file."""
    problems: tuple[Problem, ...] | None = None
    try:
        load_config(_written(raw), {"NAME": "a: [value"})
    except ConfigError as error:
        problems = error.problems
    assert problems is None or problems
    assert all(problem.place and problem.message for problem in problems or ())


def baseline(raw: bytes) -> None:
    """A baseline file."""
    with suppress(BaselineError):
        load_baseline(_written(raw))


def posted(raw: bytes) -> None:
    """A body that was posted over HTTP, as each of the three media types."""
    for kind in (JSON, CLOUD_EVENT, CLOUD_EVENTS):
        records, refusal = [], ""
        try:
            records = read_posted(kind, raw, "events", 1.77e9)
        except PostedError as error:
            refusal = str(error)
        assert 0 < len(records) <= MAX_EVENTS or refusal
        assert len(refusal) <= MAX_DETAIL
        assert refusal.isprintable()
        for each in records:
            assert _DECODER.decode(Record(_HERE, 0, each.value, 0.0)) == each.event


def webhook(raw: bytes) -> None:
    """The body of a message of the registry."""
    with suppress(HookError):
        read_webhook(raw)


def token(raw: bytes) -> None:
    """A token of an issuer: header, claims and signature, a line each, as they are before they are encoded."""
    head, claims, signature = ([*raw.split(b"\n", 2), b"", b""])[:3]
    parts = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (head, claims, signature)]
    with suppress(NotBelievedError, NoKeyError):
        assert _ISSUER.claims(".".join(parts)) is None  # nobody can make a signature here


def copy(raw: bytes) -> None:
    """A copy of the audit log."""
    with suppress(CopyError):
        verify_copy(raw.splitlines(), None)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "record": record,
    "config": config,
    "baseline": baseline,
    "posted": posted,
    "webhook": webhook,
    "token": token,
    "copy": copy,
}


def _written(raw: bytes) -> Path:
    path = Path(_FOLDER.name) / "file"
    path.write_bytes(raw)
    return path
