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


class Session(msgspec.Struct, frozen=True):
    """Somebody at a browser."""

    who: Principal
    form: str
    """What every form has to bring back: no other site can know it."""
    ends: float


class Sessions:
    """Safe to share between threads."""

    def __init__(self, clock: Callable[[], float], *, secure: bool, epoch: Callable[[], float] = time.time) -> None:
        """`clock` is monotonic, `epoch` the clock on the wall, in seconds; `secure` says that the server speaks TLS."""
        self._clock = clock
        self._epoch = epoch
        self._secure = secure
        # A browser takes a name with this prefix only over TLS, and from nobody but this very host.
        self._cookie = "__Host-tocsin" if secure else "tocsin"
        self._held: dict[bytes, Session] = {}
        self._lock = threading.Lock()

    def of(self, request: Request) -> Session | None:
        """The session that a request belongs to, if it has one that has not ended."""
        found = self._held.get(_key(request.cookies.get(self._cookie, "")))
        return found if found is not None and self._clock() < found.ends else None

    def begin(self, who: Principal, response: Response) -> None:
        """Sign somebody in: the response carries the cookie."""
        value, now = secrets.token_urlsafe(32), self._clock()
        life = LIFE if who.until is None else min(LIFE, who.until - self._epoch())
        with self._lock:
            held = {key: each for key, each in self._held.items() if now < each.ends}
            own = [key for key, each in held.items() if each.who.name == who.name]
            for key in own[: max(len(own) - KEPT + 1, 0)]:
                del held[key]
            held[_key(value)] = Session(who, secrets.token_urlsafe(32), now + life)
            self._held = held
        self._set(response, value, max(int(life), 0))

    def end(self, request: Request, response: Response) -> None:
        """Sign somebody out."""
        key = _key(request.cookies.get(self._cookie, ""))
        with self._lock:
            self._held = {other: each for other, each in self._held.items() if other != key}
        self._set(response, "", 0)

    def _set(self, response: Response, value: str, age: int) -> None:
        response.set_cookie(
            self._cookie, value, max_age=age, path="/", secure=self._secure, httponly=True, samesite="strict"
        )


def _key(value: str) -> bytes:
    """What a session is found by; how long that takes says nothing about the cookies of others."""
    return hashlib.sha256(value.encode("utf-8", "replace")).digest()
