"""PagerDuty, through its Events API version 2.

Format and answers: https://developer.pagerduty.com/docs/events-api-v2-overview (the limits are in the pages on sending
alert and change events).
"""

import re
from hashlib import sha256
from typing import Literal

import httpx
import msgspec
from pydantic import field_validator

from alerting.alert import rfc3339
from alerting.incident import Change, Incident, Status, Transition
from alerting.message import clean, notice, utc
from alerting.network import BaseAddress
from alerting.notice import Notice
from alerting.post import client, post
from alerting.receiver import Receiver, ReceiverConfig, Supplies, current
from alerting.section import Secret, checked

MAX_SUMMARY = 1024
MAX_DEDUP_KEY = 255
MAX_BYTES = 512_000
"""Bytes of a whole event."""

_MAX_NAME = 256
_ACTIONS = {Status.ACKNOWLEDGED: "acknowledge", Status.RESOLVED: "resolve"}
_KEY = re.compile(r"[0-9A-Za-z]{32}")


class PagerdutyConfig(ReceiverConfig):
    """A service in PagerDuty, by the key of its Events API v2 integration."""

    kind: Literal["pagerduty"]
    routing_key: Secret
    """The integration key: 32 letters and digits."""
    url: BaseAddress = "https://events.pagerduty.com/v2"
    """Elsewhere for the service regions: `https://events.eu.pagerduty.com/v2`."""

    @field_validator("routing_key")
    @classmethod
    def _key_is_one(cls, routing_key: Secret) -> Secret:
        return checked(routing_key, check_key)

    def connect(self, supplies: Supplies) -> Receiver:
        """Make the receiver."""
        return PagerdutyReceiver(self, client(supplies.network), supplies)


class PagerdutyReceiver:
    """Opens, acknowledges and resolves one alert for each incident."""

    spacing = 0.5

    def __init__(self, config: PagerdutyConfig, http: httpx.AsyncClient, supplies: Supplies) -> None:
        self.name = config.name
        self._config = config
        self._http = http
        self._words = supplies.words
        self._clock = supplies.clock

    async def send(self, transition: Transition, _receipt: str | None = None, /) -> None:
        """Return when PagerDuty has taken the event. Raises SendError."""
        key = current(self._config.routing_key, check_key, "routing key")
        content = notice(transition, self._words)
        await self._post("enqueue", event(transition, content, routing_key=key))
        if transition.change is Change.ACTED and transition.incident.rolled_back_to is not None:
            await self._post("change/enqueue", change_event(transition, content, routing_key=key))

    async def close(self) -> None:
        """Release connections."""
        await self._http.aclose()

    async def _post(self, path: str, event: dict[str, object]) -> None:
        (await post(self._http, f"{self._config.url}/{path}", encoded(event), now=self._clock())).check()


def check_key(text: str) -> str:
    """Return an integration key unchanged. Raises ValueError, which does not repeat it."""
    if not _KEY.fullmatch(text):
        raise ValueError("not 32 letters and digits")
    return text


def event(transition: Transition, content: Notice, *, routing_key: str) -> dict[str, object]:
    """The event that opens (or updates), acknowledges or resolves the alert of an incident."""
    incident = transition.incident
    head = {"routing_key": routing_key, "dedup_key": dedup_key(incident), "client": "Tocsin"}
    action = _ACTIONS.get(incident.status, "trigger")
    if action != "trigger":  # PagerDuty ignores what else is in these
        return {**head, "event_action": action}
    home = {label: address for label, address in content.links if label == "Tocsin"}
    return {
        **head,
        "event_action": action,
        "payload": {
            "summary": clean(f"{content.headline} [{content.title}]", MAX_SUMMARY),
            "source": clean(content.environment or "tocsin", _MAX_NAME),
            "severity": incident.severity.value,
            **_timestamp(incident.opened_at),
            "component": clean(f"{incident.model} {incident.version}", _MAX_NAME),
            "group": clean(incident.model, _MAX_NAME),
            "class": incident.verdict.value,
            "custom_details": _details(content),
        },
        "links": _links(content),
        **({"client_url": home["Tocsin"]} if home else {}),
    }


def change_event(transition: Transition, content: Notice, *, routing_key: str) -> dict[str, object]:
    """The event that shows a rollback beside the alerts of the service; it pages nobody."""
    incident = transition.incident
    moved = f"Tocsin rolled {incident.model} back from {incident.version} to {incident.rolled_back_to}"
    return {
        "routing_key": routing_key,
        "payload": {
            "summary": clean(moved, MAX_SUMMARY),
            "source": clean(content.environment or "tocsin", _MAX_NAME),
            **_timestamp(incident.updated_at),
            "custom_details": {"incident": clean(incident.id, _MAX_NAME), "what": content.action},
        },
        "links": _links(content),
    }


def encoded(event: dict[str, object]) -> bytes:
    """JSON, without the details should it be too large with them: the page is worth more."""
    body = msgspec.json.encode(event)
    inner = event.get("payload")
    if len(body) <= MAX_BYTES or not isinstance(inner, dict):
        return body
    return msgspec.json.encode({**event, "payload": {**inner, "custom_details": {}}, "links": []})


def dedup_key(incident: Incident) -> str:
    """The same for every step of an incident, and no longer than it may be."""
    key = clean(incident.id, _MAX_NAME)
    return key if len(key) <= MAX_DEDUP_KEY else sha256(key.encode()).hexdigest()


def _timestamp(ts: float) -> dict[str, str]:
    return {} if utc(ts) is None else {"timestamp": rfc3339(ts)}


def _details(content: Notice) -> dict[str, object]:
    return {
        "what to do": content.next,
        "what Tocsin did": content.action,
        **({"time left": content.left} if content.left else {}),
        "status": content.status,
        "since": content.since,
        "how sure": content.sure,
        **{label.lower(): text for label, text in content.weighed},
        "evidence": list(content.evidence),
        **{label.lower(): value for label, value in content.who},
    }


def _links(content: Notice) -> list[dict[str, str]]:
    return [{"href": address, "text": label} for label, address in content.links]
