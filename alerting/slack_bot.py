"""Slack through a bot's token: one message for an incident, kept up to date, with its steps in the thread below.

Methods: https://docs.slack.dev/reference/methods/chat.postMessage and chat.update beside it. The bot needs the scope
`chat:write`, and has to be a member of the channel.
"""

import re
from typing import Annotated, Literal

import httpx
import msgspec
from pydantic import Field, field_validator

from alerting.incident import Change, Transition
from alerting.message import notice
from alerting.network import BaseAddress
from alerting.post import client, post
from alerting.receiver import Receiver, ReceiverConfig, Supplies, current
from alerting.section import Secret, checked
from alerting.slack import LostError, Said, escape, payload, said

_MAX_REPLY = 3000
_TOKEN = re.compile(r"[\x21-\x7e]{8,512}")


class SlackBotConfig(ReceiverConfig):
    """A Slack channel, by the token of a bot that is in it."""

    kind: Literal["slack_bot"]
    token: Secret
    """The bot's token; it begins with `xoxb-`."""
    channel: Annotated[str, Field(pattern=r"^[A-Z0-9]{6,20}$")]
    """The channel's id, such as `C024BE91L`; it is at the end of the channel's details."""
    url: BaseAddress = "https://slack.com/api"

    @field_validator("token")
    @classmethod
    def _token_is_one(cls, token: Secret) -> Secret:
        return checked(token, check_token)

    def connect(self, supplies: Supplies) -> Receiver:
        """Make the receiver."""
        return SlackBotReceiver(self, client(supplies.network), supplies)


class Posted(msgspec.Struct, frozen=True):
    """Where Slack keeps a message, in Slack's own words."""

    channel: str
    ts: str


class SlackBotReceiver:
    """Posts, updates and replies in one channel."""

    spacing = 1.0

    def __init__(self, config: SlackBotConfig, http: httpx.AsyncClient, supplies: Supplies) -> None:
        self.name = config.name
        self._config = config
        self._http = http
        self._words = supplies.words
        self._clock = supplies.clock

    async def send(self, transition: Transition, receipt: str | None = None, /) -> str:
        """Return where the incident's message is, as JSON. Raises SendError."""
        posted = None if receipt is None else msgspec.json.decode(receipt, type=Posted)
        if posted is None or not await self._updated(transition, posted):
            posted = await self._post(transition)
        return msgspec.json.encode(posted).decode()

    async def close(self) -> None:
        """Release connections."""
        await self._http.aclose()

    async def _post(self, transition: Transition) -> Posted:
        body = {**payload(transition, self._words), "channel": self._config.channel, "unfurl_links": False}
        answer = await self._call("chat.postMessage", body)
        return Posted(answer.channel, answer.ts)

    async def _updated(self, transition: Transition, posted: Posted) -> bool:
        """Update the message, and say in its thread what is new; False if there is no such message any more."""
        place = {"channel": posted.channel}
        content = notice(transition, self._words)
        acted = f"{content.action}\n{content.left}".rstrip()
        news = acted if transition.change is Change.ACTED else content.headline
        reply = {
            **place,
            "thread_ts": posted.ts,
            "text": escape(f"{content.title}\n{news}", _MAX_REPLY),
            "mrkdwn": False,
            # Who follows the channel only, and not the thread, wants to know of these.
            "reply_broadcast": transition.change in {Change.REOPENED, Change.REMINDED, Change.RESOLVED},
        }
        try:
            # Updating twice changes nothing, so it comes first: what is repeated after a failure is the reply alone.
            await self._call("chat.update", {**payload(transition, self._words), **place, "ts": posted.ts})
            await self._call("chat.postMessage", reply)
        except LostError:
            return False
        return True

    async def _call(self, method: str, body: dict[str, object]) -> Said:
        headers = {"authorization": f"Bearer {current(self._config.token, check_token, 'token')}"}
        address = f"{self._config.url}/{method}"
        return said(await post(self._http, address, msgspec.json.encode(body), headers=headers, now=self._clock()))


def check_token(text: str) -> str:
    """Return a token that can stand in a header unchanged. Raises ValueError, which does not repeat it."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("not 8 to 512 visible ASCII characters")
    return text
