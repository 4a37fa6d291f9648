"""What a shop's archive and read models say: updates by time, sessions, sales.

Answers know of every update that was acknowledged before the question, unless the projector is far behind.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from api import cursor
from api.cursor import Page
from api.ezout.frames import Filter
from api.ezout.publishing import GROUP, admit, shop_of, shops_of
from api.ezout.times import Moment, bounds
from api.parts import Parts
from api.route import Answer, Call, Route, Who
from domain.errors import Forbidden, Invalid, NotFound, Unavailable
from domain.recorded import SHOPS
from domain.shop import assert_may_read
from projections import shop_queries, shops
from projections.port import Row
from projections.shop_queries import Place, Sale, Session, Window

LIMIT_MAX = 500
SALES_DAYS_MAX = 62
"""Two months of lines are added up for one answer; ask again for more."""
FRESH_S_MAX = 1.0
"""How long an answer waits for the projector to have what was acknowledged."""


class UpdatesQuery(Filter, frozen=True, kw_only=True):
    """since <= when it happened < until. order: asc, or desc for the newest first."""

    since: Moment | None = None
    until: Moment | None = None
    order: Annotated[str, Meta(pattern="^(asc|desc)$")] = "asc"
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = 100
    cursor: str | None = None

    def window(self) -> Window:
        """Raises Invalid."""
        since, until = bounds(self.since, self.until)
        return Window(
            since=since,
            until=until,
            action=self.action,
            session=self.session,
            product=self.product,
            newest_first=self.order == "desc",
        )


class SalesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """since <= hour < until, at most 62 days apart."""

    since: Moment
    until: Moment
    product: int | None = None


class Entry(msgspec.Struct, frozen=True):
    """id: where a stream goes on after this one. type: update or message. data: as it was published."""

    id: str
    type: str
    data: Any


async def updates(call: Call[None, UpdatesQuery]) -> Answer:
    shop = _readable(call)
    query, window = call.query, call.query.window()
    name = f"shop-updates:{shop}:{msgspec.json.encode(window).decode()}"
    place = cursor.take(call.parts.ids, query.cursor, name, Place) if query.cursor else None
    await _fresh(call.parts)
    rows, after = await shop_queries.updates(call.parts.models, shop, window, place=place, limit=query.limit)
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
    shop = _readable(call)
    since, until = bounds(call.query.since, call.query.until)
    assert since is not None
    assert until is not None
    if until - since > timedelta(days=SALES_DAYS_MAX):
        raise Invalid(f"ask for at most {SALES_DAYS_MAX} days at once", field="until")
    await _fresh(call.parts)
    found = await shop_queries.sales(
        call.parts.models, shop, since=since, until=until, product=call.query.product
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
