"""Who is signed in to the console: a cookie that says nothing, and what this process knows by it.

Sessions are in memory, so that signing out, or a restart with other tokens, ends them for certain.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from monitor.http.access import Principal

LIFE = 8 * 3600.0
"""Seconds after which somebody has to sign in again; sooner where their token ends sooner."""
KEPT = 16
"""Sessions that one name has at most; the oldest ends when there is one more."""

# A browser takes a name with this prefix only over TLS, and from nobody but this very host.
_OVER_TLS, _PLAIN = "__Host-tocsin", "tocsin"


class Session(msgspec.Struct, frozen=True):
    """Somebody at a browser."""

    who: Principal
    form: str
    """What every form has to bring back: no other site can know it."""
    ends: float


class Sessions:
    """Safe to share between threads."""

    def __init__(self, clock: Callable[[], float], epoch: Callable[[], float] = time.time) -> None:
        """`clock` is a monotonic one, `epoch` that on the wall, both in seconds."""
        self._clock = clock
        self._epoch = epoch
        self._held: dict[bytes, Session] = {}
        self._lock = threading.Lock()

    def of(self, request: Request) -> Session | None:
        """The session that a request belongs to, if it has one that has not ended."""
        found = self._held.get(_key(request))
        return found if found is not None and self._clock() < found.ends else None

    def begin(self, who: Principal, request: Request, response: Response) -> None:
        """Sign somebody in: the response to their form carries the cookie."""
        value, now = secrets.token_urlsafe(32), self._clock()
        life = LIFE if who.until is None else min(LIFE, who.until - self._epoch())
        with self._lock:
            held = {key: each for key, each in self._held.items() if now < each.ends}
            own = [key for key, each in held.items() if each.who.name == who.name]
            for key in own[: max(len(own) - KEPT + 1, 0)]:
                del held[key]
            held[_digest(value)] = Session(who, secrets.token_urlsafe(32), now + life)
            self._held = held
        _set(request, response, value, max(int(life), 0))

    def end(self, request: Request, response: Response) -> None:
        """Sign somebody out."""
        key = _key(request)
        with self._lock:
            self._held = {other: each for other, each in self._held.items() if other != key}
        _set(request, response, "", 0)


def _set(request: Request, response: Response, value: str, age: int) -> None:
    # The browser knows whether it speaks TLS with us, even if it is a proxy that does.
    secure = request.headers.get("origin", "").startswith("https://")
    response.set_cookie(
        _OVER_TLS if secure else _PLAIN, value, max_age=age, path="/", secure=secure, httponly=True, samesite="strict"
    )


def _key(request: Request) -> bytes:
    """What the session of a request is found by."""
    plain = "" if request.url.scheme == "https" else request.cookies.get(_PLAIN, "")
    return _digest(request.cookies.get(_OVER_TLS, plain))


def _digest(value: str) -> bytes:
    """How long it takes to find a digest says nothing about the cookies of others."""
    return hashlib.sha256(value.encode("utf-8", "replace")).digest()
