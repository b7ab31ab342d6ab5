"""Who is asking over HTTP, and what they may do: by tokens, certificates, roles, and the models that they are for."""

import hashlib
import hmac
import math
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus

import msgspec
import structlog

from monitor.http.access_config import AccessConfig, Role
from monitor.http.issuer import RETRY, Issuer, NoKeyError, NotBelievedError
from monitor.http.throttle import Throttle

MAX_TOKEN = 8192
"""Characters of a token; a longer header is refused before anything is computed from it."""
MAX_NAME = 128
"""Characters of a name that an issuer gives."""

_log = structlog.get_logger("tocsin.access")
_BEARER = re.compile(rf"bearer +([A-Za-z0-9._~+/-]{{1,{MAX_TOKEN}}}=*)", re.IGNORECASE)


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
