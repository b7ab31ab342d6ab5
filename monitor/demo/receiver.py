"""The demo's pager: a webhook receiver that checks the signature of each message, keeps it and shows it.

Signatures are those of the Standard Webhooks specification 1.0 (https://www.standardwebhooks.com).
"""

import base64
import hashlib
import hmac
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

TOLERANCE = 300.0
"""Seconds that a message's timestamp may be off: an older one may be a replay by somebody who listened."""
MAX_BYTES = 1_000_000


class SignatureError(Exception):
    """A message is not from the one who knows the secret; the message says what is wrong with it."""


class Message(NamedTuple):
    """One message that was signed correctly."""

    id: str
    received_at: float
    """Epoch seconds."""
    body: dict[str, Any]


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Check a message's signature and return its id.

    Args:
        secret: `whsec_` followed by the key in base64.
        headers: The request's headers, with names in lower case.
        body: The request's body as it came.
        now: Epoch seconds.

    Raises:
        SignatureError: A header is missing, the time is off, or no signature matches.
    """
    try:
        identity, stamp, signatures = (headers[f"webhook-{part}"] for part in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise SignatureError(f"header {error} is missing") from None
    if not stamp.isascii() or not stamp.isdigit() or abs(now - int(stamp)) > TOLERANCE:
        raise SignatureError("the timestamp is not of the last minutes")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{identity}.{stamp}.".encode() + body, hashlib.sha256).digest()
    right = f"v1,{base64.b64encode(digest).decode()}".encode()
    # Several signatures, with a space between them, are what a change of secrets looks like.
    if not any(hmac.compare_digest(right, given.encode()) for given in signatures.split()):
        raise SignatureError("no signature matches")
    return identity


class Receiver:
    """Receives messages on 127.0.0.1 while in its `with` block."""

    def __init__(self, port: int, secret: str, show: Callable[[Message], None], clock: Callable[[], float]) -> None:
        """Listen at once; answer from the start of the `with` block on.

        Args:
            port: Port to listen on; 0 takes a free one.
            secret: `whsec_` followed by the key in base64.
            show: Called once for each message, from a thread of the receiver.
            clock: Gives epoch seconds.
        """
        self._secret = secret
        self._show = show
        self._clock = clock
        self._messages: dict[str, Message] = {}
        self._lock = threading.Lock()
        self.refused = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every message so far, in the order of arrival; a repeated one counts once."""
        with self._lock:
            return tuple(self._messages.values())

    def accept(self, headers: Mapping[str, str], body: bytes) -> None:
        """Check, keep and show one message.

        Raises:
            SignatureError: It is not signed as it should be.
            msgspec.MsgspecError: It is not a JSON object.
        """
        now = self._clock()
        identity = verify(self._secret, headers, body, now)
        content = msgspec.json.decode(body, type=dict[str, Any])
        message = Message(identity, now, content)
        with self._lock:
            known = self._messages.setdefault(identity, message)
        if known is message:
            self._show(message)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(self._status())
                self.send_header("content-length", "0")
                self.end_headers()

            def _status(self) -> HTTPStatus:
                length = self.headers.get("content-length", "")
                if not length.isdecimal():
                    return HTTPStatus.LENGTH_REQUIRED
                if int(length) > MAX_BYTES:
                    self.close_connection = True
                    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    receiver.accept(headers, self.rfile.read(int(length)))
                except SignatureError:
                    receiver.refused += 1
                    return HTTPStatus.UNAUTHORIZED
                except msgspec.MsgspecError:
                    receiver.refused += 1
                    return HTTPStatus.BAD_REQUEST
                return HTTPStatus.OK

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that is overridden
                """Say nothing: the demo's own words are what people read."""

        return Handler
