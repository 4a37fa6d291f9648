"""Firebase ID tokens: what is accepted, whose keys, and how often the issuer is asked."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from api.access import issuers
from api.ezout import firebase
from api.ezout.firebase import FirebaseVerifier
from domain.errors import Unauthenticated, Unavailable

PROJECT, NOW_S = "my-shops", 1_800_000_000.0
SHOP = UUID("7f6c2b8e-1d7a-4a55-9a3b-0c9f3c1d2e4f")
KEYS: dict[str, RSAPrivateKey] = {kid: generate_private_key(65537, 2048) for kid in ("k1", "k2")}


class Issuer:
    """api.access.issuers.IssuerKeys, and a clock, both of a test. asked: how often."""

    def __init__(self, *kids: str, max_age_s: float = 3_600) -> None:
        self.kids, self.max_age_s = list(kids), max_age_s
        self.asked, self.is_away, self.now_s = 0, False, NOW_S
        self.body: bytes | None = None

    async def fetch(self) -> tuple[bytes, float]:
        self.asked += 1
        if self.is_away:
            raise Unavailable("the issuer does not answer")
        return self.body or json.dumps({"keys": [_jwk(kid) for kid in self.kids]}).encode(), self.max_age_s

    def clock(self) -> float:
        return self.now_s


class Users:
    """api.ezout.port.Revocations."""

    def __init__(self) -> None:
        self.valid_since: float | None = 0.0
        self.asked = 0

    async def valid_since_s(self, uid: str) -> float | None:
        self.asked += 1
        return self.valid_since


def _jwk(kid: str) -> dict[str, Any]:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEYS[kid].public_key()))
    return {**public, "kid": kid, "alg": "RS256", "use": "sig"}


def id_token(kid: str = "k1", *, header: dict[str, Any] | None = None, **changes: Any) -> str:
    claims: dict[str, Any] = {
        "iss": f"https://securetoken.google.com/{PROJECT}",
        "aud": PROJECT,
        "sub": "user-1",
        "iat": NOW_S - 10,
        "auth_time": NOW_S - 20,
        "exp": NOW_S + 3_600,
        "shops": [str(SHOP)],
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, KEYS[kid], algorithm="RS256", headers={"kid": kid, **(header or {})})


def verifier(issuer: Issuer, users: Users | None = None) -> FirebaseVerifier:
    return FirebaseVerifier(issuer, project=PROJECT, now_s=issuer.clock, revocations=users)


async def test_a_token_of_the_project_names_its_user_and_shops() -> None:
    """Sub is who, the custom claims shops and roles say what for, exp says until when."""
    identity = await verifier(Issuer("k1")).verify(id_token(roles=["merchant"]))
    assert (identity.caller.uid, identity.caller.shops) == ("user-1", frozenset({SHOP}))
    assert identity.caller.roles == {"merchant"}
    assert identity.expires_at_s == NOW_S + 3_600


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://securetoken.google.com/another"},
        {"iss": PROJECT},
        {"aud": "another"},
        {"aud": None},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 129},
        {"sub": 7},
        {"exp": None},
        {"exp": NOW_S},
        {"exp": "soon"},
        {"exp": 10**400},
        {"exp": float("nan")},
        {"auth_time": float("nan")},
        {"auth_time": -(10**400)},
        {"iat": None},
        {"iat": NOW_S + 120},
        {"auth_time": None},
        {"auth_time": NOW_S + 120},
        {"shops": "all"},
        {"shops": ["x"]},
        {"roles": "admin"},
    ],
)
async def test_a_token_that_says_something_else_is_refused(changes: dict[str, Any]) -> None:
    """Another project, a time that does not fit, a claim missing or of another form."""
    with pytest.raises(Unauthenticated):
        await verifier(Issuer("k1")).verify(id_token(**changes))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x.y.z",
        id_token("k2", header={"kid": "k1"}),
        id_token(header={"kid": ""}),
        jwt.encode(
            {"sub": "u"}, "a secret of thirty-two bytes, or more", algorithm="HS256", headers={"kid": "k1"}
        ),
        jwt.encode({"sub": "u"}, "", algorithm="none", headers={"kid": "k1"}),
        id_token()[:-4] + "AAAA",
    ],
    ids=["empty", "garbage", "another key's signature", "no kid", "HS256", "none", "changed"],
)
async def test_a_token_that_proves_nothing_is_refused(token: str) -> None:
    """Only RS256 by a key of the issuer counts, whatever the token says of itself."""
    with pytest.raises(Unauthenticated):
        await verifier(Issuer("k1")).verify(token)


async def test_keys_are_kept_for_their_max_age() -> None:
    """One request to the issuer serves until the keys' age is over; then they are asked for anew."""
    issuer = Issuer("k1", max_age_s=600)
    door = verifier(issuer)
    for _ in range(3):
        await door.verify(id_token())
    assert issuer.asked == 1
    issuer.now_s += 601
    await door.verify(id_token())
    assert issuer.asked == 2


async def test_a_withdrawn_key_is_worth_nothing_after_its_age() -> None:
    """Tokens verified before are not remembered beyond their key."""
    issuer = Issuer("k1", max_age_s=600)
    door = verifier(issuer)
    await door.verify(id_token())
    issuer.kids = ["k2"]
    issuer.now_s += 601
    with pytest.raises(Unauthenticated):
        await door.verify(id_token())


async def test_a_new_key_is_found_at_once_and_made_up_ones_do_not_flood_the_issuer() -> None:
    """An unknown kid asks the issuer, and then not again until the cooldown is over."""
    issuer = Issuer("k1")
    door = verifier(issuer)
    await door.verify(id_token())
    issuer.kids, issuer.now_s = ["k1", "k2"], issuer.now_s + issuers.COOLDOWN_S
    await door.verify(id_token("k2"))
    assert issuer.asked == 2
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await door.verify(id_token(header={"kid": f"made up {number}"}))
    assert issuer.asked == 2
    issuer.now_s += issuers.COOLDOWN_S
    with pytest.raises(Unauthenticated):
        await door.verify(id_token(header={"kid": "made up"}))
    assert issuer.asked == 3


async def test_an_issuer_that_is_away_stops_nobody_for_a_while() -> None:
    """Keys serve on for an hour beyond their age; after that nobody comes in, and the answer is 503, not 401."""
    issuer = Issuer("k1", max_age_s=600)
    door = verifier(issuer)
    await door.verify(id_token())
    issuer.is_away, issuer.now_s = True, issuer.now_s + 700
    await door.verify(id_token())
    issuer.now_s += issuers.GRACE_S
    with pytest.raises(Unavailable):
        await door.verify(id_token(exp=NOW_S + 10_000))
    issuer.is_away, issuer.now_s = False, issuer.now_s + issuers.RETRY_S
    await door.verify(id_token(exp=NOW_S + 10_000))


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"keys": [{"kty": "RSA"}]}'])
async def test_keys_that_cannot_be_read_are_no_keys(body: bytes) -> None:
    """Nonsense from the issuer admits nobody, and does not break the process."""
    issuer = Issuer("k1")
    issuer.body = body
    with pytest.raises(Unavailable):
        await verifier(issuer).verify(id_token())


async def test_revoked_tokens_are_refused_within_a_minute() -> None:
    """A user signed out, disabled or gone: tokens from before are refused; the answer is kept for a minute."""
    issuer, users = Issuer("k1"), Users()
    door = verifier(issuer, users)
    await door.verify(id_token())
    await door.verify(id_token())
    assert users.asked == 1
    users.valid_since, issuer.now_s = NOW_S, issuer.now_s + firebase.REVOCATION_S
    with pytest.raises(Unauthenticated, match="revoked"):
        await door.verify(id_token())
    await door.verify(id_token(auth_time=NOW_S))
    users.valid_since, issuer.now_s = None, issuer.now_s + firebase.REVOCATION_S
    with pytest.raises(Unauthenticated):
        await door.verify(id_token(auth_time=NOW_S))
