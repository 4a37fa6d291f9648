"""Id tokens of an app that says whose are good: verified, or refused; whatever else they say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from api.access.issuers import RETRY_S
from commands.apps import RegisterApp
from domain.app_settings import AppSettings, OpenIdIssuer
from domain.errors import Invalid
from tests.memory.phone import OTHER, Phone, phones, started
from tests.memory.site import Site
from tests.memory.world import REALM
from tests.unit.api.access.test_firebase import KEYS, Issuer

URL, ISSUER, APP = "https://login.example.org/keys", "https://login.example.org", "signed-in"
OPENID = OpenIdIssuer(issuer=ISSUER, audiences=("the-app", "the-site"), jwks_url=URL)


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        made.issuers[URL] = Issuer("k1")
        settings = AppSettings(merchant=REALM, openid=OPENID, default_contact_field=3)
        await made.world.do(RegisterApp(code=APP, settings=settings))
        yield made


def id_token(it: Site, *, kid: str = "k1", algorithm: str = "RS256", key: Any = None, **changes: Any) -> str:
    now_s = int(it.world.clock().timestamp())
    claims = {"iss": ISSUER, "aud": "the-app", "sub": "ann", "iat": now_s, "exp": now_s + 300, **changes}
    said = {name: value for name, value in claims.items() if value is not None}
    key = None if algorithm == "none" else key or KEYS[kid]
    return jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid})


async def sign_in(phone: Phone, token: str) -> int:
    body = {"openIdToken": token} if phone.is_v4 else {"contactFieldId": 3, "openIdToken": token}
    return (await phone.call("POST", "/client/contact", body)).status_code


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps"])
async def test_a_verified_token_names_the_contact(it: Site, base: str) -> None:
    """By its subject, whichever of the audiences it is for; the issuer is asked once."""
    phone = await started(it, app=APP, base=base)
    for audience in ("the-app", ["the-site", "another"]):
        assert await sign_in(phone, id_token(it, aud=audience)) == 200
        assert phone.says["contactField"]["contactFieldValue"] == "ann"
    assert it.issuers[URL].asked == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": "k2"},
        {"iss": "https://elsewhere.example.org"},
        {"aud": "another-app"},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"iat": 9_999_999_999},
        {"nbf": 9_999_999_999},
        {"algorithm": "HS256", "key": b"a secret of thirty-two bytes, or more"},
        {"algorithm": "none"},
        pytest.param({"key": KEYS["k2"]}, id="another key"),
    ],
    ids=str,
)
async def test_what_does_not_verify_is_401_and_changes_nothing(it: Site, changes: dict[str, Any]) -> None:
    """Another key, issuer or audience, another time, a secret in a public key's place."""
    phone = await started(it, app=APP)
    assert await sign_in(phone, id_token(it, **changes)) == 401
    assert phone.says["contactField"] is None


@pytest.mark.parametrize("bad", ["", "a.b", "a.!!.c", "e30.e30.c2ln", "x" * 9_000])
async def test_what_is_no_token_is_401_too(it: Site, bad: str) -> None:
    """The SDK gets itself another one."""
    assert await sign_in(await started(it, app=APP), bad) == 401


async def test_while_the_issuer_is_away_nobody_new_is_signed_in(it: Site) -> None:
    """A 503: the SDK keeps the call."""
    it.issuers[URL].is_away = True  # type: ignore[attr-defined]
    assert await sign_in(await started(it, app=APP), id_token(it)) == 503


async def test_an_issuers_keys_of_other_kinds_are_passed_over(it: Site) -> None:
    """An issuer signs for others, too: what we do not verify with takes no key away, nor does one that is broken."""
    issuer = Issuer("k1")
    good, _ = await issuer.fetch()
    others = [
        {"kty": "EC", "crv": "P-384", "alg": "ES384", "kid": "wide", "x": "AA", "y": "AA"},
        {**json.loads(good)["keys"][0], "alg": "PS256", "kid": "pss"},
        {**json.loads(good)["keys"][0], "alg": "RS512"},
        {"kty": "RSA", "kid": "broken", "n": 7},
        {"kty": "oct", "kid": "short", "k": "AA"},
    ]
    issuer.body = json.dumps({"keys": [*others, *json.loads(good)["keys"]]}).encode()
    it.issuers[URL] = issuer
    phone = await started(it, app=APP)
    assert await sign_in(phone, id_token(it)) == 200
    assert await sign_in(phone, id_token(it, kid="pss", key=KEYS["k1"])) == 401


@pytest.mark.parametrize(
    "body",
    [b'{"keys": ["\xff"]}', b"[" * 100_000, b"{", b"7", b'{"keys": [7]}', b'{"keys": [{"kty": "EC"}]}'],
)
async def test_what_is_no_set_of_keys_is_no_answer(it: Site, body: bytes) -> None:
    """A 503, as while the issuer is away: the SDK keeps the call."""
    it.issuers[URL] = issuer = Issuer("k1")
    issuer.body = body
    phone = await started(it, app=APP)
    assert await sign_in(phone, id_token(it)) == 503
    issuer.body = None
    it.world.clock.advance(RETRY_S)
    assert await sign_in(phone, id_token(it)) == 200


async def test_an_app_that_names_no_issuer_takes_no_token(it: Site) -> None:
    """Not even a good one: nobody can say that it is."""
    phone = await started(it, app=OTHER)
    assert await sign_in(phone, id_token(it)) == 400
    assert phone.says["contactField"] is None


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("openid.issuer", {"issuer": ""}),
        ("openid.audiences", {"audiences": ()}),
        ("openid.audiences", {"audiences": ("a", "")}),
        ("openid.jwks_url", {"jwks_url": "http://login.example.org/keys"}),
        ("openid.jwks_url", {"jwks_url": "https://"}),
        ("openid.jwks_url", {"jwks_url": "https://a b"}),
    ],
)
def test_an_issuer_that_cannot_be_is_refused(field: str, changes: dict[str, Any]) -> None:
    """Naming what to mend; without an audience, tokens for anybody's app would do."""
    said = {"issuer": ISSUER, "audiences": ("a",), "jwks_url": URL, **changes}
    with pytest.raises(Invalid) as refused:
        AppSettings(merchant=REALM, openid=OpenIdIssuer(**said)).assert_valid()
    assert refused.value.field == field


def test_who_names_an_issuer_believes_nobody_else() -> None:
    """One of the two would be without effect."""
    with pytest.raises(Invalid) as refused:
        AppSettings(merchant=REALM, openid=OPENID, open_id_trusted=True).assert_valid()
    assert refused.value.field == "open_id_trusted"
