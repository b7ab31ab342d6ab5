"""The dead man's switch: somebody outside is told at intervals that Tocsin works, and calls people when it is not.

Who is told is a service such as healthchecks.io, Dead Man's Snitch, Cronitor or Uptime Kuma: each beat is one POST.
"""

import asyncio
from collections.abc import Collection
from typing import Annotated

from pydantic import Field, field_validator

from alerting.network import check_address
from alerting.post import client, post
from alerting.receiver import Supplies, attempt
from alerting.section import Secret, Section, checked


class HeartbeatConfig(Section):
    """Who is told that Tocsin works."""

    url: Secret
    """The address that the service gave; who has it can pretend to be alive."""
    every: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """Seconds; the service should wait for two or three times as long."""

    @field_validator("url")
    @classmethod
    def _url_is_an_address(cls, url: Secret) -> Secret:
        return checked(url, check_address)


class UnwellError(Exception):
    """Tocsin does not work as it should, so nobody is told that it does."""


def beat(config: HeartbeatConfig, supplies: Supplies, seconds: float, wrong: Collection[str]) -> None:
    """Say once that Tocsin works.

    Args:
        config: Who is told.
        supplies: The network, and the clock.
        seconds: How long it may take in total.
        wrong: What does not work, a sentence each.

    Raises:
        SendError: It was not accepted.
        UnwellError: Something is wrong, and nothing was said: calling people is for who waits in vain.
    """
    if wrong:
        raise UnwellError("; ".join(wrong))

    async def send() -> None:
        http = client(supplies.network)
        try:
            (await post(http, config.url.reveal(), b"{}", now=supplies.clock())).check()
        finally:
            await http.aclose()

    asyncio.run(attempt(send(), "heartbeat", seconds))
