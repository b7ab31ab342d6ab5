"""Prometheus' Alertmanager, through its API version 2.

An alert lives in Alertmanager only as long as somebody repeats it. So a firing one is sent again and again, to every
peer and not through a load balancer, with an end that lies a few repeats ahead: should Tocsin vanish, the alert ends.

Interface: https://prometheus.io/docs/alerting/latest/alerts_api/ and .../high_availability/ beside it.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import httpx
import msgspec
from pydantic import Field, FilePath, SecretStr, field_validator

from alerting.alert import annotations, ended_at, labels, rfc3339
from alerting.incident import Transition
from alerting.message import Words, notice
from alerting.network import check_address
from alerting.post import client, post
from alerting.receiver import Receiver, ReceiverConfig, SendError, Supplies
from alerting.section import Secret

log = logging.getLogger(__name__)

LAPSE = 4
"""Repeats that may fail until Alertmanager takes an alert for ended."""

Alert = dict[str, object]


class AlertmanagerConfig(ReceiverConfig):
    """An Alertmanager, or all peers of a cluster."""

    kind: Literal["alertmanager"]
    urls: Annotated[tuple[SecretStr, ...], Field(min_length=1, max_length=20)]
    """The address of each peer, as its own page has it; `https://user:password@host/` sends basic auth."""
    token: Secret | None = None
    """Sent as `Authorization: Bearer`."""
    every: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds between two repeats."""
    respect_silences: bool = False
    """Whether a silence that somebody sets there holds back messages to all receivers."""
    ca_file: FilePath | None = None
    """PEM file of the authorities to trust instead of the usual ones."""

    @field_validator("urls")
    @classmethod
    def _urls_are_addresses(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for url in urls:
            check_address(url.get_secret_value())
        return urls

    def connect(self, supplies: Supplies) -> Receiver:
        """Make the receiver."""
        ca_file = None if self.ca_file is None else Path(self.ca_file)
        return AlertmanagerReceiver(self, client(supplies.network, ca_file=ca_file), supplies)


class AlertmanagerReceiver:
    """Posts alerts to all peers. One that accepts is enough: the others hear of it with the next repeat."""

    spacing = 0.0

    def __init__(self, config: AlertmanagerConfig, http: httpx.AsyncClient, supplies: Supplies) -> None:
        self.name = config.name
        self.every = config.every
        self._peers = tuple(url.get_secret_value().rstrip("/") + "/api/v2/alerts" for url in config.urls)
        self._token = config.token
        self._http = http
        self._words = supplies.words
        self._clock = supplies.clock

    async def send(self, transition: Transition, receipt: str | None = None, /) -> str:
        """Return the labels that the incident is known by now, as JSON. Raises SendError."""
        alerts = [self._alert(transition)]
        known = {} if receipt is None else msgspec.json.decode(receipt, type=dict[str, str])
        if known and known != alerts[0]["labels"]:  # to Alertmanager, other labels are another alert
            alerts.insert(0, {"labels": known, "endsAt": rfc3339(self._clock())})
        await self._post(alerts)
        return msgspec.json.encode(alerts[-1]["labels"]).decode()

    async def repeat(self, told: Sequence[Transition]) -> None:
        """Say again what still fires. Raises SendError."""
        await self._post([self._alert(transition) for transition in told])

    async def close(self) -> None:
        """Release connections."""
        await self._http.aclose()

    def _alert(self, transition: Transition) -> Alert:
        return alert(transition, self._words, now=self._clock(), lasts=LAPSE * self.every)

    async def _post(self, alerts: list[Alert]) -> None:
        body, now = msgspec.json.encode(alerts), self._clock()
        headers = {} if self._token is None else {"authorization": f"Bearer {self._token.reveal()}"}

        async def one(peer: str) -> SendError | None:
            try:
                (await post(self._http, peer, body, headers=headers, now=now)).check()
            except SendError as error:
                return error
            return None

        outcomes = await asyncio.gather(*map(one, self._peers))
        failures = [failure for failure in outcomes if failure is not None]
        if len(failures) == len(outcomes):
            raise max(failures, key=lambda failure: failure.passing)  # where one may still accept, it is not over
        for number, failure in enumerate(outcomes, 1):
            if failure is not None:
                log.warning("receiver %s: peer %d of %d did not accept: %s", self.name, number, len(outcomes), failure)


def alert(transition: Transition, words: Words, *, now: float, lasts: float) -> Alert:
    """The alert of an incident as it stands.

    Args:
        transition: The newest step.
        words: What messages say beside the incident itself.
        now: Epoch seconds of the wall clock, which is Alertmanager's; an incident's times are those of events.
        lasts: Seconds from now at which a firing alert ends unless it is repeated.
    """
    incident, content = transition.incident, notice(transition, words)
    over = ended_at(incident) is not None
    made: Alert = {
        "labels": labels(incident, content.environment),
        "annotations": annotations(content),
        # What starts after it ends is refused, and what starts in no calendar's year as well.
        "startsAt": rfc3339(min(incident.opened_at, now) if incident.opened_at > 0 else now),
        "endsAt": rfc3339(now if over else now + lasts),
    }
    source = next((address for _, address in content.links), None)
    return made if source is None else {**made, "generatorURL": source}
