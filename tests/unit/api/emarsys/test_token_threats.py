"""Client states and contact tokens under attack: no forger, thief or stranger gets past."""

from __future__ import annotations

import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from api.emarsys.identity.jws import (
    HEADER_CHARACTERS_MAX,
    Jws,
    TokenForeign,
    TokenForged,
    TokenKeyUnknown,
)
from api.emarsys.identity.tokens import (
    STATE_BYTES_MAX,
    ClientState,
    Tokens,
)
from domain.errors import Unauthenticated
from tests.memory.ports.signing import MemorySigningKeys, signing_key
from tests.unit.api.emarsys.device_tokens import (
    CLIENT,
    CONTACT,
    CONTACT_TOKEN,
    ED,
    ES,
    HS,
    NOW_S,
    P256,
    STATE,
    encoded,
    pem,
    tokens_of,
)


@pytest.fixture(params=[HS, ES, ED], ids=["HS256", "ES256", "EdDSA"])
def tokens(request: pytest.FixtureRequest) -> Tokens:
    return tokens_of(MemorySigningKeys(request.param))


def test_a_token_of_someone_else_is_foreign(tokens: Tokens) -> None:
    """Another app's state, another client's, another merchant's token: good, but not here."""
    state = tokens.read_state(tokens.sign_state(STATE))
    state.assert_of(app="ems11-12345", client_id="device-1")
    for app, client_id in (("EMS11-12346", "device-1"), ("EMS11-12345", "DEVICE-1"), ("EMS11-12345", "")):
        with pytest.raises(TokenForeign):
            state.assert_of(app=app, client_id=client_id)
    token = tokens.read_contact(tokens.sign_contact(CONTACT_TOKEN))
    token.assert_of(realm="shop")
    token.assert_of(realm="shop", client=CLIENT)
    for realm, client in (("Shop", CLIENT), ("shop", CONTACT), ("", None)):
        with pytest.raises(TokenForeign):
            token.assert_of(realm=realm, client=client)


def test_one_kind_is_never_taken_for_the_other(tokens: Tokens) -> None:
    """Though one key signs both."""
    with pytest.raises(TokenForged):
        tokens.read_contact(tokens.sign_state(STATE))
    with pytest.raises(TokenForged):
        tokens.read_state(tokens.sign_contact(CONTACT_TOKEN))


def test_an_api_token_of_ours_is_neither() -> None:
    """A JWT of another kind, signed by the very same key."""
    tokens = tokens_of(MemorySigningKeys(ES))
    for header in ({}, {"kid": "es"}, {"kid": "es", "typ": "JWT"}):
        other = jwt.encode({"sub": "ann", "exp": NOW_S + 9}, P256, algorithm="ES256", headers=header)
        with pytest.raises(TokenForged):
            tokens.read_state(other)


ES_PEM = P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def forged(header: dict[str, Any], key: Any = b"x" * 32, algorithm: str = "HS256") -> str:
    """A state as an attacker can make it, signed by some key of his own."""
    payload = {"client": CLIENT.hex, "clientId": "device-1", "applicationCode": "EMS11-12345"}
    data = f"{encoded(header)}.{encoded(payload)}"
    method = jwt.get_algorithm_by_name(algorithm)
    return f"{data}.{encoded(method.sign(data.encode(), method.prepare_key(key)))}"


def unsigned(header: dict[str, Any]) -> str:
    return forged(header).rpartition(".")[0] + "."


TYP = {"typ": "client-state+jwt"}
OWN_JWK = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(P256.public_key()))
FORGERIES = {
    "alg none": unsigned({"alg": "none", "kid": "es", **TYP}),
    "alg None": unsigned({"alg": "None", "kid": "es", **TYP}),
    "alg none, signed": forged({"alg": "none", "kid": "es", **TYP}),
    "alg ES256, unsigned": unsigned({"alg": "ES256", "kid": "es", **TYP}),
    "HS256 under the kid of a pair": forged({"alg": "HS256", "kid": "es", **TYP}),
    "alg HS512 under a known kid": forged({"alg": "HS512", "kid": "hs", **TYP}, b"x" * 64, "HS512"),
    "another's key under a known kid": forged({"alg": "HS256", "kid": "hs", **TYP}),
    "a key inside": forged({"alg": "ES256", "kid": "es", "jwk": OWN_JWK, **TYP}),
    "a key by URL": forged({"alg": "ES256", "kid": "es", "jku": "https://evil.example/", **TYP}),
    "crit": forged({"alg": "HS256", "kid": "hs", "crit": ["b64"], "b64": False, **TYP}),
    "kid a path": forged({"alg": "HS256", "kid": "../../dev/null", **TYP}),
    "kid a list": forged({"alg": "HS256", "kid": ["hs"], **TYP}),
    "kid null": forged({"alg": "HS256", "kid": None, **TYP}),
    "no kid": forged({"alg": "HS256", **TYP}),
    "no typ": forged({"alg": "HS256", "kid": "hs"}),
    "header a list": f"{encoded([])}.{encoded({})}.{encoded(b'x' * 32)}",
    "header no JSON": f"{encoded(b'{')}.{encoded({})}.{encoded(b'x' * 32)}",
    "header nested": f"{encoded(b'[' * 300)}.{encoded({})}.{encoded(b'x' * 32)}",
    "header endless": f"{'A' * HEADER_CHARACTERS_MAX}AAAA.{encoded({})}.",
    "empty": "",
    "dots": "..",
    "many dots": "." * 100,
    "four parts": "a.b.c.d",
    "unicode": "é.ü.ß",
    "surrogate": "\ud800",
    "NUL": "\0",
    "spaces": " ",
    "oversized": "a" * (STATE_BYTES_MAX + 1),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_forgery_is_read(name: str) -> None:
    """Whatever its header says about how it wants to be verified; nothing but our own errors comes of it."""
    tokens = tokens_of(MemorySigningKeys(ES, HS, ED))
    for read in (tokens.read_state, tokens.read_contact):
        with pytest.raises((TokenForged, TokenKeyUnknown)):
            read(FORGERIES[name])


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_secret(alg: str) -> None:
    """The classic confusion: a token signed by HMAC with the bytes of our public key."""
    method = jwt.get_algorithm_by_name(alg)
    data = f"{encoded({'alg': alg, 'kid': 'es', **TYP})}.{encoded({'client': CLIENT.hex})}"
    digest = method.hash_alg  # type: ignore[attr-defined]
    for known in (ES_PEM, ES_PEM.strip(), json.dumps(OWN_JWK).encode()):
        signature = hmac.digest(known, data.encode(), digest)
        with pytest.raises(TokenForged):
            tokens_of(MemorySigningKeys(ES)).read_state(f"{data}.{encoded(signature)}")


def test_no_character_of_a_token_may_change(tokens: Tokens) -> None:
    """Changed, cut off, or joined with parts of another good one."""
    token = tokens.sign_state(STATE)
    other = tokens.sign_state(ClientState(client=CONTACT, client_id="device-2", app="EMS11-12345"))
    header, payload, signature = token.split(".")
    broken = [f"{header}.{other.split('.')[1]}.{signature}", f"{header}.{payload}.{other.split('.')[2]}"]
    broken += [token[:end] for end in range(0, len(token), 37)]
    broken += [token + more for more in ("=", ".", "A", "AAAA", "\n", " ", "é")]
    broken += [f"{token[:at]}{'A' if token[at] != 'A' else 'B'}{token[at + 1 :]}" for at in range(len(token))]
    broken += [f"{header}.{payload}.{signature[:-6]}{junk}" for junk in ("!!!!!!", "------", "++++++")]
    for text in broken:
        with pytest.raises((TokenForged, TokenKeyUnknown)):
            tokens.read_state(text)
    assert tokens.read_state(token).client == CLIENT


def test_signed_claims_that_are_none_of_ours_are_refused() -> None:
    """Of another version of us, say: no crash, and nothing half-read."""
    tokens = tokens_of(MemorySigningKeys(HS))
    jws = Jws(MemorySigningKeys(HS), kind="client-state+jwt", name="x", bytes_max=STATE_BYTES_MAX)
    for claims in (b"", b"[]", b"{}", b'{"client": 7}', b"[" * 3000, b'{"client":"' + b"a" * 32 + b'"}'):
        with pytest.raises(TokenForged):
            tokens.read_state(jws.write(claims))


def test_the_same_kid_with_another_key_is_a_forgery() -> None:
    """A kid is a hint, not a proof."""
    token = tokens_of(MemorySigningKeys(signing_key("k", b"ab" * 32))).sign_state(STATE)
    with pytest.raises(TokenForged):
        tokens_of(MemorySigningKeys(signing_key("k", b"cd" * 32))).read_state(token)
    with pytest.raises(TokenForged):
        tokens_of(MemorySigningKeys(signing_key("k", pem(P256)))).read_state(token)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=300) | st.text("abc.-_=", max_size=60) | st.binary(max_size=99).map(encoded))
def test_no_text_crashes_the_reader(text: str) -> None:
    """It is one of our tokens or one of our errors."""
    tokens = tokens_of(MemorySigningKeys(HS, ES))
    for read in (tokens.read_state, tokens.read_contact):
        with pytest.raises(Unauthenticated):
            read(text)
