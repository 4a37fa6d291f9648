"""What a shop's archive and read models say: updates by time, sessions, sales; and the whole of it as lines of JSON.

Answers know of every update that was acknowledged before the question, unless the projector is far behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from starlette.types import Receive, Scope, Send

from api import cursor
from api.cursor import Page
from api.endpoint import ROUTE, decode_query, refuse
from api.ezout.door import credentials
from api.ezout.frames import FIRST, Filter, Frame, position_within
from api.ezout.hub import PAGE
from api.ezout.parts import Shops
from api.ezout.publishing import GROUP, admit, shop_of, shops_of
from api.parts import Parts
from api.problem import MethodNotAllowed
from api.route import Answer, Call, Header, Route, Who
from domain.errors import Forbidden, Invalid, MsgxcError, NotFound, Unavailable
from domain.recorded import SHOPS
from domain.shop import Update, assert_may_read, decode
from projections import shop_queries, shops
from projections.port import Row
from projections.shop_queries import Place, Sale, Session, Window

EXPORT_PATH = "/shops/{shop_id}/updates/export"
LIMIT_MAX = 500
SALES_DAYS_MAX = 62
"""Two months of lines are added up for one answer; ask again for more."""
FRESH_S_MAX = 1.0
"""How long an answer waits for the projector to have what was acknowledged."""
SEND_S_MAX = 30.0
"""A reader of an export that takes nothing for so long is gone."""

When = Annotated[datetime, Meta(tz=True)]


class UpdatesQuery(Filter, frozen=True, kw_only=True):
    """since <= create_time < until. order: asc, or desc for the newest first."""

    since: When | None = None
    until: When | None = None
    order: Annotated[str, Meta(pattern="^(asc|desc)$")] = "asc"
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = 100
    cursor: str | None = None

    def window(self) -> Window:
        return Window(
            since=self.since,
            until=self.until,
            action=self.action,
            session=self.session,
            product=self.product,
            newest_first=self.order == "desc",
        )


class SalesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """since <= hour < until, at most 62 days apart."""

    since: When
    until: When
    product: int | None = None


class ExportQuery(Filter, frozen=True, kw_only=True):
    """after: the id of the last line one has. since, until: by create_time."""

    after: Annotated[str, Meta(max_length=2_048)] = FIRST
    since: When | None = None
    until: When | None = None


class Entry(msgspec.Struct, frozen=True):
    """id: where a stream goes on after this one. type: update or message. data: as it was published."""

    id: str
    type: str
    data: Any


async def updates(call: Call[None, UpdatesQuery]) -> Answer:
    shop = _readable(call)
    query = call.query
    name = f"shop-updates:{shop}:{msgspec.json.encode(query.window()).decode()}"
    place = cursor.take(call.parts.ids, query.cursor, name, Place) if query.cursor else None
    await _fresh(call.parts)
    rows, after = await shop_queries.updates(
        call.parts.models, shop, query.window(), place=place, limit=query.limit
    )
    give = shops_of(call.parts).hub.stream_ids(shop).give
    items = [_entry(row, give(row["position"])) for row in rows]
    following = cursor.give(call.parts.ids, name, after) if after else None
    return Answer(Page(items, following))


def _entry(row: Row, id: str) -> Entry:
    return Entry(id, "message" if row["action"] is None else "update", msgspec.Raw(row["body"].encode()))


async def session(call: Call[None, None]) -> Answer:
    shop, id = _readable(call), shop_of(call.path, "session_id")
    await _fresh(call.parts)
    return _found(await shop_queries.session(call.parts.models, shop, id))


async def shopper(call: Call[None, None]) -> Answer:
    shop, id = _readable(call), shop_of(call.path, "shopper_id")
    await _fresh(call.parts)
    return _found(await shop_queries.newest_session(call.parts.models, shop, id))


def _found(found: Session | None) -> Answer:
    if found is None:
        raise NotFound("nothing has happened there")
    return Answer(_amounts_as_numbers(found))


async def sales(call: Call[None, SalesQuery]) -> Answer:
    shop, query = _readable(call), call.query
    if query.until - query.since > timedelta(days=SALES_DAYS_MAX):
        raise Invalid(f"ask for at most {SALES_DAYS_MAX} days at once", field="until")
    await _fresh(call.parts)
    found = await shop_queries.sales(
        call.parts.models, shop, since=query.since, until=query.until, product=query.product
    )
    return Answer(_amounts_as_numbers(found))


_encode = msgspec.json.Encoder(decimal_format="number").encode


def _amounts_as_numbers(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def _readable(call: Call[Any, Any]) -> UUID:
    """The shop of the address. Raises Invalid or Forbidden."""
    shop = shop_of(call.path)
    assert_may_read(call.caller, shop)
    return shop


async def _fresh(parts: Parts) -> None:
    """Wait until the read models have what is on the stream now, though not for long."""
    head = await shops_of(parts).log.head()
    with contextlib.suppress(TimeoutError):
        await parts.watermark.passed((shops.NAME,), SHOPS, head, timeout_s=FRESH_S_MAX)


class ExportEndpoint:
    """The archive as lines of JSON, in the order of publishing; a raw ASGI application, since it has no end known."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = EXPORT_PATH
        try:
            if scope["method"] != "GET":
                raise MethodNotAllowed(("GET", "OPTIONS"))
            found, shop, query, after = await self._asked(scope)
        except MsgxcError as error:
            await refuse(scope, send, error)
            return
        headers: list[Header] = [
            (b"content-type", b"application/x-ndjson"),
            (b"content-disposition", f'attachment; filename="{shop}.jsonl"'.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _export(found, shop, query, after, send)

    async def _asked(self, scope: Scope) -> tuple[Shops, UUID, ExportQuery, int]:
        query = decode_query(ExportQuery, scope["query_string"])
        found = shops_of(self._parts)
        identity = await found.door.admit(*credentials(scope))
        shop = shop_of(scope["path_params"])
        assert_may_read(identity.caller, shop)
        after = found.hub.stream_ids(shop).take(query.after, field="after")
        return found, shop, query, position_within(after, await found.log.head(), field="after")


async def _export(found: Shops, shop: UUID, query: ExportQuery, after: int, send: Send) -> None:
    """What there is up to now; what comes meanwhile is in the next export, or on the stream."""
    head, give = await found.log.head(), found.hub.stream_ids(shop).give
    while True:
        entries = await found.log.since(shop, after, PAGE)
        frames = [Frame(position, 0, body, give) for position, body in entries if position <= head]
        lines = [frame.text + "\n" for frame in frames if query.shows(frame) and _within(frame, query)]
        is_last = len(frames) < PAGE
        async with asyncio.timeout(SEND_S_MAX):
            body = "".join(lines).encode()
            await send({"type": "http.response.body", "body": body, "more_body": not is_last})
        if is_last:
            return
        after = frames[-1].position


def _within(frame: Frame, query: ExportQuery) -> bool:
    if query.since is None and query.until is None:
        return True
    try:
        message = decode(frame.body)
    except ValueError:
        return False
    if not isinstance(message, Update):
        return False
    created = message.created
    return (query.since is None or created >= query.since) and (query.until is None or created < query.until)


async def _served_raw(_: Call[None, None]) -> Answer:
    raise AssertionError("served by ExportEndpoint")


_ERRORS = (Invalid, Forbidden, Unavailable)


def _get(path: str, handler: Any, answer: Any, summary: str, **more: Any) -> Route:
    return Route(
        method="GET",
        path=path,
        handler=handler,
        who=Who.SHOP,
        admit=admit,
        answer=answer,
        summary=summary,
        group=GROUP,
        **{"errors": _ERRORS, **more},
    )


ROUTES: tuple[Route, ...] = (
    _get(
        "/shops/{shop_id}/updates",
        updates,
        Page[Entry],
        "A shop's updates and messages by the till's time, a page at a time.",
        query=UpdatesQuery,
    ),
    _get(
        "/shops/{shop_id}/sessions/{session_id}",
        session,
        Session,
        "A shopper session as it stands: what is in the basket, and what the till said last.",
        errors=(*_ERRORS, NotFound),
    ),
    _get(
        "/shops/{shop_id}/shoppers/{shopper_id}",
        shopper,
        Session,
        "The session in which a shopper was seen last.",
        errors=(*_ERRORS, NotFound),
    ),
    _get(
        "/shops/{shop_id}/sales",
        sales,
        list[Sale],
        "Sales by hour and product: lines added less lines removed, and their amounts.",
        query=SalesQuery,
    ),
)
ROUTE_OF_EXPORT = _get(
    EXPORT_PATH,
    _served_raw,
    str,
    "The whole archive of a shop as lines of JSON, in the order of publishing; `after` goes on from a line's id.",
    query=ExportQuery,
    media_type="application/x-ndjson",
)
