"""Every route of the client service, in both generations and under both names for an app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from api.emarsys.bodies import (
    ContactBody,
    ContactTokenAnswer,
    Properties,
    PushTokenBody,
    RefreshBody,
    SwitchBody,
    Tokens,
)
from api.emarsys.client_service import appless, clients, contacts, geofences
from api.emarsys.dialect import V3, V4, BadClientId, BadMerchant, UnknownApp
from api.emarsys.door import Checks, Contract, Door
from api.emarsys.interactions import note_appless
from api.emarsys.route import ERRORS, V3_BASES, V4_BASE, Errors, device_route
from api.route import Dialect, Handler, Route, Who
from domain.devices.geofence import Geofences
from domain.errors import Conflict, NotFound, TooMany, Unavailable
from domain.refresh_family import RefreshRefused

GROUP = "client service"
_OF_REFRESH: Errors = (UnknownApp, BadClientId, RefreshRefused, Unavailable)
"""Its token is its proof, and it is never counted."""


def _route(
    method: str, path: str, handler: Handler, summary: str, dialect: Dialect, door: Door, **more: Any
) -> Route:
    errors = (*more.pop("usual", ERRORS), *more.pop("errors", ()))
    return device_route(
        method, path, handler, summary, group=GROUP, dialect=dialect, door=door, errors=errors, **more
    )


def _client_service(base: str, contract: Contract) -> Iterator[Route]:
    """What both generations have."""
    dialect: Dialect = V3() if contract is Contract.V3 else V4()
    is_v4 = contract is Contract.V4

    def route(
        method: str, path: str, handler: Handler, summary: str, by: Checks | Door, **more: Any
    ) -> Route:
        door = by if isinstance(by, Door) else Door(contract, by)
        return _route(method, f"{base}{path}", handler, summary, more.pop("dialect", dialect), door, **more)

    signs_in = Checks.STATE_ALONE if is_v4 else Checks.SIGN_IN
    yield route(
        "POST",
        "/client",
        clients.register,
        "Register the client, or tell what changed about it.",
        Checks.REGISTRATION,
        dialect=clients.RegistrationV4() if is_v4 else clients.RegistrationV3(),
        body=Properties,
        **({"answer": Tokens, "statuses": (200, 204)} if is_v4 else {"statuses": (204,)}),
    )
    yield route(
        "PUT",
        "/client/push-token",
        clients.set_push_token,
        "Say where the client is pushed to.",
        Door(contract, from_abroad=is_v4),
        body=PushTokenBody,
        statuses=(204,),
    )
    yield route(
        "DELETE",
        "/client/push-token",
        clients.clear_push_token,
        "Stop pushing to the client.",
        Checks.STATE,
        statuses=(204,),
    )
    yield route(
        "POST",
        "/client/contact",
        contacts.set_contact,
        "Say who uses the client.",
        Door(contract, signs_in, arrives_first=False),
        body=ContactBody,
        answer=Tokens,
        errors=(Conflict,),
        **({} if is_v4 else {"query": contacts.ContactQuery}),
    )
    yield route(
        "POST",
        "/client/contact-token",
        contacts.refresh,
        "Get a new contact token.",
        Checks.NOTHING,
        body=RefreshBody,
        answer=ContactTokenAnswer,
        usual=_OF_REFRESH,
    )


def _only_v4() -> Iterator[Route]:
    yield _route(
        "DELETE",
        f"{V4_BASE}/client/contact",
        contacts.make_anonymous,
        "Say that nobody in particular uses the client any more.",
        V4(),
        Door(Contract.V4, Checks.STATE_ALONE),
        answer=Tokens,
        errors=(Conflict,),
    )
    yield _route(
        "POST",
        f"{V4_BASE}/client/app",
        clients.switch,
        "Go over to another app.",
        V4(),
        Door(Contract.V4, arrives_first=False),
        body=SwitchBody,
        answer=Tokens,
    )


def _only_v3(base: str) -> Iterator[Route]:
    yield _route(
        "GET",
        f"{base}/geo-fences",
        geofences.geofences,
        "The places that the app's devices watch.",
        V3(),
        Door(Contract.V3, Checks.STATE_ALONE),
        answer=Geofences,
        statuses=(200, 304),
        errors=(NotFound,),
    )


_APPLESS: dict[str, Any] = {
    "path": "/v3/contact-token",
    "who": Who.DEVICE,
    "group": GROUP,
    "admit": appless.admit,
    "dialect": V3(),
    "noted": note_appless,
}
APPLESS_ROUTES = (
    Route(
        method="POST",
        handler=appless.sign_in,
        summary="Say who signed in, or get a new contact token, where there is no app.",
        body=appless.ApplessBody,
        answer=Tokens,
        errors=(BadMerchant, TooMany, RefreshRefused, Conflict, Unavailable),
        **_APPLESS,
    ),
    Route(
        method="DELETE",
        handler=appless.sign_out,
        summary="Sign out where there is no app.",
        statuses=(204,),
        errors=(BadMerchant, TooMany, Unavailable),
        **_APPLESS,
    ),
)

ROUTES: tuple[Route, ...] = (
    *APPLESS_ROUTES,
    *(route for base in V3_BASES for route in _client_service(base, Contract.V3)),
    *_client_service(V4_BASE, Contract.V4),
    *_only_v4(),
    *(route for base in V3_BASES for route in _only_v3(base)),
)
