"""What merchants ask of their shops: the archive by time, the basket of a shopper now, sales by product and hour.

Times are those of domain.shop.happened: the till's, in UTC. Nothing is counted up: each update is a row, and sums are
made when they are read, so replays and disorder change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.context import DEFAULT_REALM
from domain.recorded import SHOPS, Recorded
from domain.shop import Addressed, ShopMessage, Update, encode, happened, plain
from projections.port import Key, Put, ReadModels, Table, Write

NAME = "shops"
ADD, REMOVE, CLEAR = "ADD", "REMOVE", "CLEAR"
"""Actions that change a basket: one more, one less, none at all. Others are shown and change nothing."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)

UPDATES = Table(
    projection=NAME,
    name="shop_updates",
    partition={"realm": "text", "shop": "uuid", "day": "text"},
    clustering={"created_us": "bigint", "position": "bigint"},
    columns={"action": "text", "session": "uuid", "product": "bigint", "body": "text"},
)
"""One row per update or message; created_us: microseconds since 1970, by the till. action: null for a message."""

DAYS = Table(
    projection=NAME,
    name="shop_days",
    partition={"realm": "text", "shop": "uuid"},
    clustering={"day": "text"},
    columns={"seen": "boolean"},
)
"""Which days of a shop hold anything, so that a query without bounds knows where to look."""

LINES = Table(
    projection=NAME,
    name="shop_session_lines",
    partition={"realm": "text", "shop": "uuid", "session": "uuid"},
    clustering={"position": "bigint"},
    columns={
        "created_us": "bigint",
        "shopper": "uuid",
        "action": "text",
        "product": "bigint",
        "name": "text",
        "upc": "text",
        "price": "text",
        "total": "text",
    },
)
"""What happened in a session, in the order it was published. Amounts are text: exact on every backend."""

SHOPPERS = Table(
    projection=NAME,
    name="shop_shoppers",
    partition={"realm": "text", "shop": "uuid", "shopper": "uuid"},
    columns={"session": "uuid"},
)
"""The session in which a shopper was seen last. One row each: a till may give all unknown shoppers one id."""

SALES = Table(
    projection=NAME,
    name="shop_sales",
    partition={"realm": "text", "shop": "uuid", "day": "text"},
    clustering={"hour": "bigint", "product": "bigint", "position": "bigint"},
    columns={"quantity": "bigint", "price": "text", "name": "text", "upc": "text"},
)
"""One row per line added (quantity 1) or removed (-1)."""


class Shops:
    """The projection."""

    name, version = NAME, 3
    streams = (SHOPS,)
    tables = (UPDATES, DAYS, LINES, SHOPPERS, SALES)

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case Update() as update:
                yield from _archived(fact, update, _update_values(update))
                yield from _session_writes(fact, update)
                yield from _sale(fact, update)
            case Addressed() as message:
                values = {"session": message.session_id, "body": encode(message).decode()}
                yield from _archived(fact, message, values)
            case _:
                return

    async def check(self, models: ReadModels) -> list[str]:
        del models
        return []


def _archived(fact: Recorded, message: ShopMessage, values: dict[str, Any]) -> Iterable[Write]:
    shop, created = message.shop_id, happened(message, fact.at)
    # The address says whose it is; a body of another shop was published past the API.
    if not fact.subject.endswith(str(shop)):
        raise ValueError("the body speaks of another shop than the subject")
    day = day_of(created)
    yield Put(UPDATES, (DEFAULT_REALM, shop, day, micros(created), fact.position), values, fact.position)
    yield Put(DAYS, (DEFAULT_REALM, shop, day), {"seen": True}, fact.position)


def _update_values(update: Update) -> dict[str, Any]:
    return {
        "action": update.action,
        "session": update.session_id,
        "product": update.product_id,
        "body": encode(update).decode(),
    }


def _session_writes(fact: Recorded, update: Update) -> Iterable[Write]:
    line = {
        "created_us": micros(happened(update, fact.at)),
        "shopper": update.shopper_id,
        "action": update.action,
        "product": update.product_id,
        "name": update.product_name,
        "upc": update.upc,
        "price": str(plain(update.product_price)),
        "total": str(plain(update.basket_total)),
    }
    key: Key = (DEFAULT_REALM, update.shop_id, update.session_id, fact.position)
    yield Put(LINES, key, line, fact.position)
    key = (DEFAULT_REALM, update.shop_id, update.shopper_id)
    yield Put(SHOPPERS, key, {"session": update.session_id}, fact.position)


def _sale(fact: Recorded, update: Update) -> Iterable[Write]:
    quantity = {ADD: 1, REMOVE: -1}.get(update.action)
    if quantity is None:
        return
    created = happened(update, fact.at)
    values = {
        "quantity": quantity,
        "price": str(plain(update.product_price)),
        "name": update.product_name,
        "upc": update.upc,
    }
    day = day_of(created)
    key = (DEFAULT_REALM, update.shop_id, day, created.hour, update.product_id, fact.position)
    yield Put(SALES, key, values, fact.position)


def micros(at: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (at - _EPOCH) // _US


def time_of(created_us: int) -> datetime:
    return _EPOCH + created_us * _US


def day_of(at: datetime) -> str:
    """2023-12-18, in UTC; sorts as time does."""
    return at.astimezone(UTC).date().isoformat()
