"""Silences that somebody has set in an Alertmanager, as silences of Tocsin: one place to silence, if people want so.

Interface: GET /api/v2/silences, https://prometheus.io/docs/alerting/latest/alerts_api/.
"""

import asyncio
import glob
import logging
from collections.abc import Sequence
from datetime import datetime

import httpx
import msgspec

from alerting.alertmanager import AlertmanagerConfig
from alerting.message import clean
from alerting.mutes import LONGEST, Label, Matcher, Silence
from alerting.network import ForbiddenAddressError
from alerting.post import client, get
from alerting.receiver import Supplies

log = logging.getLogger(__name__)

MAX_BYTES = 4_000_000
"""Of the list of silences; a longer one is not read."""
TIMEOUT = 10.0
"""Seconds that asking one peer may take in total."""


class _Matcher(msgspec.Struct, rename="camel"):
    name: str
    value: str
    is_regex: bool
    is_equal: bool = True


class _Status(msgspec.Struct):
    state: str


class _Silence(msgspec.Struct, rename="camel"):
    id: str
    matchers: list[_Matcher]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    status: _Status


def borrowed(body: bytes, *, origin: str, environment: str | None) -> tuple[list[Silence], int]:
    """Read an answer.

    Args:
        body: JSON, as Alertmanager gives it.
        origin: the name of the receiver, which the silences carry.
        environment: what our alerts have as label of that name.

    Returns:
        The active silences that are about our alerts, and how many have regular expressions. Those are not respected:
        an expression from elsewhere can keep the daemon busy for ever, and a pattern is not the same.

    Raises:
        msgspec.DecodeError: it is not such an answer.
    """
    found, left = [], 0
    for each in msgspec.json.decode(body, type=list[_Silence]):
        if each.status.state != "active":
            continue
        if any(matcher.is_regex for matcher in each.matchers):
            left += 1
            continue
        fixed = {"alertname": "TocsinIncident", "environment": environment or ""}
        ours = [matcher for matcher in each.matchers if matcher.name in list(Label)]
        others = [matcher for matcher in each.matchers if matcher.name not in list(Label)]
        # A label that our alerts do not have is empty to Alertmanager.
        if not ours or any((fixed.get(other.name, "") == other.value) is not other.is_equal for other in others):
            continue
        began = each.starts_at.timestamp()
        found.append(
            Silence(
                tuple(Matcher(Label(m.name), glob.escape(m.value), negated=not m.is_equal) for m in ours),
                began,
                min(each.ends_at.timestamp(), began + LONGEST),
                clean(each.created_by, 100),
                clean(each.comment, 300),
                origin=origin,
            )
        )
    return found, left


def ask(config: AlertmanagerConfig, supplies: Supplies) -> list[Silence] | None:
    """The silences of the first peer that answers; None if none does. Takes TIMEOUT for each peer at most."""
    return asyncio.run(_ask(config, supplies))


def changes(known: Sequence[Silence], now_there: Sequence[Silence], *, origin: str, now: float) -> list[Silence]:
    """What is to be saved so that the silences of `origin` are those that are there now."""
    ours = {silence.id: silence for silence in known if silence.origin == origin and silence.active(now)}
    there = {silence.id: silence for silence in now_there}
    new = [silence for name, silence in there.items() if ours.get(name) != silence]
    gone = [silence for name, silence in ours.items() if name not in there]
    return new + [msgspec.structs.replace(each, ends_at=now, expired_by=origin) for each in gone]


async def _ask(config: AlertmanagerConfig, supplies: Supplies) -> list[Silence] | None:
    ca_file = None if config.ca_file is None else config.ca_file
    headers = {} if config.token is None else {"authorization": f"Bearer {config.token.reveal()}"}
    async with client(supplies.network, ca_file=ca_file) as http:
        for number, url in enumerate(config.urls, 1):
            try:
                async with asyncio.timeout(TIMEOUT):
                    body = await get(
                        http, url.get_secret_value().rstrip("/") + "/api/v2/silences", limit=MAX_BYTES, headers=headers
                    )
                found, left = borrowed(body, origin=config.name, environment=supplies.words.environment)
            except (
                httpx.HTTPError,
                ForbiddenAddressError,
                TimeoutError,
                OSError,
                ValueError,
                msgspec.DecodeError,
            ) as error:
                log.warning(
                    "receiver %s: peer %d does not say its silences: %s", config.name, number, type(error).__name__
                )
                continue
            if left:
                log.warning("receiver %s: %d silences with regular expressions are not respected", config.name, left)
            return found
    return None
