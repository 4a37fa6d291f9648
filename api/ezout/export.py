"""The whole of a shop's archive as lines of JSON, in the order of publishing.

A raw ASGI application, since it has no end known. Whoever has read it to its end has all of it: an export that cannot
go on has none, its connection is cut. Owns the form of the answer; that of a line is api.ezout.frames'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import structlog
from msgspec import Meta
from starlette.types import Receive, Scope, Send

from api.endpoint import ROUTE, answer_other_than_get, decode_query, refuse
from api.ezout.door import credentials
from api.ezout.frames import FIRST, Filter, Frame, position_within
from api.ezout.hub import PAGE
from api.ezout.parts import Shops
from api.ezout.port import ShopEntry
from api.ezout.publishing import GROUP, shop_of, shops_of
from api.ezout.times import Moment, bounds
from api.http.hanging_up import hang_up
from api.http.peers import while_there
from api.parts import Parts
from api.route import Header, Route, Who, served_raw
from domain.errors import Forbidden, Invalid, MsgxcError, Unavailable
from domain.shop import assert_may_read, decode, happened

EXPORT_PATH = "/shops/{shop_id}/updates/export"
SEND_S_MAX = 30.0
"""A reader of an export that takes nothing for so long is gone."""

log = structlog.get_logger(__name__)


class ExportQuery(Filter, frozen=True, kw_only=True):
    """after: the id of the last line one has. since <= when it happened < until."""

    after: Annotated[str, Meta(max_length=2_048)] = FIRST
    since: Moment | None = None
    until: Moment | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """What is asked for, admitted. end: what comes behind it is in the next export, or on the stream."""

    shops: Shops
    shop: UUID
    filter: Filter
    since: datetime | None
    until: datetime | None
    after: int
    end: int

    async def send(self, send: Send) -> None:
        """Raises Unavailable, and TimeoutError for a reader that takes nothing."""
        after = self.after
        while True:
            entries = await self.shops.log.since(self.shop, after, PAGE)
            entries = [entry for entry in entries if entry[0] <= self.end]
            is_last = len(entries) < PAGE
            async with asyncio.timeout(SEND_S_MAX):
                content = "".join(self._lines(entries)).encode()
                await send({"type": "http.response.body", "body": content, "more_body": not is_last})
            if is_last:
                return
            after = entries[-1][0]

    def _lines(self, entries: list[ShopEntry]) -> Iterator[str]:
        give = self.shops.hub.stream_ids(self.shop).give
        for position, body, at in entries:
            frame = Frame(position, 0, body, give)
            if self.filter.shows(frame) and self._is_within(body, at):
                yield frame.text + "\n"

    def _is_within(self, body: bytes, at: datetime | None) -> bool:
        if self.since is None and self.until is None:
            return True
        created = _happened(body, at)
        return (
            created is not None
            and (self.since is None or created >= self.since)
            and (self.until is None or created < self.until)
        )


def _happened(body: bytes, at: datetime | None) -> datetime | None:
    """As the archive has it; None for what is not in it. at: when it was published."""
    if at is None:
        return None
    try:
        return happened(decode(body), at)
    except ValueError:
        return None


class ExportEndpoint:
    def __init__(self, parts: Parts) -> None:
        self._parts, self._limit = parts, parts.rate_limit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = EXPORT_PATH
        if scope["method"] != "GET":
            await answer_other_than_get(scope, send)
            return
        try:
            export = await self._asked(scope)
        except MsgxcError as error:
            await refuse(scope, send, error)
            return
        headers: list[Header] = [
            (b"content-type", b"application/x-ndjson"),
            (b"content-disposition", f'attachment; filename="{export.shop}.jsonl"'.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            with export.shops.hub.admitted():
                async with while_there(receive, "http.disconnect"):
                    await export.send(send)
        except (Unavailable, TimeoutError) as error:
            log.warning("shop_export_cut", reason=str(error) or "the reader takes nothing")
            if not await hang_up(scope):
                raise

    async def _asked(self, scope: Scope) -> Export:
        query = decode_query(ExportQuery, scope["query_string"])
        shops = shops_of(self._parts)
        identity = await shops.door.admit(*credentials(scope))
        if identity.key:
            self._limit.take(identity.key)
        shop = shop_of(scope["path_params"])
        assert_may_read(identity.caller, shop)
        since, until = bounds(query.since, query.until)
        after, end = shops.hub.stream_ids(shop).take(query.after, field="after"), await shops.log.head()
        shops.hub.assert_room()
        return Export(shops, shop, query, since, until, position_within(after, end, field="after"), end)


ROUTE_OF_EXPORT = Route(
    method="GET",
    path=EXPORT_PATH,
    handler=served_raw,
    who=Who.SHOP,
    query=ExportQuery,
    answer=str,
    media_type="application/x-ndjson",
    summary="A shop's whole archive as lines of JSON, in the order of publishing; `after` goes on from a line's id.",
    group=GROUP,
    errors=(Invalid, Forbidden, Unavailable),
)
