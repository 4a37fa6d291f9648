"""Commands on web domains: their flags, and messages that are kept to be sent to one visitor after another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from commands.messaging import TTL_S_DEFAULT
from commands.port import VersionConflict
from commands.scope import Scope, assert_same
from domain.app import App
from domain.app_settings import AppSettings
from domain.deliveries.channel import APP_CHANNELS, FCM, WEBPUSH
from domain.errors import Conflict, Forbidden, Invalid, TooLarge
from domain.message import Content, Message, ToContacts

CHANNELS = (WEBPUSH, FCM)
TOGETHER_MAX = 500
"""Copies that are put on the log in one batch, all or none: under 1 MB as they usually are, 3 MB at most."""
CHECKED_A_TURN = 20
"""Copies that are checked, each in the form that it is sent in, before others get their turn: some milliseconds."""


class PutWebDomain(msgspec.Struct, frozen=True, kw_only=True):
    """All flags, as they are to be; other settings stay as they are."""

    name: str
    is_push_feature_enabled: bool
    uses_external_push_domain: bool
    external_push_domain: str


class KeepMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a domain to nobody yet."""

    domain: str
    content: Content


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """What a kept message reads like for some visitors. visitor: one of them, as the caller named them."""

    visitor: str
    title: str
    body: str
    contacts: tuple[UUID, ...]


class SendCopies(msgspec.Struct, frozen=True, kw_only=True):
    """A kept message to visitors, each in their own words. style, opts: of all copies."""

    domain: str
    kept: UUID
    opts: Mapping[str, Any]
    copies: Sequence[Copy]
    style: str = ""


async def put_web_domain(command: PutWebDomain, scope: Scope) -> None:
    """Raises Forbidden for a domain of another realm, Conflict for an app that is none."""
    id = scope.ids.app(command.name)
    app = await scope.load(App, id)
    if app is not None and app.settings.merchant != scope.realm:
        raise Forbidden(f"the domain {command.name!r} belongs to another realm", field="name")
    if app is not None and app.settings.kind != "web-domain":
        raise Conflict(f"{command.name!r} is the code of an app", field="name")
    known = app.settings if app else AppSettings(merchant=scope.realm, name=command.name, kind="web-domain")
    settings = msgspec.structs.replace(
        known,
        is_push_feature_enabled=command.is_push_feature_enabled,
        uses_external_push_domain=command.uses_external_push_domain,
        external_push_domain=command.external_push_domain,
    )
    if app is None:
        app = App.register(id=id, at=scope.now, code=command.name, settings=settings)
    else:
        app.change(at=scope.now, settings=settings)
    await scope.save(app)


async def keep_message(command: KeepMessage, scope: Scope) -> UUID:
    """The message's id."""
    scope.check(command.content, CHANNELS, style="doppler")
    message = Message.accept(
        id=scope.ids.fresh(scope.nonce()),
        at=scope.now,
        audience=ToContacts(()),
        content=command.content,
        sender=scope.context.actor,
        channels=CHANNELS,
        expires_at=scope.now + timedelta(seconds=TTL_S_DEFAULT),
        app=command.domain,
    )
    await scope.save(message, answer=message.id)
    return message.id


async def send_copies(command: SendCopies, scope: Scope) -> None:
    """Nothing is sent unless every copy can be. Raises Invalid or TooLarge, naming a visitor whose copy cannot."""
    made: list[Message] = []
    for number, copy in enumerate(command.copies):
        made.append(_copied(command, copy, number, scope))
        if number % CHECKED_A_TURN == 0:
            await asyncio.sleep(0)
    for first in range(0, len(made), TOGETHER_MAX):
        await _put(made[first : first + TOGETHER_MAX], scope)


async def _put(some: Sequence[Message], scope: Scope) -> None:
    """On the log, all or none; a twin of the call, which has the same ids, finds them there. Raises ClaimMismatch."""
    claim = scope.claim
    try:
        await scope.store.save(*some, context=scope.context, claim=claim.digest if claim else None)
    except VersionConflict:
        found = await scope.store.claim_of(Message, some[0].id) if claim else None
        if claim is None or found is None:
            raise
        assert_same(claim, found[1])


def _copied(command: SendCopies, copy: Copy, number: int, scope: Scope) -> Message:
    content = Content(copy.body, copy.title, dict(command.opts))
    try:
        if not copy.title.strip() and not copy.body.strip():
            raise Invalid("nothing of title and body is left")
        scope.check(content, APP_CHANNELS, style=command.style)
    except (Invalid, TooLarge) as error:
        raise type(error)(f"for visitor {copy.visitor!r}: {error.detail}") from None
    call = f"claim|{scope.claim.scope}" if scope.claim else scope.nonce()
    return Message.accept(
        id=scope.ids.message(scope.realm, f"{call}|{number}"),
        at=scope.now,
        audience=ToContacts(copy.contacts),
        content=content,
        sender=scope.context.actor,
        channels=APP_CHANNELS,
        expires_at=scope.now + timedelta(seconds=TTL_S_DEFAULT),
        parent=str(command.kept),
        app=command.domain,
    )
