"""Commands on refresh tokens: issue the next one, use one, end them all.

`next_token` is for handlers that sign somebody in: what it changed is saved in one batch with their own changes.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple
from uuid import UUID

import msgspec

from commands.scope import Scope
from domain.aggregate import Aggregate, Created
from domain.client import Client
from domain.errors import NotFound
from domain.refresh_family import FULL, MOVED, SECRET_BYTES, RefreshFamily, RefreshRefused, RefreshToken

NOT_GOOD = "this refresh token is not good any more; sign in anew"
MOVES_MAX = 16
"""From app to app, that a refresh token follows its device; each costs a look."""


class OpenFamily(msgspec.Struct, frozen=True, kw_only=True):
    """Sign a contact in that has no app; answers the refresh token."""

    contact: UUID


class IssueRefresh(msgspec.Struct, frozen=True, kw_only=True):
    """The next refresh token of a client, for the contact it is linked to now; answers the token."""

    client: UUID
    contact: UUID


class UseRefresh(msgspec.Struct, frozen=True, kw_only=True):
    """Trade a refresh token in; answers Refreshed. app "": an appless one, good in the caller's realm."""

    token: str
    app: str = ""


class EndFamily(msgspec.Struct, frozen=True, kw_only=True):
    """Make all of a family's tokens worthless. reason: signed-out, erased or moved."""

    family: UUID
    reason: str


class Refreshed(msgspec.Struct, frozen=True):
    """Whose token it was. client None: appless."""

    family: UUID
    contact: UUID
    client: UUID | None


class Next(NamedTuple):
    """A token, and what must be saved before it is given out."""

    token: RefreshToken
    changed: tuple[Aggregate, ...]


async def next_token(scope: Scope, *, client: Client, contact: UUID) -> Next:
    """The client's next token, from its family or, when that one is full or has ended, from another.

    `client` may get an event by it: save it, too.
    """
    first = _first_family(scope, client)
    # The family of a client that is made just now can't be there yet.
    family = None
    if not any(isinstance(event, Created) for event in client.pending_events):
        family = await scope.load(RefreshFamily, client.refresh_family or first)
    if family is not None and family.has_room:
        token = family.issue(at=scope.now, contact=contact, secret=_secret())
        return Next(token, (family,))
    if family is None:
        opened, token = _open(scope, first, contact, client)
        return Next(token, (opened,))
    family.end(at=scope.now, reason=FULL)
    another = scope.ids.derive(scope.realm, "refresh", f"{client.id.hex}|{scope.nonce()}", like=client.id)
    client.open_refresh(at=scope.now, family=another)
    opened, token = _open(scope, another, contact, client)
    return Next(token, (family, opened))


async def end_tokens(scope: Scope, *, client: Client, reason: str) -> tuple[Aggregate, ...]:
    """End the client's refresh tokens; what must be saved for it."""
    family = await scope.load(RefreshFamily, client.refresh_family or _first_family(scope, client))
    if family is None:
        return ()
    family.end(at=scope.now, reason=reason)
    return (family,)


async def use_token(scope: Scope, *, text: str, app: str) -> RefreshFamily:
    """The family of a good token. Raises RefreshRefused; a token that was stolen ends its family first."""
    token = RefreshToken.parse(text)
    family = await scope.load_from_leader(RefreshFamily, token.family)
    if family is None or (family.merchant, family.app.casefold()) != (scope.realm, app.casefold()):
        raise RefreshRefused("this is no refresh token of ours", field="refreshToken")
    is_good = family.use(at=scope.now, token=token)
    await scope.save(family)
    if not is_good:
        raise RefreshRefused(NOT_GOOD, field="refreshToken")
    return family


async def use_moved_token(scope: Scope, *, text: str, app: str) -> Client | None:
    """The client of `app` that the device of a former app's token is now, if the token still stands for it."""
    token = RefreshToken.parse(text)
    family = await scope.load_from_leader(RefreshFamily, token.family)
    if family is None or family.client is None or family.ended != MOVED:
        return None
    client = await _gone_on(scope, family.client)
    if client is None or client.id == family.client or client.app.casefold() != app.casefold():
        return None
    if not await scope.is_of_realm(client):
        return None
    own = await scope.load_from_leader(RefreshFamily, client.refresh_family or _first_family(scope, client))
    superseded_at = own.issues[0].at if own is not None else None
    return client if family.leads_on(at=scope.now, token=token, superseded_at=superseded_at) else None


async def _gone_on(scope: Scope, id: UUID) -> Client | None:
    """Where the device of a client is now."""
    for _ in range(MOVES_MAX):
        client = await scope.load_from_leader(Client, id)
        if client is None or client.moved_to is None:
            return client
        id = client.moved_to
    return None


def _first_family(scope: Scope, client: Client) -> UUID:
    return scope.ids.derive(scope.realm, "refresh", client.id.hex, like=client.id)


async def next_appless_token(scope: Scope, *, contact: UUID, held: UUID | None = None) -> Next:
    """The next token of a contact that has no app: of its family that the caller holds, else of a new one.

    held: a family of which the caller has shown a contact token, and so could end it.
    """
    family = await scope.load(RefreshFamily, held) if held is not None else None
    if family is None or family.ended or (family.client, family.contact) != (None, contact):
        return _another_appless(scope, contact)
    if family.has_room:
        return Next(family.issue(at=scope.now, contact=contact, secret=_secret()), (family,))
    family.end(at=scope.now, reason=FULL)
    another = _another_appless(scope, contact)
    return Next(another.token, (family, *another.changed))


def _another_appless(scope: Scope, contact: UUID) -> Next:
    id = scope.ids.derive(scope.realm, "refresh", f"{contact.hex}|{scope.nonce()}", like=contact)
    family, token = _open(scope, id, contact, None)
    return Next(token, (family,))


async def open_family(command: OpenFamily, scope: Scope) -> str:
    opened = await next_appless_token(scope, contact=command.contact)
    await scope.save(*opened.changed)
    return opened.token.text


async def issue_refresh(command: IssueRefresh, scope: Scope) -> str:
    client = await scope.load(Client, command.client)
    if client is None:
        raise NotFound("no such client")
    issued = await next_token(scope, client=client, contact=command.contact)
    await scope.save(client, *issued.changed)
    return issued.token.text


async def use_refresh(command: UseRefresh, scope: Scope) -> Refreshed:
    family = await use_token(scope, text=command.token, app=command.app)
    return Refreshed(family.id, family.contact, family.client)


async def end_family(command: EndFamily, scope: Scope) -> None:
    family = await scope.load(RefreshFamily, command.family)
    if family is None:
        raise NotFound("no such family of refresh tokens")
    family.end(at=scope.now, reason=command.reason)
    await scope.save(family)


def _open(scope: Scope, id: UUID, contact: UUID, client: Client | None) -> tuple[RefreshFamily, RefreshToken]:
    return RefreshFamily.open(
        id=id,
        at=scope.now,
        merchant=scope.realm,
        contact=contact,
        secret=_secret(),
        app=client.app if client else "",
        client=client.id if client else None,
    )


def _secret() -> bytes:
    # Not the scope's nonce: that one goes into ids.
    return secrets.token_bytes(SECRET_BYTES)
