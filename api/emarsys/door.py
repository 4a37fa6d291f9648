"""Who comes in: the app of the path, the address's rate, the client id, the client state, the contact token, the rates
of the client and of the app, in this order.

A client id is a word that anybody can say. What makes a caller somebody is the client state that we signed for it, or,
where it has none, a contact token of ours. Without either it is a device that we have not seen before. A good state of
another app of the merchant is the device's that has another application code now: it moves before the call goes on, but
not before it is known that the call can go on.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from starlette.types import Scope

from api.access.auth import Identity
from api.emarsys import limits
from api.emarsys.client_service.moving import arrive
from api.emarsys.dialect import BadClientId
from api.emarsys.identity.jws import TokenExpired, TokenForeign, TokenKeyUnknown
from api.emarsys.identity.proofs import Proof, Said
from api.emarsys.identity.states import state_of
from api.emarsys.identity.tokens import CONTACT_HEADER, STATE_HEADER, ClientState, Tokens
from api.emarsys.limits import DeviceLimitExceeded
from api.emarsys.lookups import address_of, app_of_path, app_of_refresh
from api.endpoint import ADDED, HEADERS
from api.parts import Parts
from api.route import Call, Header
from commands.sdk_clients import Device, LookAtClient
from domain.app import AppFacts
from domain.contact import Identity as Named
from domain.context import Caller
from domain.errors import MsgxcError, Unauthenticated, Unavailable

CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@{}|~-]{0,127}")
"""A UUID on mobile, `{app}_{uuid}` in browsers; in no log line, header or state does any of these need escaping."""


class Contract(enum.Enum):
    """Names of the headers: client id, client state, contact token."""

    V3 = (b"x-client-id", b"x-client-state", b"x-contact-token")
    V4 = (b"ec-client-id", b"ec-client-state", b"ec-contact")

    def __init__(self, id_header: bytes, state_header: bytes, contact_header: bytes) -> None:
        self.id_header, self.state_header, self.contact_header = id_header, state_header, contact_header


class Checks(enum.Enum):
    """What a route asks of the tokens.

    STATE: the state must be this client's; the contact token, if there is one, no forgery. A state of a key that is
    gone is none beside a good contact token, here and below.
    FRESH_CONTACT: as STATE, and an ended contact token is refused for once, so that the device gets another, which may
    know more. On routes where every SDK does so, and then goes on with the call.
    STATE_ALONE: a contact token is not looked at, since a stale one rides along.
    REGISTRATION: as STATE_ALONE, and the state may be of another merchant's app, which the device comes from; one that
    is none of ours, or of a key that is gone, is none: who has no refresh token would be refused for ever. Where there
    is no state, a good contact token says which client it is, so that both fit together; any other is none.
    SIGN_IN: as STATE_ALONE, and a page's state that is none of ours, or of a key that is gone, is none: the web SDK
    neither refreshes for such a call nor reads the state that a refresh answers, so that nobody could sign in any more
    in a browser that was here before its keys, or that comes from Emarsys' own service with the state of that.
    NOTHING: the call brings a proof of its own.
    """

    STATE = enum.auto()
    FRESH_CONTACT = enum.auto()
    STATE_ALONE = enum.auto()
    REGISTRATION = enum.auto()
    SIGN_IN = enum.auto()
    NOTHING = enum.auto()


_CONTACT_CHECKS = frozenset({Checks.STATE, Checks.FRESH_CONTACT, Checks.REGISTRATION})
"""Those that look at the contact token."""


class Visitor(msgspec.Struct, frozen=True):
    """A device at the door: its app, and what its headers have proved. address: where it calls from. added: fields for
    every answer to it.
    """

    app: AppFacts
    contract: Contract
    headers: Mapping[bytes, bytes]
    proof: Proof
    address: str
    added: list[Header]

    @property
    def client_id(self) -> str:
        return self.proof.client_id

    @property
    def state(self) -> ClientState | None:
        return self.proof.state

    @property
    def device(self) -> Device:
        proof = self.proof
        state = proof.state
        if state is None:
            return Device(app=self.app.code, client_id=proof.client_id, client=proof.client)
        return Device(
            app=self.app.code,
            client_id=proof.client_id,
            client=state.client,
            contact=state.contact,
            identity=named(state),
            properties=state.properties,
        )


def named(state: ClientState) -> Named | None:
    """How the state names the contact."""
    field = state.contact_field
    return Named(field.id, field.value, field.encrypted) if field else None


class Door:
    """api.route.Admit for one kind of route. arrives_first: a device from another app arrives before the call; else the
    handler calls `arrived`, once it knows itself that nothing is wrong with the call. from_abroad: the app may be
    another merchant's, as a registration's may.
    """

    def __init__(
        self,
        contract: Contract,
        checks: Checks = Checks.STATE,
        *,
        arrives_first: bool = True,
        from_abroad: bool = False,
    ) -> None:
        self._contract, self._checks = contract, checks
        from_abroad = from_abroad or checks is Checks.REGISTRATION
        self._arrives = partial(arrived, from_abroad=from_abroad) if arrives_first else None
        self._id_header, self._state_header = contract.id_header, contract.state_header
        self._contact_header = contract.contact_header if checks in _CONTACT_CHECKS else None

    async def __call__(self, parts: Parts, scope: Scope) -> Identity:
        headers: Mapping[bytes, bytes] = scope[HEADERS]
        address, refusal = address_of(scope), None
        then: Callable[[Any], Awaitable[None]] | None = None
        if self._checks is Checks.NOTHING:
            app = await app_of_refresh(parts, scope)
            proof = self._refresher(parts.tokens, scope, app, headers)
        else:
            app = parts.apps.known(scope["path_params"]["app"]) or await app_of_path(parts, scope)
            now_s = parts.now_s()
            of_address = limits.take_address(parts.counter, now_s, app, address)
            try:
                proof = self._proof(parts, app, headers, now_s)
            except MsgxcError:
                scope[ADDED].extend(limits.fields_of(of_address, int(now_s)))
                raise
            if proof.held:
                scope[ADDED].append((self._state_header, proof.held))
            # A client id alone is anybody's word: calls that prove nothing use up nothing of the client that has it.
            counted_as = proof.counted_as or f"?{address}|{proof.client_id}"
            try:
                scope[ADDED].extend(limits.take(parts.counter, now_s, app, counted_as, of_address))
                if proof.refusal is not None or proof.is_outdated:
                    self._assert_current(parts, proof, headers)
            except (DeviceLimitExceeded, Unauthenticated) as error:
                refusal = error
            if proof.former is not None:
                then = self._arrives
            elif proof.is_disputed:
                then = settled
        visitor = Visitor(app, self._contract, headers, proof, address, scope[ADDED])
        caller = Caller(proof.client_id, app.settings.merchant)
        return Identity(caller, math.inf, "", visitor, refusal, then)

    def _assert_current(self, parts: Parts, proof: Proof, headers: Mapping[bytes, bytes]) -> None:
        """Raises Unauthenticated, when the contact token beside a good state is of no use. One that has ended is asked
        for again only once: the device would drop its call if it could not do anything about it.
        """
        if proof.refusal is not None:
            raise proof.refusal
        if proof.is_outdated and self._checks is Checks.FRESH_CONTACT:
            contact = headers.get(self._contract.contact_header, b"")
            if parts.proofs.asks_anew(contact, parts.now_s()):
                raise TokenExpired("this contact token has expired; refresh it", field=CONTACT_HEADER)

    def _refresher(
        self, tokens: Tokens, scope: Scope, app: AppFacts, headers: Mapping[bytes, bytes]
    ) -> Proof:
        """Who refreshes, as far as the state says it: for the log of interactions alone, since the refresh token is
        the proof.

        A state that is good for nothing is not to stay with a device whose refresh token is no better: native SDKs
        store what any answer says. An answer with a state of its own says that one instead.
        """
        id = _client_id(headers.get(self._id_header, b""), self._id_header)
        if state := headers.get(self._state_header):
            try:
                found = tokens.read_state(state.decode("latin-1"))
            except Unauthenticated:
                scope[ADDED].append((self._state_header, b""))
            else:
                if found.client_id == id:
                    is_here = found.app.casefold() == app.code.casefold()
                    return Proof(client_id=id, state=found) if is_here else Proof(client_id=id, former=found)
        return Proof(client_id=id)

    def _proof(self, parts: Parts, app: AppFacts, headers: Mapping[bytes, bytes], now_s: float) -> Proof:
        """Raises BadClientId, and Unauthenticated for a token that is forged, foreign, or of a key that is gone."""
        id, state = headers.get(self._id_header, b""), headers.get(self._state_header)
        contact = headers.get(self._contact_header) if self._contact_header is not None else None
        if not state and not contact:
            return Proof(client_id=_client_id(id, self._id_header))
        if state and self._checks is Checks.REGISTRATION:
            contact = None
        # Hot path: a device says the same with nearly every call, and what it proves stays so until the keys change or
        # its contact token ends (a tenth of a device event's processor time; see bench/device_events.py).
        said: Said = (app.code, id, state, contact)
        known = parts.proofs.find(parts.tokens, said, now_s)
        if known is not None:
            return known
        client_id = _client_id(id, self._id_header)
        try:
            proof = self._verified(
                parts.tokens, app, client_id, state, contact, begins_anew=self._begins_anew(headers)
            )
        except TokenKeyUnknown:
            beside = headers.get(self._contract.contact_header)
            found = self._without_state(parts.tokens, app, client_id, beside)
            if found is None:
                raise
            if not contact:
                return found  # what it says is no proof without the token beside it
            proof = found
        if proof.client is not None and proof.refusal is None:
            parts.proofs.keep(parts.tokens, said, proof)
        return proof

    def _begins_anew(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether tokens that prove nothing are none. Pages alone say where they come from."""
        is_page = b"origin" in headers
        return self._checks is Checks.REGISTRATION or (is_page and self._checks is Checks.SIGN_IN)

    def _without_state(
        self, tokens: Tokens, app: AppFacts, client_id: str, contact: bytes | None
    ) -> Proof | None:
        """Who calls with a state whose key is gone and a good contact token; None: that is not good either.

        Generation 4 refreshes after a 401, but takes a state from no refresh (ECClient.kt at 4.0.1): it would come with
        this one for ever, and lose every call.
        """
        if not contact:
            return None
        try:
            proof = self._with_contact(Proof(client_id=client_id), app, tokens, contact.decode("latin-1"))
        except Unauthenticated:
            return None
        return proof if proof.client is not None else None

    def _verified(
        self,
        tokens: Tokens,
        app: AppFacts,
        client_id: str,
        state: bytes | None,
        contact: bytes | None,
        *,
        begins_anew: bool,
    ) -> Proof:
        proof = Proof(client_id=client_id)
        if state:
            text = state.decode("latin-1")
            try:
                found = tokens.read_state(text)
            except Unauthenticated:
                if begins_anew:
                    return proof
                raise
            if found.client_id != client_id:
                raise TokenForeign("this client state is another client's", field=STATE_HEADER)
            if found.app.casefold() != app.code.casefold():
                # A contact token beside it is the former app's, too.
                return Proof(client_id=client_id, former=found)
            renewed = tokens.renewed(found, text)
            held = renewed.encode() if renewed != text else b""
            proof = Proof(client_id=client_id, state=found, state_text=text, held=held)
        if not contact:
            return proof
        try:
            return self._with_contact(proof, app, tokens, contact.decode("latin-1"))
        except Unauthenticated as error:
            if begins_anew:
                return proof
            if proof.state is None:
                raise
            # It is known who is refused.
            return msgspec.structs.replace(proof, refusal=error)

    def _with_contact(self, proof: Proof, app: AppFacts, tokens: Tokens, text: str) -> Proof:
        client = proof.state.client if proof.state is not None else None
        try:
            token = tokens.read_contact(text)
        except TokenExpired:
            if client is None:
                raise
            # The state says who calls.
            return msgspec.structs.replace(proof, is_outdated=True)
        token.assert_of(realm=app.realm)
        if token.client is None or (client is not None and not token.is_of(app.code)):
            # Without an app it is given to whoever says a name; of another app the device has it from there, and the
            # state says what it is here.
            return proof
        token.assert_of(realm=app.realm, app=app.code, client=client, client_id=proof.client_id)
        return msgspec.structs.replace(proof, contact=token)


async def arrived(call: Call[Any, Any], *, from_abroad: bool = False) -> None:
    """The device is the client of this app that it is from now on, if it comes from another.

    from_abroad: that may be another merchant's. Raises TokenForeign where it may not.
    """
    visitor: Visitor = call.visitor
    app, proof = visitor.app, visitor.proof
    if proof.former is None or proof.state is not None:
        return
    try:
        standing = await arrive(
            call.parts, call.context, app, proof.former, keeps_contact=True, from_abroad=from_abroad
        )
    except Unauthenticated:
        raise TokenForeign("this client state is of another merchant's app", field=STATE_HEADER) from None
    state = state_of(standing)
    text = call.parts.tokens.sign_state(state)
    visitor.added.append((visitor.contract.state_header, text.encode()))
    here = msgspec.structs.replace(proof, state=state, state_text=text)
    call.visitor = msgspec.structs.replace(visitor, proof=here)


async def settled(call: Call[Any, Any]) -> None:
    """The contact that has the client counts, where the state and the contact token name two: a state comes with any
    answer, the token with few, and one of them may have been lost or late. While nobody can say, it is the token's.
    """
    visitor: Visitor = call.visitor
    try:
        standing = await call.parts.bus.execute(LookAtClient(device=visitor.device), call.context)
    except Unavailable:
        return
    if standing is not None and standing.contact == visitor.device.contact:
        proof = msgspec.structs.replace(visitor.proof, contact=None)
        call.visitor = msgspec.structs.replace(visitor, proof=proof)


def _client_id(value: bytes, name: bytes) -> str:
    """Raises BadClientId."""
    text = value.decode("latin-1")
    if not CLIENT_ID.fullmatch(text):
        raise BadClientId(
            f"send the client's id, 1 to 128 plain characters, as {name.decode()}", field=name.decode()
        )
    return text
