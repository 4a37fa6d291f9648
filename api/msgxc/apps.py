"""Apps and web domains, for those who run a realm: what is set here is what devices and senders then meet."""

from __future__ import annotations

from typing import Any

import msgspec

from api.addresses import address
from api.cursor import Page
from api.msgxc.app_bodies import SETTINGS_BYTES_MAX, AppView, NewAppBody, PutAppBody
from api.msgxc.reading import Paging, place_of
from api.route import Answer, Call, Route, Who
from commands.apps import ChangeApp, RegisterApp, RetireApp
from domain.errors import Conflict, NotFound, TooLarge, Unavailable
from projections import apps
from projections.port import Row

GROUP = "apps"


class AppPaging(Paging, frozen=True, kw_only=True):
    """retired: the retired ones too."""

    retired: bool = False


class Registered(msgspec.Struct, frozen=True):
    code: str


async def register(call: Call[NewAppBody, None]) -> Answer:
    return await _register(call, call.body.code)


async def put_app(call: Call[PutAppBody, None]) -> Answer:
    """Change the app, or register it when there is none."""
    code, settings = call.path["code"], call.body.settings(call.caller.realm)
    try:
        await call.parts.bus.execute(
            ChangeApp(code=code, settings=settings), call.context, caller=call.caller
        )
    except NotFound:
        return await _register(call, code)
    return Answer({"code": code})


async def retire(call: Call[None, None]) -> Answer:
    await call.parts.bus.execute(RetireApp(code=call.path["code"]), call.context, caller=call.caller)
    return Answer()


async def find(call: Call[None, None]) -> Answer:
    return Answer(_view(await _row(call)))


async def list_apps(call: Call[None, AppPaging]) -> Answer:
    """By code. A page may hold fewer than asked for; `next` says whether there are more."""
    realm, retired = call.caller.realm, call.query.retired
    place = place_of(call, f"apps|{realm}", str)
    rows, after = await apps.listed(
        call.parts.models, realm, retired=retired, cursor=place.after, limit=call.query.limit
    )
    return Answer(Page([_view(row) for row in rows], place.next(after)))


async def refresh(call: Call[None, None]) -> Answer:
    """No look at our own events first: the app may be known to its source alone."""
    facts = await call.parts.apps.app(call.path["code"])
    if facts is not None and facts.realm != call.caller.realm:
        raise _no_app(call)
    await call.parts.apps.refresh(call.path["code"])
    return Answer()


async def _register(call: Call[Any, Any], code: str) -> Answer:
    command = RegisterApp(code=code, settings=call.body.settings(call.caller.realm))
    await call.parts.bus.execute(command, call.context, caller=call.caller)
    return Answer({"code": code}, status=201, location=address("/api/v2/apps", code))


async def _row(call: Call[Any, Any]) -> Row:
    row = await apps.find(call.parts.models, call.caller.realm, call.path["code"])
    if row is None:
        raise _no_app(call)
    return row


def _no_app(call: Call[Any, Any]) -> NotFound:
    return NotFound(f"no app has the code {call.path['code']!r}", field="code")


def _view(row: Row) -> AppView:
    settings = apps.settings_of(row)
    return AppView(
        code=row["code"],
        registered=row["registered"],
        changed=row["changed"],
        retired=row["retired"],
        **{name: getattr(settings, name) for name in settings.__struct_fields__},
    )


ROUTES = (
    Route(
        method="POST",
        path="/api/v2/apps",
        handler=register,
        who=Who.ADMIN,
        body=NewAppBody,
        body_bytes_max=SETTINGS_BYTES_MAX,
        answer=Registered,
        statuses=(201,),
        location=True,
        summary="Register an app or a web domain in the caller's realm.",
        group=GROUP,
        errors=(Conflict, TooLarge, Unavailable),
    ),
    Route(
        method="GET",
        path="/api/v2/apps",
        handler=list_apps,
        who=Who.ADMIN,
        query=AppPaging,
        answer=Page[AppView],
        reads=("apps",),
        summary="The realm's apps, by code.",
        group=GROUP,
        errors=(Unavailable,),
    ),
    Route(
        method="GET",
        path="/api/v2/apps/{code}",
        handler=find,
        who=Who.ADMIN,
        answer=AppView,
        reads=("apps",),
        summary="An app, retired or not.",
        group=GROUP,
        errors=(NotFound, Unavailable),
    ),
    Route(
        method="PUT",
        path="/api/v2/apps/{code}",
        handler=put_app,
        who=Who.ADMIN,
        body=PutAppBody,
        body_bytes_max=SETTINGS_BYTES_MAX,
        answer=Registered,
        statuses=(200, 201),
        location=True,
        summary="Change all of an app's settings, or register it.",
        group=GROUP,
        errors=(Conflict, TooLarge, Unavailable),
    ),
    Route(
        method="DELETE",
        path="/api/v2/apps/{code}",
        handler=retire,
        who=Who.ADMIN,
        summary="Retire an app for good: devices are told that there is none.",
        group=GROUP,
        errors=(NotFound, Unavailable),
    ),
    Route(
        method="POST",
        path="/api/v2/apps/{code}/refresh",
        handler=refresh,
        who=Who.ADMIN,
        summary="Forget what is remembered of an app that another service keeps, in every process.",
        group=GROUP,
        errors=(NotFound, Unavailable),
    ),
)
