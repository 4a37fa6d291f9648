"""Client states and contact tokens: what they say, how long they are good, how large they may become."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.emarsys.identity import tokens as bounds
from api.emarsys.identity.jws import (
    TokenExpired,
    TokenKeyUnknown,
)
from api.emarsys.identity.tokens import (
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
from domain.errors import TooLarge
from infra.signing.key import Key
from tests.memory.ports.signing import MemorySigningKeys, signing_key
from tests.unit.api.emarsys.device_tokens import (
    CLIENT,
    CONTACT,
    CONTACT_TOKEN,
    ED,
    ED25519,
    ES,
    HS,
    NOW_S,
    P256,
    STATE,
    pem,
    tokens_of,
)


@pytest.fixture(params=[HS, ES, ED], ids=["HS256", "ES256", "EdDSA"])
def tokens(request: pytest.FixtureRequest) -> Tokens:
    return tokens_of(MemorySigningKeys(request.param))


def claims_of(token: str) -> dict[str, Any]:
    """As the web SDK reads a state: the middle segment through `atob`, as it is, then JSON."""
    payload = token.split(".")[1]
    assert not set(payload) & set("-_=")
    read: dict[str, Any] = json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4)).decode("latin-1"))
    return read


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
