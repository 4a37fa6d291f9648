"""What devices carry: the client state (who this client is, as W reads it) and the contact token (who is signed in).

Owns their claims, lifetimes and bounds (docs/guides/tokens.md). Signed, never encrypted: nothing is in them that the
device has not told us or must not know. Never logs one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType, field
from msgspec.structs import replace

from api.emarsys.identity.jws import Jws, TokenExpired, TokenForeign, TokenForged, escaped
from api.emarsys.port import SigningKeys, SigningKeySet
from domain.errors import TooLarge

STATE_BYTES_MAX = 8_192
"""Of the header's value. nginx, by default, takes 8 KiB for one header."""
PROPERTIES_BYTES_MAX = 3_584
"""Of a state's properties as escaped JSON. With CONTACT_VALUE_BYTES_MAX, an app code of 64 characters and a client id
of 256 a state stays below STATE_BYTES_MAX, whatever key signs it."""
CONTACT_VALUE_BYTES_MAX = 768
"""Of a contact field's value as escaped JSON; an e-mail address has at most 254."""
LEFT_OUT_MAX = 16
CONTACT_TOKEN_BYTES_MAX = 2_048
LIFETIME_S = 8 * 3_600
UNRESOLVED_LIFETIME_S = 600
"""A contact whose id is still looked up: the device's next events after that bring it back for a token that has it."""
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
    """realm: the merchant. app "": given without one, or before tokens said it. client None: an appless contact, and
    `family` its refresh tokens. client_id: the device's own id, "" before tokens said it. disabled: the contact is
    gone, drop its events early.
    """

    contact: UUID = field(name="contactReference")
    realm: str = field(name="businessAreaId")
    app: str = field(name="applicationCode", default="")
    contact_id: int | None = field(name="contactId", default=None)
    client: UUID | None = None
    client_id: str = field(name="clientId", default="")
    family: UUID | None = field(name="refreshFamily", default=None)
    disabled: bool = False
    expires_at_s: int = field(name="exp", default=0)

    def is_of(self, app: str) -> bool:
        return not self.app or self.app.casefold() == app.casefold()

    def assert_of(
        self, *, realm: str, app: str = "", client: UUID | None = None, client_id: str = ""
    ) -> None:
        """Raises TokenForeign when it is of another merchant, or of another app or client than the given one."""
        if self.realm != realm:
            raise TokenForeign("this contact token is another merchant's", field=CONTACT_HEADER)
        if app and not self.is_of(app):
            raise TokenForeign("this contact token is another app's", field=CONTACT_HEADER)
        if client is not None and self.client is not None and self.client != client:
            raise TokenForeign("this contact token is another client's", field=CONTACT_HEADER)
        if client_id and self.client_id and self.client_id != client_id:
            raise TokenForeign("this contact token is another client's", field=CONTACT_HEADER)


_encode = msgspec.json.Encoder(uuid_format="hex").encode


class Tokens:
    """Signs and reads both kinds. now_s: seconds since 1970."""

    def __init__(self, keys: SigningKeys, *, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.generation = keys.current
        """Another object when what was read before may have lost its worth, or another key signs."""
        self._state = _Kind(
            Jws(keys, kind="client-state+jwt", name=STATE_HEADER, bytes_max=STATE_BYTES_MAX), ClientState
        )
        self._contact = _Kind(
            Jws(keys, kind="contact-token+jwt", name=CONTACT_HEADER, bytes_max=CONTACT_TOKEN_BYTES_MAX),
            ContactToken,
        )

    def sign_state(self, state: ClientState, *, held: str = "") -> str:
        """held: the state that the device has just sent and that was read; given back while it says the same.

        Raises TooLarge for a contact field's value that has no room in a header.
        """
        if held and self._says(held, state):
            return held
        claims = self._stamped(state)
        if len(claims) > PROPERTIES_BYTES_MAX:
            properties, left_out = fit(state.properties)
            fitting = replace(state, properties=properties, left_out=left_out)
            if held and self._says(held, fitting):
                return held
            claims = self._stamped(fitting)
        token = self._state.jws.write(claims)
        if len(token) > STATE_BYTES_MAX:
            raise TooLarge(
                "the contact field's value is too long for a client state", field="contactFieldValue"
            )
        return token

    def _stamped(self, state: ClientState) -> bytes:
        """Its claims, as of now."""
        if state.issued_at_s:
            state = replace(state, issued_at_s=0)
        # Hot path: the time is the last claim, so that no other state is made to say it.
        return b'%b,"iat":%d}' % (escaped(_encode(state))[:-1], self._now_s())

    def renewed(self, state: ClientState, held: str) -> str:
        """The same state, which was read from `held`: as it is while the key that signed it still signs."""
        return held if self._state.jws.is_current(held) else self.sign_state(state)

    def _says(self, held: str, state: ClientState) -> bool:
        if not self._state.jws.is_current(held):
            return False
        return replace(self._state.read(held), issued_at_s=0) == replace(state, issued_at_s=0)

    def read_state(self, token: str) -> ClientState:
        """Whoever sends it is that client; whether it belongs to this call, `assert_of` says.

        Raises TokenForged or TokenKeyUnknown.
        """
        return self._state.read(token)

    def sign_contact(self, token: ContactToken, *, lifetime_s: int | None = None) -> str:
        """Good for `lifetime_s`, 8 hours if nobody says otherwise; at most 10 minutes while the contact's id is not
        known.
        """
        good_s = LIFETIME_S if lifetime_s is None else lifetime_s
        if token.contact_id is None and not token.disabled:
            good_s = min(good_s, UNRESOLVED_LIFETIME_S)
        stamped = replace(token, expires_at_s=int(self._now_s()) + good_s)
        return self._contact.jws.write(escaped(_encode(stamped)))

    def read_contact(self, token: str, *, ended_too: bool = False) -> ContactToken:
        """Whether it belongs to this call, `assert_of` says. ended_too: it may be one that has expired.

        Raises TokenForged, TokenKeyUnknown or TokenExpired.
        """
        found = self._contact.read(token)
        if found.expires_at_s <= self._now_s() and not ended_too:
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
    """The properties that a state has room for, and the names of those left out, largest first.

    Of many names or strange ones only the number is told, as the last: "+7".
    """
    sizes = {name: len(escaped(msgspec.json.encode({name: value}))) - 1 for name, value in properties.items()}
    excess = sum(sizes.values()) + 1 - PROPERTIES_BYTES_MAX
    left_out: list[str] = []
    for name in sorted(sizes, key=lambda each: (-sizes[each], each)):
        if excess <= 0:
            break
        excess -= sizes[name]
        left_out.append(name)
    gone = frozenset(left_out)
    kept = {name: value for name, value in properties.items() if name not in gone}
    told = [name for name in left_out if _PLAIN_NAME.fullmatch(name)][:LEFT_OUT_MAX]
    more = len(left_out) - len(told)
    return kept, (*told, f"+{more}") if more else tuple(told)


_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
