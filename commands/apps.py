"""Commands on apps: register, change, retire. For those who run a realm; a code belongs to one realm for ever."""

from __future__ import annotations

from uuid import UUID

import msgspec

from commands.scope import Scope
from domain.app import App, assert_code
from domain.app_settings import AppSettings
from domain.deliveries.channel import APP_CHANNELS
from domain.devices.event_action import message_of
from domain.errors import Conflict, Invalid, NotFound, TooLarge


class RegisterApp(msgspec.Struct, frozen=True, kw_only=True):
    """settings: their merchant is the realm of whoever registers."""

    code: str
    settings: AppSettings


class ChangeApp(msgspec.Struct, frozen=True, kw_only=True):
    """settings: as they are to be. names: of those alone that are to be so, the others stay as they are; None: all."""

    code: str
    settings: AppSettings
    names: tuple[str, ...] | None = None


class RetireApp(msgspec.Struct, frozen=True, kw_only=True):
    code: str


async def register_app(command: RegisterApp, scope: Scope) -> UUID:
    """The app's id. The same again changes nothing."""
    assert_code(command.code)
    id = scope.ids.app(command.code)
    settings = msgspec.structs.replace(command.settings, merchant=scope.realm)
    app = await scope.load(App, id)
    if app is None:
        app = App.register(id=id, at=scope.now, code=command.code, settings=settings)
        _assert_sendable(settings, scope)
        await scope.save(app)
    elif app.settings.merchant != scope.realm:
        raise Conflict(f"the code {command.code!r} belongs to another realm", field="code")
    elif app.retired:
        raise Conflict(f"the app {command.code!r} is retired for good; use another code", field="code")
    elif app.settings != settings:
        raise Conflict(
            f"the app {command.code!r} was registered before, with other settings; change it instead",
            field="code",
        )
    return id


async def change_app(command: ChangeApp, scope: Scope) -> None:
    app = await _app(command.code, scope)
    settings = msgspec.structs.replace(_to_be(command, app), merchant=scope.realm)
    app.change(at=scope.now, settings=settings)
    _assert_sendable(settings, scope)
    await scope.save(app)


def _to_be(command: ChangeApp, app: App) -> AppSettings:
    if command.names is None:
        return command.settings
    named = {name: getattr(command.settings, name) for name in command.names}
    return msgspec.structs.replace(app.settings, **named)


async def retire_app(command: RetireApp, scope: Scope) -> None:
    """An app that is retired already stays so."""
    app = await _app(command.code, scope)
    app.retire(at=scope.now)
    await scope.save(app)


def _assert_sendable(settings: AppSettings, scope: Scope) -> None:
    """Raises TooLarge, or Invalid, for a message that no push service would take in the form of the app's style."""
    for number, action in enumerate(settings.event_actions):
        if action.message:
            field = f"event_actions[{number}].message"
            content = message_of(action, field=field).content
            try:
                scope.check(content, APP_CHANNELS, style=settings.push_style)
            except (Invalid, TooLarge) as wrong:
                raise type(wrong)(wrong.detail, field=field) from None


async def _app(code: str, scope: Scope) -> App:
    app = await scope.load(App, scope.ids.app(code))
    if app is None or app.settings.merchant != scope.realm:
        raise NotFound(f"no app has the code {code!r}", field="code")
    return app
