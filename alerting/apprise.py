"""Everything else that sends messages to people, through Apprise; needs the extra `apprise`.

Apprise says only whether a message was taken, so whatever it could not send is tried again. It connects by itself: what
`alerting.network` allows does not bind it.
"""

import logging
from typing import Any, Literal

from pydantic import field_validator

from alerting.incident import Severity, Status, Transition
from alerting.message import Words, notice
from alerting.receiver import Reason, Receiver, ReceiverConfig, SendError, Supplies, current
from alerting.section import Secret, checked
from alerting.slack import quiet

_MAX_BODY = 4000
_TYPES = {Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}


class AppriseConfig(ReceiverConfig):
    """Any service that Apprise knows: https://github.com/caronc/apprise#supported-notifications."""

    kind: Literal["apprise"]
    url: Secret
    """Apprise's own address of the service, such as `tgram://bottoken/ChatID`."""

    @field_validator("url")
    @classmethod
    def _url_is_known(cls, url: Secret) -> Secret:
        return checked(url, _service)

    def connect(self, supplies: Supplies) -> Receiver:
        """Make the receiver."""
        return AppriseReceiver(self, supplies.words)


class AppriseReceiver:
    """Sends to one service."""

    spacing = 1.0

    def __init__(self, config: AppriseConfig, words: Words) -> None:
        self.name = config.name
        self._url = config.url
        self._words = words

    async def send(self, transition: Transition, _receipt: str | None = None, /) -> None:
        """Return when Apprise says that the message was taken. Raises SendError."""
        service = current(self._url, _service, "address")
        if not await service.async_notify(**payload(transition, self._words)):
            raise SendError("Apprise could not send it", reason=Reason.UNEXPECTED, passing=True)

    async def close(self) -> None:
        """Nothing is kept open."""


def payload(transition: Transition, words: Words) -> dict[str, str]:
    """Title, body and type, as plain text; Apprise cuts them to what the service takes."""
    content = notice(transition, words)
    where = (("Environment", content.environment),) if content.environment else ()
    facts = (("Status", content.status), ("Since", content.since), ("How sure", content.sure), *where, *content.who)
    lines = (
        content.headline,
        *(f"{label}: {value}" for label, value in (*facts, *content.weighed)),
        *content.evidence,
        *(f"{label}: {text}" for label, text in content.deeds),
        *(f"{label}: {address}" for label, address in content.links),
    )
    over = transition.incident.status is Status.RESOLVED
    return {
        "title": quiet(content.title),
        "body": quiet("\n".join(lines))[:_MAX_BODY],
        "notify_type": "success" if over else _TYPES[transition.incident.severity],
        "body_format": "text",
    }


def _service(url: str) -> Any:  # noqa: ANN401 - an Apprise, whose package may not be there
    """Apprise with one service. Raises ValueError, which does not repeat the address."""
    try:
        import apprise  # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError("of no use without the extra `apprise`: install tocsin[apprise]") from None
    for name, level in (("apprise", logging.CRITICAL + 1), ("urllib3", logging.WARNING)):  # they log addresses
        logging.getLogger(name).setLevel(level)
    service = apprise.Apprise()
    if not service.add(url):
        raise ValueError("not one that Apprise knows")
    return service
