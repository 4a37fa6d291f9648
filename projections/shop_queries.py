"""Questions to the shops' read models (see projections.shops for what the tables hold)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

import msgspec

from domain.context import DEFAULT_REALM
from domain.errors import Invalid
from domain.shop import plain
from projections.paging import pages
from projections.port import Key, ReadModels, Row
from projections.shops import (
    ADD,
    CLEAR,
    DAYS,
    LINES,
    REMOVE,
    SALES,
    SHOPPERS,
    UPDATES,
    day_of,
    micros,
    time_of,
)

PAGE = 500
SCAN_PAGES_MAX = 10
"""Pages of rows that one question looks through; where a filter finds little, the cursor says where to go on."""
SCAN_DAYS_MAX = 400
"""Days that one question looks through: a year of a shop with few updates, under a second on any store."""
LINES_MAX = 100_000
"""Of one session: a till that scans one a second for a day. More are added up for nobody."""
SALES_LINES_MAX = 1_000_000
"""That are added up for one answer: some twenty seconds of reading."""
_ENDS = -(2**63), 2**63 - 1
"""Ahead of and behind whatever a day holds."""
_exact = Context(prec=80)
"""For sums of amounts, which have up to 15 digits before the point and up to 30 behind it."""


class Place(NamedTuple):
    """Where a page ended."""

    day: str
    created_us: int
    position: int


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """since <= created < until; what else a row must say."""

    since: datetime | None = None
    until: datetime | None = None
    action: str | None = None
    session: UUID | None = None
    product: int | None = None
    newest_first: bool = False

    def takes(self, row: Row) -> bool:
        created = row["created_us"]
        return (
            (self.since is None or created >= micros(self.since))
            and (self.until is None or created < micros(self.until))
            and (self.action is None or row["action"] == self.action)
            and (self.session is None or row["session"] == self.session)
            and (self.product is None or row["product"] == self.product)
        )


async def updates(
    models: ReadModels, shop: UUID, window: Window, *, place: Place | None, limit: int
) -> tuple[list[Row], Place | None]:
    """Up to `limit` rows by the till's time, and where to go on (None: there are no more)."""
    found: list[Row] = []
    scanned = days = 0
    async for day in _days(models, shop, window, place):
        if days == SCAN_DAYS_MAX:
            return found, place
        days += 1
        after: Key | None = place[1:] if place is not None and place.day == day else None
        while True:
            rows = await _day(models, shop, day, window, after)
            for row in rows:
                place, after = _place(day, row), (row["created_us"], row["position"])
                if window.takes(row):
                    found.append(row)
                    if len(found) == limit:
                        return found, place
            scanned += 1
            if len(rows) < PAGE:
                break
            if scanned >= SCAN_PAGES_MAX:
                return found, place
        place = Place(day, *[_ENDS[not window.newest_first]] * 2)
    return found, None


async def _days(
    models: ReadModels, shop: UUID, window: Window, place: Place | None = None
) -> AsyncIterator[str]:
    """Those that hold anything, in the order of reading, from that of the place on."""
    first = day_of(window.since) if window.since else "0"
    last = day_of(window.until) if window.until else "9"
    if place is not None and window.newest_first:
        last = min(last, place.day)
    elif place is not None:
        first = max(first, place.day)
    bounds = ((_ahead_of(first),), (_behind(last),))
    after, before = reversed(bounds) if window.newest_first else bounds
    of_shop: Key = (DEFAULT_REALM, shop)
    async for rows in pages(
        models, DAYS, of_shop, after=after, before=before, backwards=window.newest_first, chunk=PAGE
    ):
        for row in rows:
            yield row["day"]


def _behind(day: str) -> str:
    """What sorts behind this day and ahead of the next."""
    return day + "~"


def _ahead_of(day: str) -> str:
    """What sorts ahead of this day and behind the one before."""
    return day[:-1] + chr(ord(day[-1]) - 1) + "~"


async def _day(models: ReadModels, shop: UUID, day: str, window: Window, after: Key | None) -> list[Row]:
    if after is None and not window.newest_first and window.since and day_of(window.since) == day:
        after = (micros(window.since) - 1,)
    partition = (DEFAULT_REALM, shop, day)
    return await models.range(UPDATES, partition, after=after, limit=PAGE, backwards=window.newest_first)


def _place(day: str, row: Row) -> Place:
    return Place(day, row["created_us"], row["position"])


class BasketLine(msgspec.Struct, frozen=True, kw_only=True):
    """One product in a basket. price: of the last one added."""

    product_id: int
    product_name: str
    UPC: str
    quantity: int
    price: Decimal


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A shopper's session as it stands. basket_total: what the till said last."""

    session_id: UUID
    shopper_id: UUID
    began: datetime
    last: datetime
    last_action: str
    basket_total: Decimal
    basket: list[BasketLine]
    updates: int


async def session(models: ReadModels, shop: UUID, id: UUID) -> Session | None:
    """The session as it stands now; None when there is none. Raises Invalid for one that is too long to add up."""
    standing = _Standing()
    async for page in pages(models, LINES, (DEFAULT_REALM, shop, id), chunk=PAGE):
        for row in page:
            standing.add(row)
        if len(page) == PAGE and standing.updates > LINES_MAX:
            raise Invalid(
                f"the session has more than {LINES_MAX:,} updates; read them in the archive",
                field="session_id",
            )
    return standing.session(id)


class _Standing:
    """Where a session stands after the lines that were read so far."""

    def __init__(self) -> None:
        self.basket: dict[int, BasketLine] = {}
        self.updates = self.began_us = 0
        self.last: Row = {}

    def add(self, row: Row) -> None:
        created_us = row["created_us"]
        self.began_us = min(self.began_us, created_us) if self.updates else created_us
        self.updates, self.last = self.updates + 1, row
        match row["action"]:
            case action if action == ADD:
                self._put(row)
            case action if action == REMOVE:
                self._take(row["product"])
            case action if action == CLEAR:
                self.basket.clear()
            case _:
                pass

    def _put(self, row: Row) -> None:
        held = self.basket.get(row["product"])
        self.basket[row["product"]] = BasketLine(
            product_id=row["product"],
            product_name=row["name"],
            UPC=row["upc"],
            quantity=(held.quantity if held else 0) + 1,
            price=Decimal(row["price"]),
        )

    def _take(self, product: int) -> None:
        held = self.basket.get(product)
        if held is None:
            return
        if held.quantity == 1:
            del self.basket[product]
        else:
            self.basket[product] = msgspec.structs.replace(held, quantity=held.quantity - 1)

    def session(self, id: UUID) -> Session | None:
        if not self.updates:
            return None
        last = self.last
        return Session(
            session_id=id,
            shopper_id=last["shopper"],
            began=time_of(self.began_us),
            last=time_of(last["created_us"]),
            last_action=last["action"],
            basket_total=Decimal(last["total"]),
            basket=list(self.basket.values()),
            updates=self.updates,
        )


async def newest_session(models: ReadModels, shop: UUID, shopper: UUID) -> Session | None:
    """The session in which the shopper was seen last."""
    seen = await models.get(SHOPPERS, (DEFAULT_REALM, shop, shopper))
    return await session(models, shop, seen["session"]) if seen else None


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """One product in one hour. quantity: added less removed; amount: their prices, added up exactly."""

    hour: datetime
    product_id: int
    product_name: str
    UPC: str
    quantity: int
    amount: Decimal


async def sales(
    models: ReadModels, shop: UUID, *, since: datetime, until: datetime, product: int | None = None
) -> list[Sale]:
    """By hour, then product; hours without a line are left out. Raises Invalid for more than can be added up."""
    sums: dict[tuple[datetime, int], _Sum] = {}
    lines = 0
    async for day in _days(models, shop, Window(since=since, until=until)):
        async for rows in pages(models, SALES, (DEFAULT_REALM, shop, day), chunk=PAGE):
            for row in rows:
                hour = datetime.fromisoformat(day).replace(hour=row["hour"], tzinfo=UTC)
                if since <= hour < until and product in {None, row["product"]}:
                    sums.setdefault((hour, row["product"]), _Sum()).add(row)
            lines += PAGE if len(rows) == PAGE else 0
            if lines > SALES_LINES_MAX:
                raise Invalid(
                    f"these are more than {SALES_LINES_MAX:,} lines; ask for less time", field="until"
                )
    return [total.sale(hour, id) for (hour, id), total in sorted(sums.items(), key=itemgetter(0))]


@dataclass(slots=True)
class _Sum:
    """Lines of one product in one hour, added up as they are read."""

    quantity: int = 0
    amount: Decimal = Decimal(0)
    name: str = ""
    upc: str = ""

    def add(self, row: Row) -> None:
        self.quantity += row["quantity"]
        self.amount = _exact.fma(row["quantity"], Decimal(row["price"]), self.amount)
        self.name, self.upc = row["name"], row["upc"]

    def sale(self, hour: datetime, product: int) -> Sale:
        return Sale(
            hour=hour,
            product_id=product,
            product_name=self.name,
            UPC=self.upc,
            quantity=self.quantity,
            amount=plain(self.amount),
        )
