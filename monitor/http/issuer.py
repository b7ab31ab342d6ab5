"""Tokens that somebody else gives out: is this JWT one of the issuer's, meant for us, and in force?

The keys of an issuer are fetched by a job, and never while somebody waits for an answer. A token is verified with the
key that it names, and in the one way that such a key is used, whatever else the token says about itself.

Sources: RFC 7519 (tokens), RFC 7517 (keys), RFC 8725 (what goes wrong with them), OpenID Connect Discovery 1.0.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Annotated, Any

import httpx
import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import AfterValidator, Field, FilePath, StringConstraints

from alerting.network import ForbiddenAddressError, Network, check_address
from alerting.post import client, get
from alerting.section import Section

REFRESH = 300.0
"""Seconds after which the keys are fetched again."""
RETRY = 10.0
"""Seconds between two attempts at least: whoever invents keys must not make us flood the issuer."""
MAX_AGE = 86_400.0
"""Seconds for which keys are believed that could not be fetched again."""
MAX_BYTES = 256 * 1024
"""Of the issuer's documents; a longer one is not read."""
TIMEOUT = 10.0
"""Seconds that fetching may take in total."""
MIN_RSA_BITS = 2048

_ALGORITHMS = {("RSA", ""): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""What a key is used for, by its type and curve. Nothing that is symmetric: with it our keys could sign."""
_log = structlog.get_logger("tocsin.access")


def _private(url: str) -> str:
    """The address, unless somebody on the way could give us keys of their own. Raises ValueError."""
    parsed = httpx.URL(check_address(url))
    try:
        loopback = ip_address(parsed.host).is_loopback
    except ValueError:
        loopback = parsed.host == "localhost"
    if parsed.scheme != "https" and not loopback:
        raise ValueError("not an https:// address: whoever is on the way could give us keys of their own")
    return url


PrivateAddress = Annotated[str, AfterValidator(_private)]


class IssuerConfig(Section):
    """An OpenID Connect issuer, and which of its tokens are meant for us."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
    """What we call it; the audit log has `name:` before the names of its people."""
    issuer: PrivateAddress
    """Its address, exactly as its tokens have it in `iss`."""
    audience: Annotated[str, Field(min_length=1, max_length=512)]
    """What tokens that are meant for us have in `aud`."""
    jwks_url: PrivateAddress | None = None
    """Where its keys are; without it the issuer's `/.well-known/openid-configuration` says so."""
    ca_file: FilePath | None = None
    """PEM certificates to trust instead of the usual ones."""
    leeway: Annotated[float, Field(ge=0, le=120)] = 30.0
    """Seconds by which its clock and ours may differ."""
    name_claim: Annotated[str, Field(min_length=1)] = "sub"
    """The claim that says who it is. It must be one that people cannot choose for themselves."""


class NotBelievedError(Exception):
    """A token is not believed; why, in words that hold nothing of it."""


class NoKeyError(Exception):
    """It cannot be told yet: the key is not known here, and is asked for."""


class IssuerError(Exception):
    """The keys of an issuer could not be fetched; one line without secrets."""


PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
Keys = Mapping[tuple[str, str], PublicKey]
"""Public keys, by their id and by how they are used."""


class Issuer:
    """Knows the keys of one issuer. Safe to share between threads; `refresh` belongs to one job."""

    def __init__(self, config: IssuerConfig, network: Network, *, timer: Callable[[], float] = time.monotonic) -> None:
        """Nothing is fetched yet; `network` says what may be connected to, `timer` gives seconds that only pass."""
        self.config = config
        self._network = network
        self._timer = timer
        self._keys: Keys = {}
        self._fetched = self._tried = float("-inf")
        self._wanted = False

    def claims(self, token: str) -> dict[str, Any] | None:
        """What a token says; None if it is another issuer's.

        Raises:
            NotBelievedError: it is not what it claims to be, not for us, or not in force.
            NoKeyError: its key is not known (yet).
        """
        try:
            header = jwt.get_unverified_header(token)
            said = jwt.decode(token, options={"verify_signature": False})
            if said.get("iss") != self.config.issuer:
                return None
            return self._verified(token, header)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            # Only the kind of the error: its text may quote the token.
            raise NotBelievedError(f"a token of {self.config.name}: {type(error).__name__}") from None

    def refresh(self) -> None:
        """Fetch the keys if it is time, or if a token came whose key is not known. Blocks. Raises IssuerError."""
        now = self._timer()
        if now - self._tried < RETRY or (now - self._fetched < REFRESH and not self._wanted):
            return
        self._tried, self._wanted = now, False
        keys = asyncio.run(_fetch(self.config, self._network))
        if keys.keys() != self._keys.keys():
            _log.info("keys of an issuer", issuer=self.config.name, keys=len(keys))
        self._keys, self._fetched = keys, now

    def _verified(self, token: str, header: Mapping[str, Any]) -> dict[str, Any]:
        kid, algorithm = header.get("kid"), header.get("alg")
        if "crit" in header:
            raise NotBelievedError(f"a token of {self.config.name} asks for what is not known here")
        if not isinstance(kid, str) or not isinstance(algorithm, str) or algorithm not in _ALGORITHMS.values():
            raise NotBelievedError(f"a token of {self.config.name} without `kid`, or not signed as it should be")
        return jwt.decode(
            token,
            self._key(kid, algorithm),
            algorithms=[algorithm],  # that of the key: `_keys` has no other pairs
            issuer=self.config.issuer,
            audience=self.config.audience,
            leeway=self.config.leeway,
            options={"require": ["exp", "iss", "aud", self.config.name_claim]},
        )

    def _key(self, kid: str, algorithm: str) -> PublicKey:
        age = self._timer() - self._fetched
        if age <= MAX_AGE and (kid, algorithm) in self._keys:
            return self._keys[kid, algorithm]
        if age < RETRY:
            raise NotBelievedError(f"a token of {self.config.name} names a key that is none of its keys")
        self._wanted = True
        raise NoKeyError(f"the key that a token of {self.config.name} names is not known yet")


async def _fetch(config: IssuerConfig, network: Network) -> Keys:
    try:
        async with asyncio.timeout(TIMEOUT), client(network, ca_file=config.ca_file) as http:
            url = config.jwks_url or await _discovered(config, http)
            keys = dict(_usable(_object(await get(http, url, limit=MAX_BYTES)).get("keys")))
    except (httpx.HTTPError, ForbiddenAddressError, TimeoutError, OSError) as error:
        raise IssuerError(f"{config.name}: its keys cannot be fetched: {type(error).__name__}") from None
    except ValueError as error:
        raise IssuerError(f"{config.name}: {error}") from None
    if not keys:
        raise IssuerError(f"{config.name}: there is no key for RS256, ES256 or EdDSA among its keys")
    return keys


async def _discovered(config: IssuerConfig, http: httpx.AsyncClient) -> str:
    url = config.issuer.rstrip("/") + "/.well-known/openid-configuration"
    said = _object(await get(http, url, limit=MAX_BYTES))
    if said.get("issuer") != config.issuer or not isinstance(said.get("jwks_uri"), str):
        raise ValueError("what it says about itself is about another issuer, or does not say where its keys are")
    return _private(said["jwks_uri"])


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise ValueError("what it answers is not what it should be") from None


def _usable(entries: object) -> Iterator[tuple[tuple[str, str], PublicKey]]:
    """Keys that verify signatures in a way that is believed here; others are passed over, as RFC 7517 asks for."""
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        kid = entry.get("kid")
        algorithm = _ALGORITHMS.get((str(entry.get("kty")), str(entry.get("crv", ""))))
        if algorithm is None or not isinstance(kid, str) or entry.get("alg", algorithm) != algorithm:
            continue
        if entry.get("use", "sig") != "sig" or "d" in entry:  # one whose private half is published is anybody's
            continue
        try:
            key = jwt.PyJWK(entry, algorithm=algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if isinstance(key, PublicKey) and (not isinstance(key, RSAPublicKey) or key.key_size >= MIN_RSA_BITS):
            yield (kid, algorithm), key
