"""The section `server.access`: who may use the API, and what each of them may do."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from alerting.section import Section
from monitor.http.issuer import IssuerConfig


class Role(StrEnum):
    """What somebody may do; each may do what those before it may, but for the first, which is for programs."""

    PRODUCER = "producer"
    """Send events, and nothing else; nobody else may but admins."""
    VIEWER = "viewer"
    """Look."""
    OPERATOR = "operator"
    """Look after incidents: acknowledge, close, silence."""
    APPROVER = "approver"
    """Answer proposed rollbacks, vouch for versions."""
    ADMIN = "admin"
    """Everything."""

    def may(self, wanted: "Role") -> bool:
        """Whether this role includes the other one."""
        if Role.PRODUCER in (self, wanted):
            return self is wanted or self is Role.ADMIN
        ladder = list(Role)
        return ladder.index(self) >= ladder.index(wanted)


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
"""Who somebody is; the audit log has this name."""


class Grant(Section):
    """What somebody may do."""

    role: Role = Role.VIEWER
    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The models that they may see and act on; all of them if absent."""


class TokenConfig(Grant):
    """Somebody who may use the API. The token itself is nowhere in Tocsin, only its hash."""

    name: Name
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the token in hexadecimal. Plain SHA-256 is enough for a random token of 128 bits or more."""


class CertificateConfig(Grant):
    """Somebody who has a certificate of the authority in `server.tls.client_ca_file`."""

    name: Name
    subject: Annotated[str, StringConstraints(pattern=r"^(CN|DNS|URI|email):.+$")]
    """What the certificate says: its common name (`CN:ada`), or one of its alternative names (`URI:spiffe://...`)."""


class ClaimGrant(Grant):
    """What the people may do of whom an issuer says something."""

    claim: Annotated[tuple[str, ...], Field(min_length=1)]
    """The claim, as the path to it: `[groups]`, or `[realm_access, roles]`."""
    value: Annotated[str, Field(min_length=1)]
    """What it has to be, or to have among others; the words of `scope` are others."""

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Whether the issuer says it."""
        found: object = claims
        for step in self.claim:
            found = found.get(step) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            found = found.split() if self.claim == ("scope",) else [found]
        return isinstance(found, list) and self.value in found


class OidcConfig(IssuerConfig):
    """People whom an OpenID Connect issuer knows."""

    grants: Annotated[tuple[ClaimGrant, ...], Field(min_length=1)]
    """What they may do: the first one that fits."""


class AccessConfig(Section):
    """Who may use the API. Without anybody here all who can connect may look, and nobody may change anything."""

    tokens: tuple[TokenConfig, ...] = ()
    certificates: tuple[CertificateConfig, ...] = ()
    oidc: tuple[OidcConfig, ...] = ()
    max_unknown: int = Field(default=20, ge=1)
    """Unknown tokens in a minute from one address; what comes after them is refused as too many."""
    max_changes: int = Field(default=60, ge=1)
    """Changes that one person may make in a minute, or try to make."""

    @field_validator("tokens", "certificates", "oidc")
    @classmethod
    def _are_different(cls, entries: tuple[Section, ...]) -> tuple[Section, ...]:
        for what in ("name", "sha256", "subject", "issuer"):
            values = Counter(getattr(entry, what) for entry in entries if hasattr(entry, what))
            twice = [value for value, count in values.items() if count > 1]
            if twice:
                raise ValueError(f"more than one entry has the {what} {', '.join(twice)}")
        return entries

    @model_validator(mode="after")
    def _names_are_different(self) -> Self:
        twice = {each.name for each in self.tokens} & {each.name for each in self.certificates}
        if twice:
            raise ValueError(f"a token and a certificate have the name {', '.join(sorted(twice))}")
        return self
