"""Push contacts: registered by pages, described and listed by superusers."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from api.doppler.dialect import PROBLEM, TEXT, moment, whole
from api.doppler.domains import EMPTY, context_in, realm_of
from api.doppler.door import admit, domains_of
from api.parts import Parts
from api.route import Answer, Call, Route, Who
from commands.push_contacts import (
    PushAddress,
    RegisterPushContact,
    SetPushAddress,
    SetPushEmail,
    SetPushVisitor,
)
from domain.app import assert_code
from domain.deliveries.channel import FCM, WEBPUSH
from domain.errors import Invalid, NotFound
from projections import push_contacts
from projections.port import Row

GROUP = "web domains"
LISTED_MAX = 100_000
"""Push contacts in one answer, about 30 MB; the contract has no pages for them."""
_BASE64URL = re.compile(r"[A-Za-z0-9_+/-]+={0,2}")


class SubscriptionKeys(msgspec.Struct, frozen=True, kw_only=True):
    p256DH: str | None = None  # noqa: N815  the contract's name
    auth: str | None = None


class SubscriptionBody(msgspec.Struct, frozen=True, kw_only=True):
    """A browser's PushSubscription."""

    endPoint: str | None = None  # noqa: N815  the contract's name
    keys: SubscriptionKeys | None = None

    def address(self) -> PushAddress:
        """Raises Invalid for what no browser gives."""
        keys = self.keys or SubscriptionKeys()
        if not self.endPoint or not keys.p256DH or not keys.auth:
            raise Invalid("endPoint, keys.p256DH and keys.auth are needed", field="subscription")
        if not _is_absolute(self.endPoint):
            raise Invalid("endPoint is no absolute URL", field="endPoint")
        if not _BASE64URL.fullmatch(keys.p256DH) or not _BASE64URL.fullmatch(keys.auth):
            raise Invalid("keys are base64url, as the browser gave them", field="keys")
        said = {"endpoint": self.endPoint, "keys": {"p256dh": keys.p256DH, "auth": keys.auth}}
        return PushAddress(WEBPUSH, self.endPoint, msgspec.json.encode(said).decode())


class RegistrationBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    domain: str | None = None
    device_token: str | None = None
    email: str | None = None
    visitor_guid: str | None = None
    subscription: SubscriptionBody | None = None


class PushContactView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    domain: str
    device_token: str | None
    email: str | None
    visitor_guid: str | None = None
    modified: datetime | None = None


class ListQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    domain: str | None = None
    email: str | None = None
    modified_from: str | None = None
    modified_to: str | None = None


class GuidsQuery(msgspec.Struct, frozen=True, kw_only=True):
    domain: str | None = None
    nextCursor: str | None = None  # noqa: N815  the contract's name
    per_page: str | None = None


class GuidsPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: list[str]
    next_cursor: str | None
    per_page: int


async def register(call: Call[RegistrationBody, None]) -> Answer:
    body = call.body
    domain = (body.domain or "").strip()
    if not body.device_token or not body.device_token.strip():
        raise Invalid("'deviceToken' cannot be null, empty or whitespace.", field="deviceToken")
    assert_code(domain, field="domain")
    command = RegisterPushContact(
        domain=domain.casefold(),
        device_token=body.device_token,
        address=await _address(call.parts, body.subscription, body.device_token),
        email=_said(body.email),
        visitor=_said(body.visitor_guid),
    )
    realm = await realm_of(call.parts, domain)
    await call.parts.bus.execute(command, context_in(call, realm))
    return _written(realm)


def _written(realm: str) -> Answer:
    return Answer(b"", media_type="text/plain", realm=realm)


async def _address(parts: Parts, subscription: SubscriptionBody | None, device_token: str) -> PushAddress:
    """A subscription that is whole comes first; else the provider must know the device token."""
    if subscription is not None:
        try:
            return subscription.address()
        except Invalid:
            pass  # as in the original: then the device token counts
    if await domains_of(parts).tokens.is_good(device_token) is False:
        raise Invalid("'subscription' is not valid, and 'deviceToken' is not known", field="deviceToken")
    return PushAddress(FCM, device_token, device_token)


async def set_subscription(call: Call[SubscriptionBody, None]) -> Answer:
    command = SetPushAddress(device_token=call.path["deviceToken"], address=call.body.address())
    return _written(await call.parts.bus.execute(command, call.context))


async def set_email(call: Call[str, None]) -> Answer:
    command = SetPushEmail(device_token=call.path["deviceToken"], email=call.body)
    return _written(await call.parts.bus.execute(command, call.context))


async def set_visitor(call: Call[str, None]) -> Answer:
    token = call.path["deviceToken"]
    if not token.strip() or not call.body.strip():
        raise Invalid("'deviceToken' and 'visitorGuid' cannot be blank", field="visitorGuid")
    await call.parts.bus.execute(SetPushVisitor(device_token=token, visitor=call.body), call.context)
    return EMPTY


async def listed(call: Call[None, ListQuery]) -> Answer:
    query, realm = call.query, call.caller.realm
    if not query.domain or not query.domain.strip():
        raise Invalid("domain is missing", field="domain")
    first = moment(query.modified_from, "modifiedFrom") if query.modified_from else None
    last = moment(query.modified_to, "modifiedTo") if query.modified_to else None
    if first and last and first > last:
        raise Invalid("modifiedFrom is after modifiedTo", field="modifiedFrom")
    found = [
        _view(query.domain, row)
        for row in await _rows(call.parts, realm, query.domain.casefold(), query.email)
        if (first is None or row["modified"] >= first) and (last is None or row["modified"] <= last)
    ]
    if not found:
        raise NotFound("there are no such push contacts", field="domain")
    return Answer(found)


async def _rows(parts: Parts, realm: str, domain: str, email: str | None) -> list[Row]:
    found = (
        push_contacts.of_mailbox(parts.models, realm, domain, email)
        if email
        else push_contacts.living(parts.models, realm, domain)
    )
    rows: list[Row] = []
    async for row in found:
        rows.append(row)
        if len(rows) > LISTED_MAX:
            raise Invalid(f"there are more than {LISTED_MAX:,}; ask by email", field="domain")
    return rows


async def has_visitor(call: Call[None, None]) -> Answer:
    domain, visitor = call.path["domain"], call.path["visitorGuid"]
    if not domain.strip() or not visitor.strip():
        raise Invalid("'domain' and 'visitorGuid' cannot be blank", field="visitorGuid")
    realm = await realm_of(call.parts, domain)
    return Answer(await push_contacts.has_visitor(call.parts.models, realm, domain.casefold(), visitor))


async def visitor_guids(call: Call[None, GuidsQuery]) -> Answer:
    query = call.query
    if not query.domain or not query.domain.strip():
        raise Invalid("domain is missing", field="domain")
    per_page = whole(query.per_page, "per_page", 100, least=1, most=1_000)
    rows = await push_contacts.visitors(
        call.parts.models,
        call.caller.realm,
        query.domain.casefold(),
        after=_said(query.nextCursor),
        limit=per_page,
    )
    guids = list(dict.fromkeys(row["visitor"] for row in rows))
    return Answer(GuidsPage(items=guids, next_cursor=guids[-1] if guids else None, per_page=per_page))


def _view(domain: str, row: Row) -> PushContactView:
    return PushContactView(
        domain=domain,
        device_token=row["device_token"],
        email=row["email"],
        visitor_guid=row["visitor"],
        modified=row["modified"],
    )


def _said(text: str | None) -> str | None:
    return text if text and text.strip() else None


def _is_absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable()


_READS = ("push_contacts",)

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/push-contacts",
        handler=register,
        who=Who.ANYONE,
        dialect=TEXT,
        body=RegistrationBody,
        answer=str,
        media_type="text/plain",
        summary="Register a browser or device of a domain; one that is there is left as it is.",
        group=GROUP,
    ),
    Route(
        method="GET",
        path="/push-contacts",
        handler=listed,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=PROBLEM,
        query=ListQuery,
        answer=list[PushContactView],
        summary="A domain's push contacts, deleted ones left out.",
        group=GROUP,
        reads=_READS,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/push-contacts/visitor-guids",
        handler=visitor_guids,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=PROBLEM,
        query=GuidsQuery,
        answer=GuidsPage,
        summary="A domain's visitors, by guid.",
        group=GROUP,
        reads=_READS,
    ),
    Route(
        method="PUT",
        path="/push-contacts/{deviceToken}/subscription",
        handler=set_subscription,
        who=Who.ANYONE,
        dialect=TEXT,
        body=SubscriptionBody,
        answer=str,
        media_type="text/plain",
        summary="A push contact's browser has a new subscription.",
        group=GROUP,
        errors=(NotFound,),
    ),
    Route(
        method="PUT",
        path="/push-contacts/{deviceToken}/email",
        handler=set_email,
        who=Who.ANYONE,
        dialect=TEXT,
        body=str,
        answer=str,
        media_type="text/plain",
        summary="Who uses a push contact's browser, by mail address; an unknown token is no error.",
        group=GROUP,
    ),
    Route(
        method="PUT",
        path="/push-contacts/{deviceToken}/visitor-guid",
        handler=set_visitor,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=TEXT,
        body=str,
        answer=str,
        media_type="text/plain",
        summary="Who uses a push contact's browser, by visitor guid.",
        group=GROUP,
    ),
)

VISITOR_ROUTE = Route(
    method="GET",
    path="/push-contacts/{domain}/{visitorGuid}",
    handler=has_visitor,
    who=Who.ANYONE,
    dialect=PROBLEM,
    answer=bool,
    summary="Whether a visitor has a push contact in a domain.",
    group=GROUP,
    reads=_READS,
    errors=(Invalid,),
)
"""The last to be looked at, since its pattern fits other addresses, too."""
