"""A real OpenID Connect issuer on the loopback: its keys can be changed, and it can be away."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.kit.asgi import serving

AUDIENCE = "tocsin"
_MAKERS: dict[str, Any] = {
    "RS256": lambda: generate_rsa(65537, 2048),
    "ES256": lambda: generate_private_key(SECP256R1()),
    "EdDSA": Ed25519PrivateKey.generate,
}
_FORMS: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


class Idp:
    """The issuer; `away` is the status that it answers with instead, `asked` counts who wanted its keys."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: dict[str, tuple[str, Any]] = {}
        self.more: list[Any] = []
        self.away: int | None = None
        self.asked = 0

    def add(self, kid: str, algorithm: str = "EdDSA") -> None:
        """A new key."""
        self.keys[kid] = algorithm, _MAKERS[algorithm]()

    def token(self, kid: str, *, key: Any = None, algorithm: str | None = None, **claims: Any) -> str:
        """A token for Ada, signed with the key of that id; None as a claim leaves it out."""
        known, own = self.keys.get(kid, (algorithm or "EdDSA", key))
        now = time.time()
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 600} | claims
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, own if key is None else key, algorithm or known, {"kid": kid})

    def jwk(self, kid: str) -> dict[str, Any]:
        """A public key as it is published."""
        algorithm, key = self.keys[kid]
        return {**_FORMS[algorithm].to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": algorithm}

    def routes(self) -> list[Route]:
        def discovery(_: Request) -> Response:
            return self._answer({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

        def keys(_: Request) -> Response:
            self.asked += 1
            return self._answer({"keys": [*self.more, *map(self.jwk, self.keys)]})

        return [Route("/.well-known/openid-configuration", discovery), Route("/keys", keys)]

    def _answer(self, said: Any) -> Response:
        if self.away is not None:
            return Response("away", self.away, headers={"location": f"{self.url}/keys"})
        return Response(json.dumps(said), media_type="application/json")


@contextmanager
def issuing() -> Iterator[Idp]:
    """Serve one, without any key yet."""
    idp = Idp()
    with serving(idp.routes()) as idp.url:
        yield idp
