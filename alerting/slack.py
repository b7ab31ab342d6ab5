"""Slack through an incoming webhook, and whatever else accepts the same (Mattermost, Rocket.Chat).

Format: https://docs.slack.dev/reference/block-kit/blocks; answers:
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors.
"""

import re
from typing import Literal

import httpx
import msgspec
from pydantic import field_validator

from alerting.incident import Transition
from alerting.message import Words, clean, notice
from alerting.network import check_address
from alerting.post import Answer, client, post
from alerting.receiver import Reason, Receiver, ReceiverConfig, SendError, Supplies
from alerting.section import Secret, checked

MAX_BLOCKS = 50
MAX_HEADER = 150
MAX_TEXT = 3000
"""Characters of a section's text."""
MAX_FIELDS = 10
MAX_FIELD = 2000
MAX_TOTAL = 12_000
"""Characters of a whole message. Not in Slack's reference: messages were seen refused at about 13,000."""

# Below Slack's limits, so that the longest message, with every quote in it escaped, stays within MAX_TOTAL.
_FALLBACK, _HEADLINE, _FIELD, _LINES, _DEED, _FOOTER = 300, 700, 200, 1200, 400, 100

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MENTION = re.compile(r"@(?=channel|here|everyone|all|[!&]?\d)", re.IGNORECASE)
_WORD_JOINER = "\u2060"
_SLUG = re.compile(r"[a-z_]{2,40}")
# The words of a refusal that speak of the moment, not of the message or the address.
_PASSING_WORDS = frozenset(
    {"fatal_error", "internal_error", "ratelimited", "rate_limited", "request_timeout", "rollup_error"}
    | {"service_unavailable", "team_added_to_org", "timeout"}
)
# The message is gone, or may not be edited any more: then a new one is the right answer.
_LOST = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"})
_REASONS = {
    **dict.fromkeys(_LOST, Reason.NOT_FOUND),
    **dict.fromkeys(("ratelimited", "rate_limited"), Reason.RATE_LIMITED),
    **dict.fromkeys(("invalid_auth", "not_authed", "token_expired", "token_revoked"), Reason.UNAUTHORIZED),
    **dict.fromkeys(("account_inactive", "missing_scope", "not_in_channel"), Reason.UNAUTHORIZED),
    **dict.fromkeys(("channel_not_found", "is_archived"), Reason.NOT_FOUND),
}


class SlackConfig(ReceiverConfig):
    """A Slack channel, by the address of its incoming webhook."""

    kind: Literal["slack"]
    url: Secret
    """The whole address: who has it can post."""

    @field_validator("url")
    @classmethod
    def _url_is_an_address(cls, url: Secret) -> Secret:
        return checked(url, check_address)

    def connect(self, supplies: Supplies) -> Receiver:
        """Make the receiver."""
        return SlackReceiver(self, client(supplies.network), supplies)


class SlackReceiver:
    """Posts to one incoming webhook."""

    spacing = 1.0

    def __init__(self, config: SlackConfig, http: httpx.AsyncClient, supplies: Supplies) -> None:
        self.name = config.name
        self._url = config.url
        self._http = http
        self._words = supplies.words
        self._clock = supplies.clock

    async def send(self, transition: Transition, _receipt: str | None = None, /) -> None:
        """Return when Slack has said `ok`. Raises SendError."""
        body = msgspec.json.encode(payload(transition, self._words))
        answer = await post(self._http, self._url.reveal(), body, now=self._clock())
        if answer.body.strip() != b"ok":  # those who imitate Slack answer as its Web API does
            said(answer)
        answer.check()

    async def close(self) -> None:
        """Release connections."""
        await self._http.aclose()


def payload(transition: Transition, words: Words) -> dict[str, object]:
    """The message in Block Kit: within every limit, and without markup or mentions whatever the incident holds.

    All texts are plain text; the only markup is that of the links.
    """
    content = notice(transition, words)
    where = [("Environment", content.environment)] if content.environment else []
    facts = (("Status", content.status), ("Since", content.since), ("How sure", content.sure), *where, *content.who)
    footer = f"Incident {clean(transition.incident.id, 64)}, step {transition.number}"
    link = "".join(f" | <{_link(address)}|{label}>" for label, address in content.links)
    evidence = ["\n".join(("Evidence", *content.evidence))] if content.evidence else []
    blocks: list[dict[str, object]] = [
        {"type": "header", "text": _plain(content.title, MAX_HEADER)},
        _section(content.headline, _HEADLINE),
        {"type": "section", "fields": [_plain(f"{label}\n{value}", _FIELD) for label, value in facts[:MAX_FIELDS]]},
        *(_section(f"{label}\n{text}", _DEED) for label, text in content.weighed),
        *(_section(text, _LINES) for text in evidence),
        *(_section(f"{label}\n{text}", _DEED) for label, text in content.deeds),
        {
            "type": "context",
            "elements": [{"type": "mrkdwn", "text": escape(footer, _FOOTER) + link, "verbatim": True}],
        },
    ]
    return {"text": escape(f"{content.title}: {content.headline}", _FALLBACK), "mrkdwn": False, "blocks": blocks}


def _section(text: str, limit: int) -> dict[str, object]:
    return {"type": "section", "text": _plain(text, limit)}


def _plain(text: str, limit: int) -> dict[str, object]:
    return {"type": "plain_text", "text": escape(text, limit), "emoji": False}


def quiet(text: str) -> str:
    """Text in which nobody is mentioned: not in Slack, nor in what imitates it, nor in Discord."""
    return _MENTION.sub("@" + _WORD_JOINER, text)


def escape(text: str, limit: int) -> str:
    """Escape Slack's control characters and cut, never through an entity.

    The limit counts UTF-16 units of the escaped text: whichever way Slack counts, it is kept.
    """
    pieces: list[str] = []
    room = limit - 1  # for the ellipsis
    for character in quiet(text):
        piece = _ENTITIES.get(character, character)
        room -= len(piece) + (character > "\uffff")
        if room < 0:
            pieces.append("…")
            break
        pieces.append(piece)
    return "".join(pieces)


def _link(url: str) -> str:
    return url.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E").replace("&", "&amp;")


class Said(msgspec.Struct, frozen=True):
    """What the Web API says."""

    ok: bool
    error: str = ""
    channel: str = ""
    ts: str = ""


class LostError(SendError):
    """The message to update or to reply to is not there any more."""


def said(answer: Answer) -> Said:
    """What Slack answered, which is more than a status: a 200 may be a refusal.

    Raises:
        SendError: The message was not taken.
    """
    answer.check(_slug(answer.body))
    try:
        found = msgspec.json.decode(answer.body, type=Said)
    except (msgspec.MsgspecError, RecursionError):
        # A proxy's login page, for example: the message never reached Slack.
        raise SendError("answered 200 but not as Slack does", reason=Reason.UNEXPECTED, passing=True) from None
    if found.ok:
        return found
    word = _slug(found.error.encode())
    kind = LostError if word in _LOST else SendError
    reason, passing = _REASONS.get(word, Reason.REJECTED), word in _PASSING_WORDS
    raise kind(f"answered 200 but refused {word}".rstrip(), reason=reason, passing=passing)


def _slug(body: bytes) -> str:
    """Slack's own word for an error, such as `no_service`, or nothing: other text may echo the secret address."""
    text = body[:64].decode("ascii", errors="replace").strip()
    return text if _SLUG.fullmatch(text) else ""
