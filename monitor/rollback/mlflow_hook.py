"""What MLflow tells of an alias by itself: its webhooks, read and verified.

https://mlflow.org/docs/latest/ml/webhooks/; tried against MLflow 3.17. The headers are X-MLflow-Delivery-Id,
X-MLflow-Timestamp and X-MLflow-Signature, `v1,` and the HMAC-SHA256 in base64 over id, timestamp and body, joined by
dots. A message is a reason to look and no more: where the alias is, the registry itself is asked.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated

import msgspec

MAX_AGE = 300.0
"""Seconds that a message may be old, or ahead of this clock: an older one may be a copy of one that was heard."""
ENTITY = "model_version_alias"

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class HookError(Exception):
    """A message that is not to be believed, or not understood; one sentence without the secret."""


class AliasChange(msgspec.Struct, frozen=True):
    """An alias was set or removed."""

    name: _Name
    """The model."""
    alias: _Name


class _Message(msgspec.Struct, frozen=True):
    entity: str
    data: msgspec.Raw


def verify(secret: str, headers: Mapping[str, str], raw: bytes, now: float) -> None:
    """Whether MLflow has sent this, lately.

    Args:
        secret: The webhook's, as MLflow has it.
        headers: Of the request; names in any case.
        raw: Its body.
        now: Epoch seconds.

    Raises:
        HookError: It has not, or one cannot know.
    """
    known = {name.lower(): value for name, value in headers.items()}
    delivery, at, signature = (known.get(f"x-mlflow-{name}", "") for name in ("delivery-id", "timestamp", "signature"))
    signed = hmac.new(secret.encode(), f"{delivery}.{at}.".encode() + raw, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(signed)
    if not secret or not hmac.compare_digest(expected, signature.encode()):
        raise HookError("the signature is not that of the secret in `registry.webhook_secret`")
    if not at.isascii() or not at.isdigit() or abs(now - float(at)) > MAX_AGE:
        raise HookError("the message is too old, or a clock is wrong")


def read(raw: bytes) -> AliasChange | None:
    """What a verified message says of an alias; None if it is about something else.

    Raises:
        HookError: It is not MLflow's.
    """
    try:
        message = msgspec.json.decode(raw, type=_Message)
        return msgspec.json.decode(message.data, type=AliasChange) if message.entity == ENTITY else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HookError("the message is not one of MLflow's") from None
