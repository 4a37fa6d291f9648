"""What devices carry: the client state (who this client is, as W reads it) and the contact token (who is signed in).

Owns their claims, lifetimes and bounds (docs/guides/tokens.md). Signed, never encrypted: nothing is in them that the
device has not told us or must not know. Never logs one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType, field

from api.emarsys.jws import Jws, TokenExpired, TokenForeign, TokenForged, escaped
from api.emarsys.port import SigningKeys, SigningKeySet

STATE_BYTES_MAX = 8_192
"""Of the header's value. nginx, by default, takes 8 KiB for one header."""
PROPERTIES_BYTES_MAX = 3_584
"""Of a state's properties as escaped JSON; with all else at its bound a state stays below STATE_BYTES_MAX."""
CONTACT_TOKEN_BYTES_MAX = 2_048
LIFETIME_S = 8 * 3_600
UNRESOLVED_LIFETIME_S = 600
"""A contact whose id is still looked up: the device soon comes back for a token that has it."""
CACHE_MAX = 10_000
"""Verified tokens remembered of each kind: about 20 MB."""

STATE_HEADER, CONTACT_HEADER = "X-Client-State", "X-Contact-Token"


class ContactField(msgspec.Struct, frozen=True, kw_only=True):
    """How the app named the contact. encrypted's claim is spelled as W reads it."""

    id: int = field(name="contactFieldId")
    value: str = field(name="contactFieldValue")
    encrypted: bool = field(name="contactFieldEncryped", default=False)


class ClientState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of a client's state. client: our id of it.

    contact_field: UNSET without a contact, None with an anonymous one. contact_id: once resolved. left_out: properties
    that did not fit. issued_at_s: set when it is signed.
    """

    client: UUID
    client_id: str = field(name="clientId")
    app: str = field(name="applicationCode")
    properties: dict[str, Any] = {}
    contact_field: ContactField | None | UnsetType = field(name="contactField", default=UNSET)
    has_push_token: bool = field(name="pushToken", default=False)
    contact: UUID | None = field(name="contactReference", default=None)
    contact_id: int | None = field(name="contactId", default=None)
    left_out: tuple[str, ...] = field(name="leftOut", default=())
    issued_at_s: int = field(name="iat", default=0)

    def assert_of(self, *, app: str, client_id: str) -> None:
        """Raises TokenForeign when it is the state of another app or client."""
        if self.app.casefold() != app.casefold():
            raise TokenForeign("this client state is another app's", field=STATE_HEADER)
        if self.client_id != client_id:
            raise TokenForeign("this client state is another client's", field=STATE_HEADER)


class ContactToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """realm: the merchant. client None: an appless contact. disabled: the contact is gone, drop its events early."""

    contact: UUID = field(name="contactReference")
    realm: str = field(name="businessAreaId")
    contact_id: int | None = field(name="contactId", default=None)
    client: UUID | None = None
    disabled: bool = False
    expires_at_s: int = field(name="exp", default=0)

    def assert_of(self, *, realm: str, client: UUID | None = None) -> None:
        """Raises TokenForeign when it is of another merchant, or of another client than the given one."""
        if self.realm != realm:
            raise TokenForeign("this contact token is another merchant's", field=CONTACT_HEADER)
        if client is not None and self.client is not None and self.client != client:
            raise TokenForeign("this contact token is another client's", field=CONTACT_HEADER)


_encode = msgspec.json.Encoder(uuid_format="hex").encode


class Tokens:
    """Signs and reads both kinds. now_s: seconds since 1970."""

    def __init__(self, keys: SigningKeys, *, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._state = _Kind(
            Jws(keys, kind="client-state+jwt", name=STATE_HEADER, bytes_max=STATE_BYTES_MAX), ClientState
        )
        self._contact = _Kind(
            Jws(keys, kind="contact-token+jwt", name=CONTACT_HEADER, bytes_max=CONTACT_TOKEN_BYTES_MAX),
            ContactToken,
        )

    def sign_state(self, state: ClientState) -> str:
        fitting, left_out = fit(state.properties)
        stamped = msgspec.structs.replace(
            state, properties=fitting, left_out=left_out, issued_at_s=int(self._now_s())
        )
        return self._state.jws.write(_encode(stamped))

    def read_state(self, token: str) -> ClientState:
        """Whoever sends it is that client; whether it belongs to this call, `assert_of` says.

        Raises TokenForged or TokenKeyUnknown.
        """
        return self._state.read(token)

    def sign_contact(self, token: ContactToken) -> str:
        """Good for 8 hours, or for 10 minutes while the contact's id is not known."""
        lifetime_s = LIFETIME_S if token.contact_id is not None else UNRESOLVED_LIFETIME_S
        stamped = msgspec.structs.replace(token, expires_at_s=int(self._now_s()) + lifetime_s)
        return self._contact.jws.write(_encode(stamped))

    def read_contact(self, token: str) -> ContactToken:
        """Whether it belongs to this call, `assert_of` says. Raises TokenForged, TokenKeyUnknown or TokenExpired."""
        found = self._contact.read(token)
        if found.expires_at_s <= self._now_s():
            raise TokenExpired("this contact token has expired; refresh it", field=CONTACT_HEADER)
        return found


class _Kind[T]:
    """One kind of token and the verified ones of it, forgotten when the keys change."""

    def __init__(self, jws: Jws, shape: type[T]) -> None:
        self.jws = jws
        self._decode = msgspec.json.Decoder(shape).decode
        self._generation: SigningKeySet = jws.generation()
        self._verified: dict[bytes, T] = {}

    def read(self, token: str) -> T:
        generation = self.jws.generation()
        if generation is not self._generation:
            # Any change may be a revocation.
            self._generation, self._verified = generation, {}
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is not None:
            return known
        try:
            found: T = self._decode(self.jws.read(token))
        except (msgspec.DecodeError, RecursionError):
            raise TokenForged("the token's claims cannot be read") from None
        if len(self._verified) >= CACHE_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = found
        return found


def fit(properties: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The properties that a state has room for, and the names of those left out, largest first."""
    if _size(properties) <= PROPERTIES_BYTES_MAX:
        return properties, ()
    kept, left_out = dict(properties), []
    for name in sorted(properties, key=lambda each: (-_size(properties[each]), each)):
        if _size(kept) <= PROPERTIES_BYTES_MAX:
            break
        del kept[name]
        left_out.append(name)
    return kept, tuple(left_out)


def _size(value: Any) -> int:
    return len(escaped(msgspec.json.encode(value)))
