"""Apps and web domains, for those who run a realm: what is set here is what devices and senders then meet."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.addresses import address
from api.cursor import Page
from api.msgxc.bodies import Body
from api.msgxc.reading import Paging, place_of
from api.route import Answer, Call, Route, Who
from commands.apps import ChangeApp, RegisterApp, RetireApp
from domain.app_settings import (
    EVENT_ACTIONS_MAX,
    FIELD_MAX,
    NAME_MAX,
    AppSettings,
    Kind,
    OpenIdIssuer,
    PushSettings,
    RateLimits,
)
from domain.errors import Conflict, NotFound, TooLarge, Unavailable
from domain.event_action import EventAction
from domain.geofence import Geofences
from projections import apps
from projections.port import Row

GROUP = "apps"

Code = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Unique in the whole exchange, in any case of its letters; it belongs to one realm for ever.",
    ),
]
FieldNumber = Annotated[int, Meta(ge=1, le=FIELD_MAX, description="The number of a contact field.")]


class AppBody(Body, frozen=True, kw_only=True):
    """All of an app's settings: what is left out gets its default.

    openid: whose id tokens are good, and verified. open_id_trusted: where none is named, all are believed, for trials.
    default_contact_field: names a v4 client's contacts. contact_field_*: fields of the suite that are kept up to date.
    The last three are of web domains.
    """

    name: Annotated[str, Meta(max_length=NAME_MAX)] = ""
    kind: Kind = "app"
    anonymous_allowed: bool = True
    default_contact_field: FieldNumber | None = None
    openid: OpenIdIssuer | None = None
    open_id_trusted: bool = False
    contact_field_app_installed: FieldNumber | None = None
    contact_field_push_accepted: FieldNumber | None = None
    contact_field_last_mobile_activity: FieldNumber | None = None
    geofences: Geofences = Geofences()
    rate_limits: RateLimits = RateLimits()
    push: PushSettings = PushSettings()
    event_actions: Annotated[tuple[EventAction, ...], Meta(max_length=EVENT_ACTIONS_MAX)] = ()
    is_push_feature_enabled: bool = True
    uses_external_push_domain: bool = False
    external_push_domain: Annotated[str, Meta(max_length=253)] = ""

    def settings(self, merchant: str) -> AppSettings:
        own = {name: getattr(self, name) for name in AppBody.__struct_fields__}
        return AppSettings(merchant=merchant, **own)


class NewAppBody(AppBody, frozen=True, kw_only=True):
    code: Code


class PutAppBody(AppBody, frozen=True, kw_only=True):
    """What is shown may be sent back: the last five are taken, without effect."""

    code: Any = None
    merchant: Any = None
    registered: Any = None
    changed: Any = None
    retired: Any = None


class AppView(AppBody, frozen=True, kw_only=True):
    """merchant: the realm. retired: since when there is no such app for devices; null as long as there is."""

    code: str
    merchant: str
    registered: datetime | None
    changed: datetime | None
    retired: datetime | None


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
