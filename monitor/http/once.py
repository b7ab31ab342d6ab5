"""A change that is asked for twice is made once: what `Idempotency-Key` is for.

Whoever does not know whether a call has arrived repeats it with the same key, and gets the answer of the first one.
This follows draft-ietf-httpapi-idempotency-key-header, but answers 409 where a key is used for another call, too.
"""

import hashlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

import msgspec

from monitor.http.endpoint import Call, ProblemError
from monitor.store.reply_table import Reply
from monitor.store.store import StoreError

CONFLICT = HTTPStatus.CONFLICT


class Replies(Protocol):
    """Where answers are kept, for a day; the store."""

    def begin(self, who: str, key: str, request: str, now: float) -> Reply | None:
        """Take a key; or, if it is taken, what is known of the call that has it."""

    def end(self, who: str, key: str, reply: Reply | None) -> None:
        """Keep the answer; None gives the key back, because nothing was done."""


def once(
    name: str, handle: Callable[[Call], object], replies: Replies, clock: Callable[[], float]
) -> Callable[[Call], object]:
    """The same call, made once for each key; `name` is that of the call, `clock` gives epoch seconds.

    A call that was interrupted before its answer was kept is not made again: 409 says so, and whoever asked has to look
    what has become of it.
    """

    def handle_once(call: Call) -> object:
        if call.key is None:
            return handle(call)
        who, request = call.principal.name, _digest(name, call)
        known = replies.begin(who, call.key, request, clock())
        if known is not None:
            return _repeated(known, request)
        try:
            made = handle(call)
        except ProblemError as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                replies.end(who, call.key, None)  # it was not for the call itself, which may be made again
                raise
            replies.end(who, call.key, Reply(request, error.status, str(error).encode()))
            raise
        except StoreError:
            replies.end(who, call.key, None)  # nothing was changed, so it may be asked for again
            raise
        replies.end(who, call.key, Reply(request, HTTPStatus.OK, msgspec.json.encode(made)))
        return made

    return handle_once


def _digest(name: str, call: Call) -> str:
    return hashlib.sha256(msgspec.json.encode((name, call.path, call.body), order="sorted")).hexdigest()


def _repeated(known: Reply, request: str) -> msgspec.Raw:
    if known.request != request:
        raise ProblemError(CONFLICT, "this key was used for another call")
    if known.status is None:
        raise ProblemError(CONFLICT, "a call with this key has begun and was not answered; look what it has changed")
    if known.status != HTTPStatus.OK:
        raise ProblemError(HTTPStatus(known.status), known.body.decode())
    return msgspec.Raw(known.body)
