"""What a shop's till tells its merchant: an update about a basket, or a message to the shop or to one shopper session.

Owns their fields, what may be in them, their form on the wire (which is the archive's form, for ever) and who may
see or write which shop. Knows no subject, no stream and no HTTP.
"""

from __future__ import annotations

import json
import re
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.context import DEFAULT_REALM, Caller
from domain.errors import Forbidden, Invalid, TooLarge
from domain.text.nesting import assert_shallow

DIGITS_MAX = 34
"""Significant digits of an amount, as in IEEE 754 decimal128: more than any currency or any float has."""
MAGNITUDE_MAX = 10**15
"""Amounts stay below: the largest that a browser's numbers still tell apart to the cent."""
DECIMALS_MAX = 30
MESSAGE_BYTES_MAX = 64 * 1024
"""A merchant's page reads it from a socket: more is a document, which has its own address elsewhere."""
NAME_SHOWN_MAX = 100
"""Characters of a field's name that a caller made up."""

TILL, MERCHANT = "till", "merchant"
"""Roles that narrow a shop's token: a till only writes, a merchant only reads. Without either it may do both."""
EVERY_SHOP = "every_shop"
"""The role of a caller whom no shop is denied, besides admins."""

Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Amount = Annotated[Decimal, Meta(description="A JSON number, 0 or more; exact to the last digit.")]
Word = Annotated[str, Meta(min_length=1, max_length=64)]


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened at the till. create_time: by the till's clock, any zone; kept in UTC.

    action: such as ADD or REMOVE. upc: text, since its zeros matter. Amounts are exact.
    """

    session_id: UUID
    shop_id: UUID
    shopper_id: UUID
    action_id: Integer
    create_time: Annotated[
        datetime, Meta(tz=True, description="RFC 3339, with a zone: 2023-12-18T10:30:00Z.")
    ]
    action: Word
    product_name: Annotated[str, Meta(max_length=500)]
    product_id: Integer
    product_price: Amount
    upc: Annotated[str, Meta(max_length=64)] = msgspec.field(name="UPC")
    category_id: Integer | Word
    basket_total: Amount

    def __post_init__(self) -> None:
        # The first and the last year have no room for a zone; nor must the time be in one of them in UTC, as it is
        # kept: what is published has to be readable.
        if not (MINYEAR < self.create_time.year < MAXYEAR and MINYEAR < self.created.year < MAXYEAR):
            raise Invalid("this time cannot be", field="create_time")
        _assert_amount("product_price", self.product_price)
        _assert_amount("basket_total", self.basket_total)

    @property
    def created(self) -> datetime:
        return self.create_time.astimezone(UTC)


class Addressed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message to one shop, or to one shopper session in it. data: any JSON value."""

    shop_id: UUID
    session_id: UUID | None = None
    data: Any

    def __post_init__(self) -> None:
        assert_shallow(self.data, field="data")


ShopMessage = Update | Addressed


_AMOUNTS: Final = ("product_price", "basket_total")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""As JSON writes them (RFC 8259, section 6)."""


class _Kind(msgspec.Struct):
    action: Any = msgspec.UNSET


_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_update = msgspec.json.Decoder(Update).decode
_decode_addressed = msgspec.json.Decoder(Addressed).decode


def encode(message: ShopMessage) -> bytes:
    """The one JSON object that subscribers see and the archive keeps; golden bytes hold it.

    create_time reads `2023-12-18 10:30:00+00:00`, amounts are JSON numbers without an exponent and without idle zeros
    (3.50 is 3.5).
    """
    if isinstance(message, Addressed):
        return _encode(message)
    fields: dict[str, Any] = {
        "session_id": message.session_id,
        "shop_id": message.shop_id,
        "shopper_id": message.shopper_id,
        "action_id": message.action_id,
        "create_time": str(message.created),
        "action": message.action,
        "product_name": message.product_name,
        "product_id": message.product_id,
        "product_price": _written(message.product_price),
        "UPC": message.upc,
        "category_id": message.category_id,
        "basket_total": _written(message.basket_total),
    }
    return _encode(fields)


def decode(body: bytes) -> ShopMessage:
    """Either kind, from the wire. Raises ValueError for what is neither."""
    try:
        if _decode_kind(body).action is msgspec.UNSET:
            return _decode_addressed(body)
        return _decode_update(body)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except Invalid as invalid:
        raise ValueError(f"{invalid.field}: {invalid.detail}") from None


def happened(message: ShopMessage, published: datetime) -> datetime:
    """When, in UTC: by the till's clock, but for one that runs ahead; of a message to a shop, when it was published.

    Nothing is published before it happens, and what stood in the future would be the newest there is for as long.
    """
    published = published.astimezone(UTC)
    return min(message.created, published) if isinstance(message, Update) else published


def topic_of(message: ShopMessage) -> str:
    return "shop.message.v1" if isinstance(message, Addressed) else "shop.update.v1"


def claim_of(uid: str, message: ShopMessage, key: str) -> str:
    """What a caller's Idempotency-Key claims, by whatever way the message comes; "" without a key.

    No two callers claim the same, whatever stands in their names and keys.
    """
    return f"{topic_of(message)}|{message.shop_id}|{len(uid)}|{uid}|{key}" if key else ""


def plain(amount: Decimal) -> Decimal:
    """The same amount, without idle zeros."""
    return Decimal(_text(amount))


def _written(amount: Decimal) -> msgspec.Raw:
    # Decimal's own text of 0.0000001 has an exponent.
    return msgspec.Raw(_text(amount).encode())


def _text(amount: Decimal) -> str:
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.removeprefix("-") if not amount else text


def body_of(message: ShopMessage, said: bytes) -> bytes:
    """A message as it is published. said: what it was read from.

    Raises TooLarge, and Invalid where that says something twice, as nobody knows which is meant, or has an amount as a
    text that is no number.
    """
    body = encode(message)
    if len(body) > MESSAGE_BYTES_MAX:
        raise TooLarge(f"a shop's message has at most {MESSAGE_BYTES_MAX:,} bytes", field="body")
    # Hot path: what is left out of the body had quotation marks, and so had an amount that was text; none is added but
    # one that was escaped so.
    if said.count(b'"') != body.count(b'"') or b"\\u0022" in said:
        _assert_clear(message, said)
    return body


def _assert_clear(message: ShopMessage, said: bytes) -> None:
    try:
        fields = json.loads(said.decode("utf-8", "replace"), object_pairs_hook=_said_once, parse_int=float)
    except (json.JSONDecodeError, RecursionError):
        raise Invalid("the body is not JSON of a sensible depth", field="body") from None
    for name in _AMOUNTS if isinstance(message, Update) else ():
        # Decimal takes more for a number than anybody means: 1_000, digits of other scripts, blanks around.
        if isinstance(fields[name], str) and not _NUMBER.fullmatch(fields[name]):
            raise Invalid("write an amount as JSON writes numbers, such as 3.50", field=name)


def _said_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise Invalid("this is there twice", field=name[:NAME_SHOWN_MAX])
        fields[name] = value
    return fields


def assert_addressed_to(path_shop: UUID, message: ShopMessage) -> None:
    """Raises Invalid when the body speaks of another shop than the address does."""
    if message.shop_id != path_shop:
        raise Invalid("shop_id is not the one of the address", field="shop_id")


def assert_may_write(caller: Caller, shop: UUID) -> None:
    """Raises Forbidden."""
    _assert_named(caller, shop)
    if MERCHANT in caller.roles and TILL not in caller.roles and not caller.is_admin:
        raise Forbidden("a merchant's token reads its shops; it does not write")


def assert_may_read(caller: Caller, shop: UUID) -> None:
    """Raises Forbidden, the same for a shop that exists and one that does not."""
    _assert_named(caller, shop)
    if TILL in caller.roles and MERCHANT not in caller.roles and not caller.is_admin:
        raise Forbidden("a till's token writes to its shops; it does not read")


def _assert_named(caller: Caller, shop: UUID) -> None:
    # A shop's id is the whole of its subject: shops belong to one realm, or two realms could see one shop.
    if caller.realm != DEFAULT_REALM:
        raise Forbidden("shops belong to the default realm")
    if shop not in caller.shops and EVERY_SHOP not in caller.roles and not caller.is_admin:
        raise Forbidden("the token does not name this shop")


def _assert_amount(field: str, amount: Decimal) -> None:
    if not amount.is_finite():
        raise Invalid("this is no number", field=field)
    if amount < 0:
        raise Invalid("an amount is 0 or more", field=field)
    _, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int)
    if len(digits) > DIGITS_MAX or exponent < -DECIMALS_MAX or amount >= MAGNITUDE_MAX:
        raise Invalid(
            f"an amount is below {MAGNITUDE_MAX:,} and has at most {DIGITS_MAX} digits", field=field
        )
