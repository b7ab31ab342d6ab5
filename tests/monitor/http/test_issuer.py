"""Tokens of an OpenID Connect issuer, from a real one: which are believed, and which never."""

import base64
import hmac
import json
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from pydantic import ValidationError
from starlette.responses import Response
from starlette.routing import Route

from alerting.network import Network
from monitor.http.access import Access, RefusedError
from monitor.http.access_config import AccessConfig, ClaimGrant, Role
from monitor.http.issuer import MAX_AGE, REFRESH, RETRY, Issuer, IssuerError
from tests.kit.api_world import known
from tests.kit.asgi import serving
from tests.kit.issuer import AUDIENCE, Idp, issuing

INSIDE = Network(("127.0.0.1",))


class World:
    """An issuer, who knows it, and a clock that only we turn."""

    def __init__(self, idp: Idp, **settings: Any) -> None:
        self.idp, self.now, self.refused = idp, 1000.0, Counter[int]()
        grants = [
            {"claim": ["groups"], "value": "ml-oncall", "role": "approver", "models": ["mail"]},
            {"claim": ["realm_access", "roles"], "value": "boss", "role": "admin"},
            {"claim": ["scope"], "value": "tocsin.read", "role": "viewer"},
        ]
        oidc = {"name": "sso", "issuer": idp.url, "audience": AUDIENCE, "grants": grants} | settings
        config = AccessConfig.model_validate({"oidc": [oidc], "max_unknown": 10**6})
        self.issuer = Issuer(config.oidc[0], INSIDE, timer=lambda: self.now)
        self.access: Access = known(config, self.refused, [self.issuer])

    def refresh(self, *, later: float = REFRESH) -> None:
        self.now += later
        self.issuer.refresh()

    def enter(self, token: str, role: Role = Role.VIEWER) -> tuple[str, str, tuple[str, ...] | None]:
        who = self.access.enter([f"Bearer {token}"], "192.0.2.1", role)
        return who.name, who.role.value, who.models

    def refusal(self, token: str) -> int:
        with pytest.raises(RefusedError) as error:
            self.enter(token)
        assert token not in str(error.value)
        return error.value.status.value


@pytest.fixture(scope="module")
def served() -> Iterator[Idp]:
    with issuing() as idp:
        for number, algorithm in enumerate(("RS256", "ES256", "EdDSA")):
            idp.add(f"k{number}", algorithm)
        yield idp


@pytest.fixture
def world(served: Idp) -> World:
    made = World(served)
    made.issuer.refresh()
    return made


@pytest.mark.parametrize("kid", ["k0", "k1", "k2"])
def test_a_token_of_the_issuer_is_believed_whichever_kind_of_key_it_has(world: World, kid: str) -> None:
    assert world.enter(world.idp.token(kid, scope="openid tocsin.read")) == ("sso:ada", "viewer", None)


@pytest.mark.parametrize(
    ("claims", "who"),
    [
        ({"groups": ["x", "ml-oncall"]}, ("sso:ada", "approver", ("mail",))),
        ({"groups": "ml-oncall"}, ("sso:ada", "approver", ("mail",))),
        ({"realm_access": {"roles": ["boss"]}}, ("sso:ada", "admin", None)),
        ({"groups": ["ml-oncall"], "realm_access": {"roles": ["boss"]}}, ("sso:ada", "approver", ("mail",))),
    ],
)
def test_the_first_grant_that_fits_says_what_somebody_may(world: World, claims: dict[str, Any], who: Any) -> None:
    assert world.enter(world.idp.token("k2", **claims)) == who


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"groups": ["ml-oncalls"]},
        {"groups": {"ml-oncall": True}},
        {"groups": "ml-oncall x"},
        {"realm_access": ["boss"]},
        {"realm_access": {"roles": {"boss": 1}}},
        {"scope": "tocsin.readx"},
        {"scope": 5},
    ],
)
def test_whoever_no_grant_fits_may_nothing(world: World, claims: dict[str, Any]) -> None:
    assert world.refusal(world.idp.token("k2", **claims)) == 403


def forged(idp: Idp, kind: str) -> str:
    """A token that is wrong in one way."""
    now, good = time.time(), idp.token("k0", scope="tocsin.read")
    public = idp.keys["k0"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body, signature = good.split(".")

    def signed_by_public_key() -> str:
        header = part({"alg": "HS256", "typ": "JWT", "kid": "k0"})
        mac = hmac.new(public, f"{header}.{body}".encode(), sha256).digest()
        return f"{header}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    own = Ed25519PrivateKey.generate()
    carried = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(own.public_key().public_bytes_raw())}
    carried["x"] = carried["x"].decode().rstrip("=")
    scope = {"scope": "tocsin.read"}
    made = {
        "wrong key": lambda: idp.token("k2", key=own, **scope),
        "no signature": lambda: f"{part({'alg': 'none', 'kid': 'k0'})}.{body}.",
        "no signature, with one": lambda: f"{part({'alg': 'none', 'kid': 'k0'})}.{body}.{signature}",
        "signed with the public key": signed_by_public_key,
        "another key's algorithm": lambda: f"{part({'alg': 'ES256', 'kid': 'k0'})}.{body}.{signature}",
        "rsa with another padding": lambda: idp.token("k0", algorithm="PS256", **scope),
        "rsa with another hash": lambda: idp.token("k0", algorithm="RS512", **scope),
        "its own key": lambda: jwt.encode(claims(idp), own, "EdDSA", {"kid": "k2", "jwk": carried}),
        "a key elsewhere": lambda: jwt.encode(claims(idp), own, "EdDSA", {"kid": "k2", "jku": f"{idp.url}/keys"}),
        "what nobody knows": lambda: jwt.encode(claims(idp), idp.keys["k2"][1], "EdDSA", {"kid": "k2", "crit": ["x"]}),
        "no key id": lambda: jwt.encode(claims(idp), idp.keys["k2"][1], "EdDSA"),
        "an unknown key": lambda: idp.token("k9", key=own, **scope),
        "expired": lambda: idp.token("k0", exp=now - 31, **scope),
        "without an end": lambda: idp.token("k0", exp=None, **scope),
        "an end that is no number": lambda: idp.token("k0", exp="tomorrow", **scope),
        "not yet": lambda: idp.token("k0", nbf=now + 60, **scope),
        "for somebody else": lambda: idp.token("k0", aud="other", **scope),
        "for nobody": lambda: idp.token("k0", aud=None, **scope),
        "another issuer": lambda: idp.token("k0", iss=f"{idp.url}/", **scope),
        "no issuer": lambda: idp.token("k0", iss=None, **scope),
        "no name": lambda: idp.token("k0", sub=None, **scope),
        "a name that cannot be shown": lambda: idp.token("k0", sub="ada\n", **scope),
        "an endless name": lambda: idp.token("k0", sub="a" * 129, **scope),
        "another body": lambda: f"{head}.{part(claims(idp) | {'sub': 'boss'})}.{signature}",
        "half of it": lambda: good[: len(good) // 2],
        "deep": lambda: f"{head}.{base64.urlsafe_b64encode(b'[' * 5000).decode().rstrip('=')}.{signature}",
    }
    return made[kind]() if kind else ",".join(made)


def part(said: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


def claims(idp: Idp) -> dict[str, Any]:
    return {"iss": idp.url, "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 600, "scope": "tocsin.read"}


FORGERIES = [
    *("wrong key", "no signature", "no signature, with one", "signed with the public key", "another key's algorithm"),
    *("rsa with another padding", "rsa with another hash", "its own key", "a key elsewhere", "what nobody knows"),
    *("no key id", "an unknown key", "expired", "without an end", "an end that is no number", "not yet"),
    *("for somebody else", "for nobody", "another issuer", "no issuer", "no name", "a name that cannot be shown"),
    *("an endless name", "another body", "half of it", "deep"),
]


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_token_opens_nothing(world: World, kind: str) -> None:
    assert world.refusal(forged(world.idp, kind)) == 401
    assert world.refused == {401: 1}


def test_every_forgery_is_tried(served: Idp) -> None:
    assert ",".join(FORGERIES).split(",") == forged(served, "").split(",")


def test_clocks_may_differ_a_little(world: World) -> None:
    now = time.time()
    assert world.enter(world.idp.token("k2", exp=now - 15, nbf=now + 15, scope="tocsin.read"))[0] == "sso:ada"


def test_who_guesses_tokens_of_an_issuer_is_slowed_down_and_nobody_else(served: Idp) -> None:
    config = World(served).issuer.config.model_dump() | {"grants": [{"claim": ["scope"], "value": "tocsin.read"}]}
    access_config = AccessConfig.model_validate({"oidc": [config], "max_unknown": 3})
    issuer = Issuer(access_config.oidc[0], INSIDE)
    issuer.refresh()
    access = known(access_config, issuers=[issuer])
    statuses = []
    for _ in range(5):
        with pytest.raises(RefusedError) as error:
            access.enter([f"Bearer {forged(served, 'wrong key')}"], "192.0.2.1")
        statuses.append(error.value.status.value)
    assert statuses == [401, 401, 401, 429, 429]
    assert access.enter([f"Bearer {served.token('k2', scope='tocsin.read')}"], "192.0.2.1").name == "sso:ada"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)
@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["RS256", "k0"]),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=3,
        ),
    ),
    body=st.dictionaries(st.sampled_from(["iss", "aud", "exp", "sub", "nbf"]), st.integers() | st.text(max_size=8)),
    signature=st.binary(max_size=64),
)
def test_no_token_is_a_server_error(world: World, header: Any, body: Any, signature: bytes) -> None:
    body = {"iss": world.idp.url} | body
    token = f"{part(header)}.{part(body)}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert world.refusal(token) in (401, 503)


# Its keys.


def test_a_new_key_is_asked_for_when_a_token_names_it_and_not_more_often_than_that() -> None:
    with issuing() as idp:
        idp.add("old")
        world = World(idp)
        world.issuer.refresh()
        old = idp.token("old", scope="tocsin.read")
        idp.add("new")
        new = idp.token("new", scope="tocsin.read")
        asked = idp.asked
        assert world.refusal(new) == 401  # the keys are fresh, so this one is none of them
        world.refresh(later=RETRY)
        assert idp.asked == asked  # nobody has wanted one since they grew older
        assert world.refusal(new) == 503
        world.refresh(later=1.0)
        assert idp.asked == asked + 1
        assert world.enter(new)[0] == "sso:ada"
        assert world.enter(old)[0] == "sso:ada"
        for _ in range(60):  # half a second each
            world.refusal(idp.token("invented", key=Ed25519PrivateKey.generate(), scope="tocsin.read"))
            world.refresh(later=0.5)
        assert asked + 2 <= idp.asked <= asked + 1 + 30 / RETRY
        del idp.keys["old"]
        world.refresh()
        assert world.refusal(old) == 401


@pytest.mark.parametrize("status", [500, 404, 302])
def test_an_issuer_that_is_away_locks_nobody_out_until_its_keys_are_old(status: int) -> None:
    with issuing() as idp:
        idp.add("k")
        world, token = World(idp), idp.token("k", scope="tocsin.read")
        assert world.refusal(token) == 503  # they were not fetched yet
        idp.away = status
        with pytest.raises(IssuerError, match="sso: its keys cannot be fetched"):
            world.issuer.refresh()
        assert world.refusal(token) == 503
        idp.away = None
        world.refresh(later=RETRY)
        assert world.enter(token)[0] == "sso:ada"
        idp.away = status
        with pytest.raises(IssuerError):
            world.refresh()
        world.now += MAX_AGE - 2 * REFRESH
        assert world.enter(token)[0] == "sso:ada"
        world.now += 2 * REFRESH
        assert world.refusal(token) == 503


def test_keys_that_anybody_could_use_are_passed_over() -> None:
    with issuing() as idp:
        idp.add("good")
        small = generate_private_key(65537, 1024)
        private = Ed25519PrivateKey.generate()
        published = jwt.algorithms.OKPAlgorithm.to_jwk(private, as_dict=True)
        idp.more = [
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"},
            {**RSAAlgorithm.to_jwk(small.public_key(), as_dict=True), "kid": "small"},
            {**published, "kid": "published"},
            {**idp.jwk("good"), "kid": "for encryption", "use": "enc"},
            {**idp.jwk("good"), "kid": "for something else", "alg": "ES256"},
            {**idp.jwk("good"), "kid": "broken", "x": "AAAA"},
            *({}, [], "x", None, {"kty": ["RSA"], "kid": "k"}, {"kty": "EC", "crv": {}, "kid": "k"}),
        ]
        world = World(idp)
        world.issuer.refresh()
        assert list(world.issuer._keys) == [("good", "EdDSA")]
        assert world.refusal(idp.token("published", key=private, scope="tocsin.read")) == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"keys": 5}', b"[" * 9000, b"\xff", b" " * 300_000, b"{}"])
def test_whatever_an_issuer_answers_is_one_clear_error(body: bytes) -> None:
    with serving([Route("/keys", lambda _: Response(body))]) as url:
        config = {"name": "sso", "issuer": url, "audience": "x", "jwks_url": f"{url}/keys"}
        grants = [{"claim": ["scope"], "value": "x"}]
        made = AccessConfig.model_validate({"oidc": [config | {"grants": grants}]})
        with pytest.raises(IssuerError, match=r"^sso: "):
            Issuer(made.oidc[0], INSIDE).refresh()
        with pytest.raises(IssuerError, match="ForbiddenAddressError"):
            Issuer(made.oidc[0], Network()).refresh()


def test_an_issuer_that_speaks_about_another_one_is_not_believed() -> None:
    with issuing() as idp:
        idp.add("k")
        world = World(idp, issuer=idp.url.replace("127.0.0.1", "localhost"))
        world.issuer._network = Network(("127.0.0.1", "localhost"))
        with pytest.raises(IssuerError, match="about another issuer"):
            world.issuer.refresh()


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://login.example.com"},
        {"issuer": "ftp://127.0.0.1"},
        {"jwks_url": "http://login.example.com/keys"},
        {"grants": []},
        {"leeway": 600},
        {"name": "a:b"},
    ],
)
def test_settings_that_would_believe_too_much_are_refused(wrong: dict[str, Any]) -> None:
    good = {"name": "sso", "issuer": "https://login.example.com", "audience": "x"}
    good |= {"grants": [{"claim": ["scope"], "value": "x"}]}
    AccessConfig.model_validate({"oidc": [good]})
    with pytest.raises(ValidationError):
        AccessConfig.model_validate({"oidc": [good | wrong]})


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=3),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["groups", "roles"]), x),
    )
)
def test_no_claims_break_a_grant(claims: Any) -> None:
    grant = ClaimGrant(claim=("groups", "roles"), value="boss")
    assert grant.fits({"groups": claims}) in (True, False)
