"""Who is asking over HTTP, and what they may do: by tokens, certificates, roles, and the models that they are for."""

import hashlib
import hmac
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Self

import msgspec
import structlog
from pydantic import Field, StringConstraints, field_validator, model_validator

from alerting.section import Section
from monitor.http.issuer import RETRY, Issuer, IssuerConfig, NoKeyError, NotBelievedError
from monitor.http.throttle import Throttle

MAX_TOKEN = 8192
"""Characters of a token; a longer header is refused before anything is computed from it."""
MAX_NAME = 128
"""Characters of a name that an issuer gives."""

_log = structlog.get_logger("tocsin.access")
_BEARER = re.compile(rf"bearer +([A-Za-z0-9._~+/-]{{1,{MAX_TOKEN}}}=*)", re.IGNORECASE)


class Role(StrEnum):
    """What somebody may do; each may do what those before it may, but for the first, which is for programs."""

    PRODUCER = "producer"
    """Send events, and nothing else; nobody else may but admins."""
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


class Principal(msgspec.Struct, frozen=True):
    """Somebody who is asking."""

    name: str
    role: Role
    models: tuple[str, ...] | None = None
    """The only models that exist for them; None if all do."""
    until: float | None = None
    """When what they have shown ends to be in force, in epoch seconds; None if it does not."""

    def sees(self, model: str) -> bool:
        """Whether a model exists for them."""
        return self.models is None or model in self.models


ANYBODY = Principal("anybody", Role.VIEWER)
"""Who is asking where nobody is configured."""


class RefusedError(Exception):
    """Somebody may not do what they want; one sentence for them.

    Attributes:
        status: 401, 403, 429 or 503.
        wait: for 429 and 503, the seconds after which it may be tried again.
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
    """Knows people by what they show. Safe to share between threads, and it waits for nobody."""

    def __init__(
        self,
        config: AccessConfig,
        *,
        clock: Callable[[], float],
        refused: Callable[[HTTPStatus], None],
        issuers: Sequence[Issuer] = (),
    ) -> None:
        """`clock` is a monotonic one, in seconds; `refused` is called for everybody who is refused.

        `issuers` are those of `config.oidc`, in its order; somebody else has them fetch their keys.
        """
        self._known = [
            (bytes.fromhex(token.sha256), Principal(token.name, token.role, token.models)) for token in config.tokens
        ]
        holders = config.certificates
        self._certificates = {each.subject: Principal(each.name, each.role, each.models) for each in holders}
        self._issuers = list(zip(config.oidc, issuers, strict=True))
        self._unknown = Throttle(config.max_unknown, clock)
        self._changes = Throttle(config.max_changes, clock)
        self._refused = refused

    @property
    def is_open(self) -> bool:
        """True where everybody may look, because nobody is configured."""
        return not (self._known or self._certificates or self._issuers)

    def enter(
        self,
        authorization: Sequence[str],
        address: str,
        role: Role = Role.VIEWER,
        *,
        changes: bool = False,
        limit: Throttle | None = None,
        certificate: Sequence[str] = (),
        elsewhere: bool = False,
    ) -> Principal:
        """Who is asking, if they may.

        A token that is known is taken at any time and from everywhere: behind a proxy everybody has one address, and
        whoever guesses must not be able to lock the others out. It is its length that makes guessing hopeless.

        Args:
            authorization: all headers of that name; a token counts more than a certificate.
            address: where the request comes from.
            role: the one that is needed.
            changes: whether it is to change something.
            limit: what counts it, if it is not to count as one of the changes that they may make.
            certificate: the names in the certificate that was shown, and verified when the connection was made.
            elsewhere: whether a page of another site made the browser ask. Browsers show certificates by themselves.

        Raises:
            RefusedError: they may not.
        """
        try:
            who = self._who(authorization, address, certificate)
        except RefusedError as error:
            self._refused(error.status)
            raise
        self.permit(who, role, changes=changes, limit=limit, elsewhere=elsewhere)
        return who

    def permit(
        self,
        who: Principal,
        role: Role,
        *,
        changes: bool = False,
        limit: Throttle | None = None,
        elsewhere: bool = False,
    ) -> None:
        """Raise RefusedError unless somebody who is known may do this; the arguments are as in `enter`."""
        try:
            self._check(who, role, changes=changes, limit=limit or self._changes, elsewhere=elsewhere)
        except RefusedError as error:
            self._refused(error.status)
            raise

    def _check(self, who: Principal, role: Role, *, changes: bool, limit: Throttle, elsewhere: bool) -> None:
        if changes and elsewhere:
            raise RefusedError(HTTPStatus.FORBIDDEN, "changes are not taken from pages of other sites")
        if not who.role.may(role) or (changes and self.is_open):
            raise RefusedError(HTTPStatus.FORBIDDEN, f"this needs a token with the role {role} or above")
        if changes and (wait := limit.count(who.name)) is not None:
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "too many changes in a minute", wait)

    def _who(self, authorization: Sequence[str], address: str, certificate: Sequence[str]) -> Principal:
        if self.is_open:
            return ANYBODY
        return (
            self._holder(certificate) if certificate and not authorization else self._principal(authorization, address)
        )

    def _holder(self, certificate: Sequence[str]) -> Principal:
        """By the certificate; one that is two people's is nobody's."""
        found = [self._certificates[name] for name in certificate if name in self._certificates]
        if len(found) != 1:
            _log.warning("unknown certificate", names=list(certificate)[:10])
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "this certificate is nobody's here")
        return found[0]

    def _principal(self, authorization: Sequence[str], address: str) -> Principal:
        """By the token; it takes as long for each of the hashes, and for a token that nobody has."""
        match = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        given = hashlib.sha256(match[1].encode() if match else b"").digest()
        found = None
        for known, principal in self._known:
            if hmac.compare_digest(given, known):
                found = principal
        if match and found:
            return found
        refusal = RefusedError(HTTPStatus.UNAUTHORIZED, "a bearer token is needed")
        try:
            if match and (person := self._person(match[1])) is not None:
                return person
        except NotBelievedError as error:
            _log.warning("token not believed", address=address, why=str(error))
        except NoKeyError as error:
            refusal = RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error), RETRY)
        if authorization:
            if (wait := self._unknown.count(address)) is not None:
                raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "too many unknown tokens in a minute", wait)
            _log.warning("unknown token", address=address)
        raise refusal

    def _person(self, token: str) -> Principal | None:
        """Somebody of whom an issuer speaks; None if none of ours does. Raises NotBelievedError or NoKeyError."""
        for config, issuer in self._issuers if token.count(".") == 2 else ():
            claims = issuer.claims(token)
            if claims is None:
                continue
            name = claims[config.name_claim]
            if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
                raise NotBelievedError(f"a token of {config.name} whose {config.name_claim} is no name")
            grant = next((grant for grant in config.grants if grant.fits(claims)), None)
            if grant is None:
                raise RefusedError(HTTPStatus.FORBIDDEN, f"none of the grants for {config.name} fits this token")
            return Principal(f"{config.name}:{name}", grant.role, grant.models, float(claims["exp"]))
        return None
