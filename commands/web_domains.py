"""Commands on web domains: their flags, and messages that are kept to be sent to one visitor after another."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import msgspec

from commands.messaging import TTL_S_DEFAULT
from commands.scope import Scope
from domain.app import App
from domain.app_settings import AppSettings
from domain.channel import FCM, WEBPUSH
from domain.errors import Conflict, Forbidden
from domain.message import Content, Message, ToContacts

CHANNELS = (WEBPUSH, FCM)


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
        id=scope.ids.fresh(scope.nonce),
        at=scope.now,
        audience=ToContacts(()),
        content=command.content,
        sender=scope.context.actor,
        channels=CHANNELS,
        expires_at=scope.now + timedelta(seconds=TTL_S_DEFAULT),
        app=command.domain,
    )
    await scope.create(message)
    return message.id
