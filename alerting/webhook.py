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

from alerting.incident import Incident, Status, Transition
from alerting.message import clean, notice, utc
from alerting.post import check_address, client, post
from alerting.receiver import Clock, Reason, Receiver, ReceiverConfig, SendError, checked
from alerting.section import Secret

_PREFIX = "whsec_"
_MAX_LABEL = 256
_NEVER = "0001-01-01T00:00:00Z"  # What Alertmanager writes for a time that there is none of.


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

    def connect(self, *, external_url: str | None, clock: Clock) -> Receiver:
        """Make the receiver."""
        return WebhookReceiver(self, client(ca_file=self.ca_file), external_url=external_url, clock=clock)


class WebhookReceiver:
    """Posts to one address; any 2xx is a yes."""

    def __init__(
        self, config: WebhookConfig, http: httpx.AsyncClient, *, external_url: str | None, clock: Clock
    ) -> None:
        self.name = config.name
        self._url = config.url
        self._secret = config.secret
        self._http = http
        self._external_url = external_url
        self._clock = clock

    async def send(self, transition: Transition) -> None:
        """Return when the address has answered 2xx. Raises SendError."""
        body = msgspec.json.encode(payload(transition, receiver=self.name, external_url=self._external_url))
        now = self._clock()
        headers = self._headers(transition.id, int(now), body)
        (await post(self._http, self._url.get_secret_value(), body, headers=headers, now=now)).check()

    async def close(self) -> None:
        """Release connections."""
        await self._http.aclose()

    def _headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
        if self._secret is not None:
            try:
                key = signing_key(self._secret.reveal())
            except ValueError as error:  # the file was checked at the start, and may have changed since
                raise SendError(f"its secret is {error}", reason=Reason.SETTINGS, passing=True) from None
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


def payload(transition: Transition, *, receiver: str, external_url: str | None) -> dict[str, object]:
    """Alertmanager's payload with one alert, and the transition as `tocsin`.

    `groupKey`, `fingerprint` and `startsAt` stay the same for the whole life of an incident, so a receiver sees one
    alert fire and end; verdict and severity are labels that may change in between.
    """
    incident = transition.incident
    status = "resolved" if incident.status is Status.RESOLVED else "firing"  # the format knows these two
    labels = _labels(incident)
    annotations = _annotations(transition)
    url = external_url or ""
    return {
        "version": "4",
        "groupKey": f'{{}}:{{incident="{labels["incident"]}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": {"incident": labels["incident"]},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": url,
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": _rfc3339(incident.opened_at),
                "endsAt": _NEVER if incident.status is not Status.RESOLVED else _rfc3339(_end(incident)),
                "generatorURL": url,
                "fingerprint": hashlib.sha256(incident.id.encode("utf-8", "replace")).hexdigest()[:16],
            }
        ],
        "tocsin": msgspec.to_builtins(transition),
    }


def _labels(incident: Incident) -> dict[str, str]:
    labels = {
        "alertname": "TocsinIncident",
        "incident": incident.id,
        "model": incident.model,
        "version": incident.version,
        "verdict": incident.verdict.value,
        "severity": incident.severity.value,
    }
    return {name: clean(value, _MAX_LABEL) for name, value in labels.items()}


def _annotations(transition: Transition) -> dict[str, str]:
    content = notice(transition)
    who = "; ".join(f"{label}: {value}" for label, value in content.who)
    return {
        "summary": content.headline,
        "description": "\n".join(
            (content.status, f"since {content.since}", *([who] if who else []), *content.evidence, content.action)
        ),
    }


def _end(incident: Incident) -> float:
    return incident.updated_at if incident.resolved_at is None else incident.resolved_at


def _rfc3339(ts: float) -> str:
    moment = utc(ts)
    return _NEVER if moment is None else moment.isoformat().replace("+00:00", "Z")
