"""One HTTP POST to a receiver: what its answer means, and an address that stays secret."""

import logging
import math
import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import msgspec

from alerting.network import ForbiddenAddressError, GuardedTransport, Network, check_address
from alerting.receiver import Reason, SendError

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read; nobody needs more to say yes or no."""
MAX_RETRY_AFTER = 3600.0
"""Seconds; a receiver that asks for longer is asked again after this long."""

_READ_TIMEOUT = 30.0  # A backstop for each read; the total time of an attempt is set by the caller.

_MEANINGS = {
    401: (Reason.UNAUTHORIZED, False),
    403: (Reason.UNAUTHORIZED, False),
    404: (Reason.NOT_FOUND, False),
    407: (Reason.UNAUTHORIZED, False),
    # Request Timeout and Too Early: the 4xx that speak of the moment and not of the message.
    408: (Reason.TIMEOUT, True),
    410: (Reason.NOT_FOUND, False),
    425: (Reason.SERVER, True),
    429: (Reason.RATE_LIMITED, True),
}


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes
    """At most MAX_ANSWER bytes of it."""
    retry_after: float | None
    """Seconds, from the header of that name."""

    def check(self, detail: str = "") -> None:
        """Return if the receiver accepted the message (2xx).

        The text of an answer may echo the address it was sent to, so it is not part of the error.

        Args:
            detail: A word about the failure that is known to hold no secret.

        Raises:
            SendError: It did not.
        """
        if 200 <= self.status < 300:
            return
        reason, passing = _meaning(self.status)
        text = f"answered {self.status}" + (f" {detail}" if detail else "")
        raise SendError(text, reason=reason, passing=passing, retry_after=self.retry_after)


def _meaning(status: int) -> tuple[Reason, bool]:
    """Reason, and whether it will pass, of a status that is not a success."""
    if status in _MEANINGS:
        return _MEANINGS[status]
    if status < 400:
        return Reason.REDIRECT, False
    return (Reason.REJECTED, False) if status < 500 else (Reason.SERVER, True)


def client(network: Network, *, ca_file: Path | None = None) -> httpx.AsyncClient:
    """Make an HTTP client that goes only where it may, follows no redirects, and keeps addresses out of the logs.

    httpx logs every address at level INFO, and here addresses are secrets: its loggers are raised to WARNING.

    Args:
        network: What may be connected to; a proxy in it is all that is connected to, and decides for itself.
        ca_file: PEM file of the authorities to trust instead of the usual ones.
    """
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    inner = httpx.AsyncHTTPTransport(
        verify=True if ca_file is None else ssl.create_default_context(cafile=str(ca_file)),
        limits=httpx.Limits(max_keepalive_connections=0),
        proxy=network.proxy,
    )
    return httpx.AsyncClient(
        transport=GuardedTransport(network, inner) if network.proxy is None else inner,
        follow_redirects=False,
        headers={"user-agent": "tocsin", "accept-encoding": "identity"},
        timeout=_READ_TIMEOUT,
    )


async def post(
    http: httpx.AsyncClient, address: str, body: bytes, *, headers: dict[str, str] | None = None, now: float
) -> Answer:
    """Post JSON and read the answer, whatever its status.

    Args:
        http: From `client`.
        address: Absolute and secret.
        body: JSON.
        headers: In addition to the usual ones.
        now: Epoch seconds, to read a date in `Retry-After`.

    Raises:
        SendError: Nothing that could be understood came back.
    """
    try:
        check_address(address)
    except ValueError as error:  # a secret's file may hold anything by now
        raise SendError(f"its address is {error}", reason=Reason.SETTINGS, passing=True) from None
    received = bytearray()
    headers = {"content-type": "application/json", **(headers or {})}
    try:
        async with http.stream("POST", address, content=body, headers=headers) as response:
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) >= MAX_ANSWER:
                    break
    except ForbiddenAddressError as error:
        raise SendError(f"its address {error}", reason=Reason.FORBIDDEN, passing=True) from None
    except httpx.TimeoutException:
        raise SendError("no answer in time", reason=Reason.TIMEOUT, passing=True) from None
    except httpx.ConnectError as error:
        # The one failure to connect that waiting will not mend deserves its own words.
        doubt = "CERTIFICATE_VERIFY_FAILED" in str(error)
        text = "its certificate could not be verified" if doubt else "could not connect"
        raise SendError(text, reason=Reason.NETWORK, passing=True) from None
    except httpx.TransportError as error:
        raise SendError(
            f"the connection failed ({type(error).__name__})", reason=Reason.NETWORK, passing=True
        ) from None
    return Answer(response.status_code, bytes(received[:MAX_ANSWER]), retry_after(response.headers, now))


async def get(http: httpx.AsyncClient, address: str, *, limit: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Get a document of at most `limit` bytes.

    Raises:
        ValueError: It is longer.
        httpx.HTTPError: It did not come; a redirect is not followed, and nothing that comes.
        ForbiddenAddressError: Its name leads to where it must not.
    """
    received = bytearray()
    async with http.stream("GET", address, headers=headers) as response:
        response.raise_for_status()
        async for chunk in response.aiter_raw():
            received += chunk
            if len(received) > limit:
                raise ValueError(f"the answer has more than {limit} bytes")
    return bytes(received)


def retry_after(headers: httpx.Headers, now: float) -> float | None:
    """Seconds to wait by the `Retry-After` header (RFC 9110, section 10.2.3), in [0, MAX_RETRY_AFTER], or None."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)
