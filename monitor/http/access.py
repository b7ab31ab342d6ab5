"""Who is asking over HTTP, and what they may do: bearer tokens, roles, and the models that a token is for."""

import hashlib
import hmac
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated

import msgspec
import structlog
from pydantic import Field, StringConstraints, field_validator

from alerting.section import Section
from monitor.http.throttle import Throttle

MAX_TOKEN = 512
"""Characters of a token; a longer header is refused before anything is computed from it."""

_log = structlog.get_logger("tocsin.access")
_BEARER = re.compile(rf"bearer +([A-Za-z0-9._~+/-]{{1,{MAX_TOKEN}}}=*)", re.IGNORECASE)


class Role(StrEnum):
    """What somebody may do; each role may do what those before it may."""

    VIEWER = "viewer"
    """Look."""
    OPERATOR = "operator"
    """Look after incidents: acknowledge, close, silence."""
    APPROVER = "approver"
    """Answer proposed rollbacks."""
    ADMIN = "admin"
    """Everything."""

    def may(self, wanted: "Role") -> bool:
        """Whether this role includes the other one."""
        ladder = list(Role)
        return ladder.index(self) >= ladder.index(wanted)


class TokenConfig(Section):
    """Somebody who may use the API. The token itself is nowhere in Tocsin, only its hash."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    """Who it is; the audit log has this name."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the token in hexadecimal. Plain SHA-256 is enough for a random token of 128 bits or more."""
    role: Role = Role.VIEWER
    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The models that it may see and act on; all of them if absent."""


class AccessConfig(Section):
    """Who may use the API. Without tokens everybody who can connect may look, and nobody may change anything."""

    tokens: tuple[TokenConfig, ...] = ()
    max_unknown: int = Field(default=20, ge=1)
    """Unknown tokens in a minute from one address; what comes after them is refused as too many."""
    max_changes: int = Field(default=60, ge=1)
    """Changes that one token may make in a minute, or try to make."""

    @field_validator("tokens")
    @classmethod
    def _are_different(cls, tokens: tuple[TokenConfig, ...]) -> tuple[TokenConfig, ...]:
        for what in ("name", "sha256"):
            twice = [value for value, count in Counter(getattr(token, what) for token in tokens).items() if count > 1]
            if twice:
                raise ValueError(f"more than one token has the {what} {', '.join(twice)}")
        return tokens


class Principal(msgspec.Struct, frozen=True):
    """Somebody who is asking."""

    name: str
    role: Role
    models: tuple[str, ...] | None = None
    """The only models that exist for them; None if all do."""

    def sees(self, model: str) -> bool:
        """Whether a model exists for them."""
        return self.models is None or model in self.models


ANYBODY = Principal("anybody", Role.VIEWER)
"""Who is asking where no token is configured."""


class RefusedError(Exception):
    """Somebody may not do what they want; one sentence for them.

    Attributes:
        status: 401, 403 or 429.
        wait: for 429, the seconds after which it may be tried again.
    """

    def __init__(self, status: HTTPStatus, detail: str, wait: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.wait = wait

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the answer."""
        if self.wait is not None:
            return {"retry-after": str(math.ceil(self.wait))}
        return {"www-authenticate": "Bearer"} if self.status is HTTPStatus.UNAUTHORIZED else {}


class Access:
    """Knows people by their tokens. Safe to share between threads."""

    def __init__(
        self, config: AccessConfig, *, clock: Callable[[], float], refused: Callable[[HTTPStatus], None]
    ) -> None:
        """`clock` is a monotonic one, in seconds; `refused` is called for everybody who is refused."""
        self._known = [
            (bytes.fromhex(token.sha256), Principal(token.name, token.role, token.models)) for token in config.tokens
        ]
        self._unknown = Throttle(config.max_unknown, clock)
        self._changes = Throttle(config.max_changes, clock)
        self._refused = refused

    @property
    def is_open(self) -> bool:
        """True where everybody may look, because there are no tokens."""
        return not self._known

    def enter(
        self, authorization: Sequence[str], address: str, role: Role = Role.VIEWER, *, changes: bool = False
    ) -> Principal:
        """Who is asking, if they may.

        A token that is known is taken at any time and from everywhere: behind a proxy everybody has one address, and
        whoever guesses must not be able to lock the others out. It is its length that makes guessing hopeless.

        Args:
            authorization: all headers of that name.
            address: where the request comes from.
            role: the one that is needed.
            changes: whether it is to change something.

        Raises:
            RefusedError: they may not.
        """
        try:
            who = ANYBODY if self.is_open else self._principal(authorization, address)
        except RefusedError as error:
            self._refused(error.status)
            raise
        self.permit(who, role, changes=changes)
        return who

    def permit(self, who: Principal, role: Role, *, changes: bool = False) -> None:
        """Raise RefusedError unless somebody who is known may do this; `role` and `changes` as in `enter`."""
        try:
            self._check(who, role, changes=changes)
        except RefusedError as error:
            self._refused(error.status)
            raise

    def _check(self, who: Principal, role: Role, *, changes: bool) -> None:
        if not who.role.may(role) or (changes and self.is_open):
            raise RefusedError(HTTPStatus.FORBIDDEN, f"this needs a token with the role {role} or above")
        if changes and (wait := self._changes.count(who.name)) is not None:
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "too many changes in a minute", wait)

    def _principal(self, authorization: Sequence[str], address: str) -> Principal:
        """By the token; it takes as long for each of them, and for one that nobody has."""
        match = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        given = hashlib.sha256(match[1].encode() if match else b"").digest()
        found = None
        for known, principal in self._known:
            if hmac.compare_digest(given, known):
                found = principal
        if match and found:
            return found
        if authorization:
            if (wait := self._unknown.count(address)) is not None:
                raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "too many unknown tokens in a minute", wait)
            _log.warning("unknown token", address=address)
        raise RefusedError(HTTPStatus.UNAUTHORIZED, "a bearer token is needed")
