"""Client states and contact tokens: what they say, how long, how large, and what no forger gets past."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from api.emarsys import tokens as bounds
from api.emarsys.jws import (
    HEADER_CHARACTERS_MAX,
    Jws,
    TokenExpired,
    TokenForeign,
    TokenForged,
    TokenKeyUnknown,
)
from api.emarsys.tokens import (
    CONTACT_VALUE_BYTES_MAX,
    LIFETIME_S,
    PROPERTIES_BYTES_MAX,
    STATE_BYTES_MAX,
    UNRESOLVED_LIFETIME_S,
    ClientState,
    ContactField,
    ContactToken,
    Tokens,
    fit,
)
from domain.errors import TooLarge, Unauthenticated
from infra.signing.key import Key
from tests.memory.signing import MemorySigningKeys, signing_key

NOW_S = 1_800_000_000.0
CLIENT, CONTACT = UUID("1b4e28ba-2fa1-81d2-883f-0016d3cca427"), UUID("6fa459ea-ee8a-8ca4-894e-db77e160355e")
P256, ED25519 = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
STATE = ClientState(
    client=CLIENT,
    client_id="device-1",
    app="EMS11-12345",
    properties={"platform": "android", "pushSettings": {"importance": 3}},
    has_push_token=True,
    contact_field=ContactField(id=3, value="ann@example.org"),
    contact=CONTACT,
    contact_id=42,
)
CONTACT_TOKEN = ContactToken(contact=CONTACT, realm="shop", contact_id=42, client=CLIENT)


def pem(private: Any) -> bytes:
    made: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made


HS, ES, ED = signing_key("hs"), signing_key("es", pem(P256)), signing_key("ed", pem(ED25519))


def tokens_of(keys: MemorySigningKeys, now_s: Callable[[], float] = lambda: NOW_S) -> Tokens:
    return Tokens(keys, now_s=now_s)


@pytest.fixture(params=[HS, ES, ED], ids=["HS256", "ES256", "EdDSA"])
def tokens(request: pytest.FixtureRequest) -> Tokens:
    return tokens_of(MemorySigningKeys(request.param))


def claims_of(token: str) -> dict[str, Any]:
    """As the web SDK reads a state: the middle segment through `atob`, as it is, then JSON."""
    payload = token.split(".")[1]
    assert not set(payload) & set("-_=")
    read: dict[str, Any] = json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4)).decode("latin-1"))
    return read


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_state_says_all_that_the_device_is(tokens: Tokens) -> None:
    """Signed and readable; what was signed is what is read."""
    token = tokens.sign_state(STATE)
    assert claims_of(token) == {
        "client": CLIENT.hex,
        "clientId": "device-1",
        "applicationCode": "EMS11-12345",
        "properties": {"platform": "android", "pushSettings": {"importance": 3}},
        "contactField": {
            "contactFieldId": 3,
            "contactFieldValue": "ann@example.org",
            "contactFieldEncryped": False,
        },
        "pushToken": True,
        "contactReference": CONTACT.hex,
        "contactId": 42,
        "iat": NOW_S,
    }
    read = tokens.read_state(token)
    assert read == tokens.read_state(token)
    assert (read.client, read.contact_field, read.has_push_token) == (CLIENT, STATE.contact_field, True)
    assert read.properties == STATE.properties


@pytest.mark.parametrize(
    ("field", "claim"),
    [
        (None, None),
        (
            ContactField(id=3, value="x", encrypted=True),
            {"contactFieldId": 3, "contactFieldValue": "x", "contactFieldEncryped": True},
        ),
    ],
)
def test_the_web_sdk_learns_who_is_signed_in(tokens: Tokens, field: ContactField | None, claim: Any) -> None:
    """Null is anonymous, an object is identified."""
    state = ClientState(client=CLIENT, client_id="c", app="A", contact_field=field)
    assert claims_of(tokens.sign_state(state))["contactField"] == claim
    assert tokens.read_state(tokens.sign_state(state)).contact_field == field


def test_what_is_not_so_is_not_there(tokens: Tokens) -> None:
    """No contact: no claim contactField. No push token: nothing truthy."""
    said = claims_of(tokens.sign_state(ClientState(client=CLIENT, client_id="c", app="A")))
    assert said.keys() == {"client", "clientId", "applicationCode", "iat"}


def test_other_services_read_them_as_any_jwt() -> None:
    """A stock library verifies both with the key that signs: header, base64 and signature are the standard's."""
    verifiers: list[tuple[Key, Any]] = [
        (HS, b"hs" + bytes(30)),
        (ES, P256.public_key()),
        (ED, ED25519.public_key()),
    ]
    for key, verifier in verifiers:
        tokens = tokens_of(MemorySigningKeys(key), time.time)
        read = jwt.decode(tokens.sign_contact(CONTACT_TOKEN), verifier, algorithms=[key.algorithm])
        assert read["contactReference"] == CONTACT.hex
        assert jwt.get_unverified_header(tokens.sign_state(STATE)) == {
            "alg": key.algorithm,
            "kid": key.kid,
            "typ": "client-state+jwt",
        }


@pytest.mark.parametrize(
    ("token", "claims", "lifetime_s"),
    [
        (CONTACT_TOKEN, {"contactId": 42, "client": CLIENT.hex}, LIFETIME_S),
        (ContactToken(contact=CONTACT, realm="shop"), {}, UNRESOLVED_LIFETIME_S),
        (ContactToken(contact=CONTACT, realm="shop", disabled=True), {"disabled": True}, LIFETIME_S),
    ],
)
def test_a_contact_token_lives_8_hours_or_until_its_contact_should_be_known(
    token: ContactToken, claims: dict[str, Any], lifetime_s: int
) -> None:
    """Good to the last second, then expired, whether it was seen before or not."""
    now_s = NOW_S
    tokens = tokens_of(MemorySigningKeys(HS), lambda: now_s)
    signed = tokens.sign_contact(token)
    assert claims_of(signed) == {
        "contactReference": CONTACT.hex,
        "businessAreaId": "shop",
        "exp": NOW_S + lifetime_s,
        **claims,
    }
    now_s += lifetime_s - 1
    assert tokens.read_contact(signed).contact == CONTACT
    now_s += 1
    for reader in (tokens, tokens_of(MemorySigningKeys(HS), lambda: now_s)):
        with pytest.raises(TokenExpired):
            reader.read_contact(signed)


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


def test_rotation_needs_no_restart_and_loses_nobody() -> None:
    """The new key signs at once, the former goes on verifying until it is taken away, even for what was seen before."""
    keys = MemorySigningKeys(HS)
    tokens = tokens_of(keys)
    former = tokens.sign_state(STATE)
    tokens.read_state(former)
    keys.use(ES, HS)
    latter = tokens.sign_state(STATE)
    assert jwt.get_unverified_header(latter)["kid"] == "es"
    assert tokens.read_state(former) == tokens.read_state(latter)
    keys.use(ES)
    assert tokens.read_state(latter).client == CLIENT
    with pytest.raises(TokenKeyUnknown):
        tokens.read_state(former)
    keys.use(ED)
    with pytest.raises(TokenKeyUnknown):
        tokens.read_state(latter)


def test_the_same_kid_with_another_key_is_a_forgery() -> None:
    """A kid is a hint, not a proof."""
    token = tokens_of(MemorySigningKeys(signing_key("k", b"ab" * 32))).sign_state(STATE)
    with pytest.raises(TokenForged):
        tokens_of(MemorySigningKeys(signing_key("k", b"cd" * 32))).read_state(token)
    with pytest.raises(TokenForged):
        tokens_of(MemorySigningKeys(signing_key("k", pem(P256)))).read_state(token)


def test_a_held_state_is_given_back_while_it_says_the_same() -> None:
    """Nothing is signed for nothing; a change or a rotation makes a new one."""
    now_s, keys = NOW_S, MemorySigningKeys(HS)
    tokens = tokens_of(keys, lambda: now_s)
    held = tokens.sign_state(STATE)
    now_s += 60
    assert tokens.sign_state(STATE, held=held) == held
    changed = ClientState(client=CLIENT, client_id="device-1", app="EMS11-12345")
    assert tokens.read_state(tokens.sign_state(changed, held=held)).contact is None
    keys.use(ES, HS)
    renewed = tokens.sign_state(STATE, held=held)
    assert renewed != held
    assert claims_of(renewed)["iat"] == now_s


def test_the_memory_of_verified_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest makes room, and is verified anew when it comes again."""
    monkeypatch.setattr(bounds, "CACHE_MAX", 3)
    tokens = tokens_of(MemorySigningKeys(HS))
    made = [
        tokens.sign_state(ClientState(client=CLIENT, client_id=str(number), app="A")) for number in range(9)
    ]
    for token in made + made[:1]:
        tokens.read_state(token)
    assert len(tokens._state._verified) == 3


def test_what_does_not_fit_is_left_out_and_named() -> None:
    """The largest goes first, always the same; the rest is there, and the token fits into a header."""
    channels = [{"channelId": f"channel-{number}", "importance": 3} for number in range(200)]
    properties = {"platform": "android", "language": "en", "pushSettings": {"channelSettings": channels}}
    properties["notes"] = "x" * 3_000
    kept, left_out = fit(properties)
    assert set(kept) == {"platform", "language", "notes"}
    assert left_out == ("pushSettings",)
    state = ClientState(client=CLIENT, client_id="c", app="A", properties=properties)
    tokens = tokens_of(MemorySigningKeys(HS))
    assert claims_of(tokens.sign_state(state))["leftOut"] == ["pushSettings"]
    assert tokens.read_state(tokens.sign_state(state)).left_out == ("pushSettings",)
    many = {f"ключ-{number}": "x" * 100 for number in range(400)} | {
        f"k{number}": "y" * 200 for number in range(40)
    }
    _, told = fit(many)
    assert len(told) == bounds.LEFT_OUT_MAX + 1
    assert told[-1].startswith("+")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=20), inner, max_size=5)
    ),
    max_leaves=30,
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=600)


@settings(max_examples=150, deadline=None)
@given(
    properties=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=60), JSON | TEXT, max_size=40),
    value=st.text(st.characters(codec="utf-8"), max_size=CONTACT_VALUE_BYTES_MAX // 12),
    key=st.sampled_from([HS, ES, ED]),
)
def test_every_state_within_the_bounds_fits_and_reads_back(
    properties: dict[str, Any], value: str, key: Key
) -> None:
    """Any text, in any script: `atob` and JSON read what we read; nothing in it is `-` or `_`."""
    state = ClientState(
        client=CLIENT,
        client_id="c" * 256,
        app="A" * 64,
        properties=properties,
        contact_field=ContactField(id=2**31, value=value),
        has_push_token=True,
        contact=CONTACT,
        contact_id=2**53,
    )
    tokens = tokens_of(MemorySigningKeys(signing_key("k" * 64) if key is HS else key))
    token = tokens.sign_state(state)
    assert len(token) <= STATE_BYTES_MAX
    said, read = claims_of(token), tokens.read_state(token)
    assert said.get("properties", {}) == read.properties
    assert said["contactField"]["contactFieldValue"] == value
    assert {**properties, **read.properties} == properties
    assert bool(read.left_out) == (read.properties != properties)


def test_the_largest_state_that_may_be_fits() -> None:
    """All bounds reached at once."""
    properties = {"a": "x" * (PROPERTIES_BYTES_MAX - 8)} | {
        f"{number:040}": "y" * PROPERTIES_BYTES_MAX for number in range(40)
    }
    state = ClientState(
        client=CLIENT,
        client_id="c" * 256,
        app="A" * 64,
        properties=properties,
        contact_field=ContactField(id=2**31, value="v" * CONTACT_VALUE_BYTES_MAX, encrypted=True),
        has_push_token=True,
        contact=CONTACT,
        contact_id=2**53,
    )
    for key in (signing_key("k" * 64), signing_key("k" * 64, pem(P256))):
        token = tokens_of(MemorySigningKeys(key)).sign_state(state)
        assert STATE_BYTES_MAX * 0.9 < len(token) <= STATE_BYTES_MAX
        assert len(claims_of(token)["leftOut"]) == bounds.LEFT_OUT_MAX + 1


def test_a_contact_value_without_room_is_too_large() -> None:
    """Told to the caller, who sent it; a state is never cut short in silence."""
    state = ClientState(
        client=CLIENT, client_id="c", app="A", contact_field=ContactField(id=3, value="v" * 9_000)
    )
    with pytest.raises(TooLarge):
        tokens_of(MemorySigningKeys(HS)).sign_state(state)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=300) | st.text("abc.-_=", max_size=60) | st.binary(max_size=99).map(encoded))
def test_no_text_crashes_the_reader(text: str) -> None:
    """It is one of our tokens or one of our errors."""
    tokens = tokens_of(MemorySigningKeys(HS, ES))
    for read in (tokens.read_state, tokens.read_contact):
        with pytest.raises(Unauthenticated):
            read(text)
