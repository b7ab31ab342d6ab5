"""Who is asking over HTTP, and what they may do: bearer tokens, roles, and the models that a token is for."""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from pydantic import Field, StringConstraints, field_validator

from alerting.section import Section

MAX_TOKEN = 512
"""Characters of a token; a longer header is refused before anything is computed from it."""

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


class Access:
    """Knows people by their tokens."""

    def __init__(self, config: AccessConfig) -> None:
        self._known = [
            (bytes.fromhex(token.sha256), Principal(token.name, token.role, token.models)) for token in config.tokens
        ]

    @property
    def is_open(self) -> bool:
        """True where everybody may look, because there are no tokens."""
        return not self._known

    def principal(self, headers: Sequence[str]) -> Principal | None:
        """Who is asking, by their Authorization headers; None if they cannot be known. It takes as long either way."""
        if self.is_open:
            return ANYBODY
        match = _BEARER.fullmatch(headers[0]) if len(headers) == 1 else None
        given = hashlib.sha256(match[1].encode() if match else b"").digest()
        found = None
        for known, principal in self._known:
            if hmac.compare_digest(given, known):
                found = principal
        return found if match else None
