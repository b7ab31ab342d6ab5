"""A generic webhook: Alertmanager's payload, version 4, signed as Standard Webhooks prescribes.

Whatever accepts Alertmanager's webhook accepts this one; the key `tocsin` beside Alertmanager's own holds the
transition itself, for receivers that want to know more.

Formats: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config and
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
"""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path
from typing import Literal

import httpx
import msgspec
from pydantic import SecretStr, field_validator

from alerting.alert import NEVER, annotations, ended_at, labels, rfc3339
from alerting.incident import Transition
from alerting.message import Words, notice
from alerting.network import check_address
from alerting.post import client, post
from alerting.receiver import Receiver, ReceiverConfig, Supplies, current
from alerting.section import Secret, checked

_PREFIX = "whsec_"


class WebhookConfig(ReceiverConfig):
    """Any address that accepts Alertmanager's webhook."""

    kind: Literal["webhook"]
    url: SecretStr
    """The address; never shown, because many carry a token. `https://user:password@host/` sends basic auth."""
    secret: Secret | None = None
    """Signs every message: `whsec_` and base64 of the key, or the key itself as text. Unsigned without it."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust instead of the usual ones."""

    @field_validator("url")
    @classmethod
    def _url_is_an_address(cls, url: SecretStr) -> SecretStr:
        check_address(url.get_secret_value())
        return url

    @field_validator("ca_file")
    @classmethod
    def _ca_file_exists(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"no such file: {path}")
        return path

    @field_validator("secret")
    @classmethod
    def _secret_is_a_key(cls, secret: Secret | None) -> Secret | None:
        return None if secret is None else checked(secret, signing_key)

    def connect(self, supplies: Supplies) -> Receiver:
        """Make the receiver."""
        return WebhookReceiver(self, client(supplies.network, ca_file=self.ca_file), supplies)


class WebhookReceiver:
    """Posts to one address; any 2xx is a yes."""

    spacing = 0.0

    def __init__(self, config: WebhookConfig, http: httpx.AsyncClient, supplies: Supplies) -> None:
        self.name = config.name
        self._url = config.url
        self._secret = config.secret
        self._http = http
        self._words = supplies.words
        self._clock = supplies.clock

    async def send(self, transition: Transition, _receipt: str | None = None, /) -> None:
        """Return when the address has answered 2xx. Raises SendError."""
        body = msgspec.json.encode(payload(transition, self._words, receiver=self.name))
        now = self._clock()
        headers = self._headers(transition.id, int(now), body)
        (await post(self._http, self._url.get_secret_value(), body, headers=headers, now=now)).check()

    async def close(self) -> None:
        """Release connections."""
        await self._http.aclose()

    def _headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
        if self._secret is not None:
            key = current(self._secret, signing_key, "secret")
            headers["webhook-signature"] = sign(key, message_id, timestamp, body)
        return headers


def signing_key(secret: str) -> bytes:
    """The bytes of a key written as `whsec_` and base64, or as plain text.

    Raises:
        ValueError: It is empty or not base64; the message does not repeat it.
    """
    try:
        key = (
            base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
            if secret.startswith(_PREFIX)
            else secret.encode()
        )
    except binascii.Error:
        raise ValueError("not valid base64 after whsec_") from None
    if not key:
        raise ValueError("empty")
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def payload(transition: Transition, words: Words, *, receiver: str) -> dict[str, object]:
    """Alertmanager's payload with one alert, and the transition as `tocsin`.

    `groupKey`, `fingerprint` and `startsAt` stay the same for the whole life of an incident, so a receiver sees one
    alert fire and end; verdict and severity are labels that may change in between.
    """
    incident, content = transition.incident, notice(transition, words)
    end = ended_at(incident)
    status = "firing" if end is None else "resolved"  # Alertmanager knows no other
    alert_labels, alert_annotations = labels(incident, content.environment), annotations(content)
    url = words.external_url or ""
    return {
        "version": "4",
        "groupKey": f'{{}}:{{incident="{alert_labels["incident"]}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": {"incident": alert_labels["incident"]},
        "commonLabels": alert_labels,
        "commonAnnotations": alert_annotations,
        "externalURL": url,
        "alerts": [
            {
                "status": status,
                "labels": alert_labels,
                "annotations": alert_annotations,
                "startsAt": rfc3339(incident.opened_at),
                "endsAt": NEVER if end is None else rfc3339(end),
                "generatorURL": url,
                "fingerprint": hashlib.sha256(incident.id.encode("utf-8", "replace")).hexdigest()[:16],
            }
        ],
        "tocsin": msgspec.to_builtins(transition),
    }
