"""Questions to the shops' read models (see projections.shops for what the tables hold)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

import msgspec

from domain.context import DEFAULT_REALM
from domain.shop import plain
from projections.port import Key, ReadModels, Row
from projections.shops import (
    ADD,
    CLEAR,
    DAYS,
    LINES,
    REMOVE,
    SALES,
    SESSIONS,
    UPDATES,
    day_of,
    micros,
    time_of,
)

PAGE = 500
SCAN_PAGES_MAX = 10
"""Pages of rows that one question looks through; where a filter finds little, the cursor says where to go on."""
DAYS_MAX = 10_000
LINES_MAX = 10_000
"""Of one session: a till that scans one a second for three hours."""
SESSIONS_MAX = 1_000
"""Of one shopper that are looked at for the newest."""


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
    scanned = 0
    for day in await _days(models, shop, window, place):
        after: Key | None = place[1:] if place is not None and place[0] == day else None
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
    return found, None


async def _days(models: ReadModels, shop: UUID, window: Window, place: Place | None) -> list[str]:
    rows = await models.range(DAYS, (DEFAULT_REALM, shop), limit=DAYS_MAX, backwards=window.newest_first)
    first = day_of(window.since) if window.since else ""
    last = day_of(window.until) if window.until else "~"
    days = [row["day"] for row in rows if first <= row["day"] <= last]
    if place is None:
        return days
    if window.newest_first:
        return [day for day in days if day <= place[0]]
    return [day for day in days if day >= place[0]]


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
    """The session as it stands now; None when there is none."""
    rows: list[Row] = []
    after: Key | None = None
    while len(rows) < LINES_MAX:
        page = await models.range(LINES, (DEFAULT_REALM, shop, id), after=after, limit=PAGE)
        rows += page
        if len(page) < PAGE:
            break
        after = (page[-1]["position"],)
    return _session(id, rows) if rows else None


def _session(id: UUID, rows: Sequence[Row]) -> Session:
    last = rows[-1]
    return Session(
        session_id=id,
        shopper_id=last["shopper"],
        began=min(time_of(row["created_us"]) for row in rows),
        last=time_of(last["created_us"]),
        last_action=last["action"],
        basket_total=Decimal(last["total"]),
        basket=basket_of(rows),
        updates=len(rows),
    )


def basket_of(rows: Sequence[Row]) -> list[BasketLine]:
    """What is in the basket after these lines, in the order the products came in."""
    lines: dict[int, BasketLine] = {}
    for row in rows:
        product = row["product"]
        held = lines.get(product)
        quantity = held.quantity if held else 0
        match row["action"]:
            case action if action == ADD:
                lines[product] = BasketLine(
                    product_id=product,
                    product_name=row["name"],
                    UPC=row["upc"],
                    quantity=quantity + 1,
                    price=Decimal(row["price"]),
                )
            case action if action == REMOVE and held is not None:
                lines[product] = msgspec.structs.replace(held, quantity=quantity - 1)
                if quantity <= 1:
                    del lines[product]
            case action if action == CLEAR:
                lines = {}
            case _:
                pass
    return list(lines.values())


async def newest_session(models: ReadModels, shop: UUID, shopper: UUID) -> Session | None:
    """The session in which the shopper was seen last."""
    rows = await models.range(SESSIONS, (DEFAULT_REALM, shop, shopper), limit=SESSIONS_MAX)
    if not rows:
        return None
    newest = max(rows, key=lambda row: row["at_position"] or 0)
    return await session(models, shop, newest["session"])


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
    """By hour, then product; hours without a line are left out."""
    sums: dict[tuple[datetime, int], _Sum] = {}
    for day in await _days(models, shop, Window(since=since, until=until), None):
        after: Key | None = None
        while True:
            rows = await models.range(SALES, (DEFAULT_REALM, shop, day), after=after, limit=PAGE)
            for row in rows:
                hour = datetime.fromisoformat(day).replace(hour=row["hour"], tzinfo=UTC)
                if since <= hour < until and product in {None, row["product"]}:
                    sums.setdefault((hour, row["product"]), _Sum()).add(row)
            if len(rows) < PAGE:
                break
            after = (rows[-1]["hour"], rows[-1]["product"], rows[-1]["position"])
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
        self.amount += row["quantity"] * Decimal(row["price"])
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
