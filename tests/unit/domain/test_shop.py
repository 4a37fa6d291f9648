from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.context import Caller
from domain.errors import Forbidden, Invalid
from domain.shop import (
    EVERY_SHOP,
    MAGNITUDE_MAX,
    Addressed,
    Update,
    assert_addressed_to,
    assert_may_read,
    assert_may_write,
    body_of,
    claim_of,
    decode,
    encode,
    plain,
)
from tests.fixtures.tills import SHOP, update

OTHER = UUID("11111111-2222-4333-8444-555555555555")

BODY = update()

GOLDEN = (
    b'{"session_id":"2f1e4fc0-81fd-4a6b-8b5c-3a1e1f2d3c4b","shop_id":"7f6c2b8e-1d7a-4a55-9a3b-0c9f3c1d2e4f",'
    b'"shopper_id":"9a8b7c6d-5e4f-4321-8fed-cba987654321","action_id":1,"create_time":"2023-12-18 10:30:00+00:00",'
    b'"action":"ADD","product_name":"Milk, 1 l","product_id":42,"product_price":3.5,"UPC":"0012345678905",'
    b'"category_id":7,"basket_total":13}'
)


def update_of(**changes: Any) -> Update:
    return msgspec.json.decode(json.dumps({**BODY, **changes}), type=Update)


def test_the_wire_form_never_changes() -> None:
    """An update reads on the wire as subscribers know it: fields, order, a space in the time, 3.50 as 3.5."""
    raw = json.dumps(BODY).replace("3.5", "3.50").encode()
    assert encode(msgspec.json.decode(raw, type=Update)) == GOLDEN


def test_an_addressed_message_keeps_its_form_on_the_wire() -> None:
    """A message to a shop, or to one session in it, is one compact JSON object with its data as it was given."""
    session = UUID(BODY["session_id"])
    message = Addressed(shop_id=SHOP, session_id=session, data={"text": "Hello", "n": [1, 2.5, None]})
    assert encode(message) == (
        b'{"shop_id":"7f6c2b8e-1d7a-4a55-9a3b-0c9f3c1d2e4f","session_id":"2f1e4fc0-81fd-4a6b-8b5c-3a1e1f2d3c4b",'
        b'"data":{"text":"Hello","n":[1,2.5,null]}}'
    )
    assert encode(Addressed(shop_id=SHOP, data=None)).endswith(b'"data":null}')
    assert decode(encode(message)) == message


def test_times_of_any_zone_are_the_same_instant_in_utc() -> None:
    """A till that writes its own zone is understood; the wire has UTC."""
    update = update_of(create_time="2023-12-18T12:30:00.250+02:00")
    assert b'"2023-12-18 10:30:00.250000+00:00"' in encode(update)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_id", "no-uuid"),
        ("shop_id", 7),
        ("shopper_id", None),
        ("action_id", "1"),
        ("action_id", 1.5),
        ("action_id", 2**63),
        ("create_time", "2023-12-18T10:30:00"),
        ("create_time", "18.12.2023"),
        ("create_time", "0001-01-01T00:00:00+14:00"),
        ("create_time", "9999-12-31T23:59:59-12:00"),
        ("create_time", "0002-01-01T00:00:00+23:59"),
        ("create_time", "9998-12-31T23:59:59-23:59"),
        ("action", ""),
        ("action", 5),
        ("product_name", None),
        ("product_id", "42"),
        ("product_price", -0.01),
        ("product_price", "free"),
        ("product_price", "NaN"),
        ("product_price", "Infinity"),
        ("product_price", True),
        ("UPC", 12345678905),
        ("category_id", None),
        ("basket_total", -1),
        ("basket_total", 10**15),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(field: str, value: Any) -> None:
    """Whatever is wrong with a field, the refusal says which field it is."""
    with pytest.raises((msgspec.ValidationError, Invalid)) as refused:
        update_of(**{field: value})
    named = refused.value.field if isinstance(refused.value, Invalid) else str(refused.value)
    assert named is not None
    assert field in named


@pytest.mark.parametrize("field", sorted(BODY))
def test_every_field_is_needed(field: str) -> None:
    """A body without one of the fields is refused by that field's name."""
    body = {name: value for name, value in BODY.items() if name != field}
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.json.decode(json.dumps(body), type=Update)


@pytest.mark.parametrize("exponent", [b"1e999999999", b"1e-999999999", b"1e15"])
def test_an_amount_of_absurd_size_is_refused_at_once(exponent: bytes) -> None:
    """An exponent cannot make us write millions of digits."""
    raw = json.dumps(BODY).encode().replace(b'"basket_total": 13.0', b'"basket_total": ' + exponent)
    with pytest.raises(Invalid) as refused:
        msgspec.json.decode(raw, type=Update)
    assert refused.value.field == "basket_total"


amounts = st.decimals(
    min_value=0, max_value=MAGNITUDE_MAX - 1, allow_nan=False, allow_infinity=False, places=4
) | st.decimals(min_value=0, max_value=1, allow_nan=False, allow_infinity=False, places=30)
instants = st.datetimes(
    min_value=datetime(2, 1, 2),  # noqa: DTZ001  given a zone beside
    max_value=datetime(9998, 12, 30),  # noqa: DTZ001
    timezones=st.integers(-720, 840).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
integers = st.integers(-(2**63), 2**63 - 1)
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
updates = st.builds(
    Update,
    session_id=st.uuids(),
    shop_id=st.uuids(),
    shopper_id=st.uuids(),
    action_id=integers,
    create_time=instants,
    action=words,
    product_name=st.text(st.characters(codec="utf-8"), max_size=500),
    product_id=integers,
    product_price=amounts,
    upc=st.text(st.characters(codec="utf-8"), max_size=64) | st.from_regex(r"\A0{1,6}[0-9]{1,12}\Z"),
    category_id=integers | words,
    basket_total=amounts,
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5).filter(str.isascii), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(updates)
def test_what_is_archived_reads_back_the_same(update: Update) -> None:
    """Every update survives its way to the wire and back: amounts to the last digit, the instant, a UPC's zeros."""
    assert decode(encode(update)) == update


@given(updates)
def test_numbers_are_json_numbers(update: Update) -> None:
    """Any JSON reader gets numbers for amounts, never text, and never an exponent."""
    seen = json.loads(encode(update), parse_float=lambda text: (text, Decimal(text)))
    written, price = (
        seen["product_price"] if isinstance(seen["product_price"], tuple) else ("", seen["product_price"])
    )
    assert "E" not in written
    assert price == update.product_price
    assert isinstance(seen["basket_total"], int | tuple)
    assert seen["UPC"] == update.upc
    assert datetime.fromisoformat(seen["create_time"]).astimezone(UTC) == update.created


@given(st.builds(Addressed, shop_id=st.uuids(), session_id=st.none() | st.uuids(), data=json_values))
def test_addressed_messages_read_back_the_same(message: Addressed) -> None:
    """A message's data comes out as it went in, and is one line."""
    wire = encode(message)
    assert b"\n" not in wire
    assert decode(wire) == message


@given(updates, st.booleans())
def test_whatever_a_till_writes_once_is_published(update: Update, is_ascii: bool) -> None:
    """Whatever is in its fields, escaped or not: quotation marks in a name are no second field."""
    written = json.loads(encode(update), parse_float=Decimal)
    said = json.dumps({**written, "more": {"UPC": 1}}, default=str, ensure_ascii=is_ascii).encode()
    assert body_of(read(said), said) == encode(update)


def read(said: bytes) -> Update:
    return msgspec.json.decode(said, type=Update)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        (b'"product_price": 4', "product_price"),
        (b'"product_price": 3.5', "product_price"),
        (b'"product\\u005fprice": 4', "product_price"),
        (b'"action": "REMOVE"', "action"),
        (b'"action": "\\u0022\\u0022\\u0022\\u0022"', "action"),
        (b'"more": {"a": 1, "a": 2}', "a"),
        (b'"' + b"x" * 500 + b'": 1, "' + b"x" * 500 + b'": 1', "x" * 100),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_field_that_is_there_twice_is_refused_by_its_name(more: bytes, field: str, is_first: bool) -> None:
    """Nobody knows which one is meant, were they the same: somebody put the body together wrongly."""
    raw = json.dumps(BODY).encode()
    said = b"{" + more + b"," + raw[1:] if is_first else raw[:-1] + b"," + more + b"}"
    with pytest.raises(Invalid) as refused:
        body_of(read(said), said)
    assert refused.value.field == field


@pytest.mark.parametrize("field", ["product_price", "basket_total"])
@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("3.50", True),
        ("0", True),
        ("1e3", True),
        ("1_000", False),
        ("1\\u005f000", False),
        ("\u0663.\u0665", False),
        ("\uff13", False),
        (" 3.5", False),
        ("3.5\\n", False),
        ("+3", False),
        (".5", False),
        ("5.", False),
        ("007", False),
    ],
)
def test_an_amount_as_text_is_a_number_as_json_writes_it(field: str, text: str, is_taken: bool) -> None:
    """In quotation marks it is the same amount as without; what is no number without them is none with them."""
    said = json.dumps({**BODY, field: 0}).replace(f'"{field}": 0', f'"{field}": "{text}"').encode()
    if is_taken:
        bare = said.replace(f'"{text}"'.encode(), text.encode())
        assert body_of(read(said), said) == body_of(read(bare), bare)
    else:
        with pytest.raises(Invalid) as refused:
            body_of(read(said), said)
        assert refused.value.field == field


def test_a_messages_data_says_nothing_twice() -> None:
    """At any depth; and data that does not is published as it is."""
    for data in (b'[{"a": 1, "a": 2}]', b'{"a": {"b": "", "b": "\\u0022"}}'):
        said = b'{"shop_id": "%b", "data": %b}' % (BODY["shop_id"].encode(), data)
        with pytest.raises(Invalid, match="twice"):
            body_of(msgspec.json.decode(said, type=Addressed), said)
    said = b'{"session_id":null,"shop_id":"%b","data":[{"a":"\\u0022"},{"a":""}]}' % BODY["shop_id"].encode()
    message = msgspec.json.decode(said, type=Addressed)
    assert body_of(message, said) == encode(message)


@given(amounts)
def test_amounts_lose_their_idle_zeros_and_nothing_else(amount: Decimal) -> None:
    """3.50 is 3.5, 10.00 is 10, and the value is the same."""
    text = format(plain(amount), "f")
    assert plain(amount) == amount
    assert not ("." in text and text.endswith(("0", ".")))


def test_the_address_and_the_body_name_one_shop() -> None:
    """A body about another shop than the address is refused by its shop_id."""
    assert_addressed_to(SHOP, update_of())
    with pytest.raises(Invalid) as refused:
        assert_addressed_to(OTHER, update_of())
    assert refused.value.field == "shop_id"


@pytest.mark.parametrize(
    ("caller", "reads", "writes"),
    [
        (Caller(uid=""), False, False),
        (Caller(uid="x", roles=frozenset({"till"})), False, False),
        (Caller(uid="x", shops=frozenset({OTHER})), False, False),
        (Caller(uid="x", shops=frozenset({SHOP})), True, True),
        (Caller(uid="x", shops=frozenset({SHOP}), roles=frozenset({"till"})), False, True),
        (Caller(uid="x", shops=frozenset({SHOP}), roles=frozenset({"merchant"})), True, False),
        (Caller(uid="x", shops=frozenset({SHOP}), roles=frozenset({"merchant", "till"})), True, True),
        (Caller(uid="x", shops=frozenset({SHOP}), realm="other"), False, False),
        (Caller(uid="x", realm="other", roles=frozenset({"admin"})), False, False),
        (Caller(uid="x", roles=frozenset({"admin"})), True, True),
        (Caller(uid="", roles=frozenset({EVERY_SHOP})), True, True),
    ],
)
def test_a_token_reaches_the_shops_it_names_and_no_other(caller: Caller, reads: bool, writes: bool) -> None:
    """Who may read and who may write a shop, by realm, roles and the shops a token names."""
    for assert_may, may in ((assert_may_read, reads), (assert_may_write, writes)):
        if may:
            assert_may(caller, SHOP)
        else:
            with pytest.raises(Forbidden):
                assert_may(caller, SHOP)


def test_no_two_callers_claim_the_same() -> None:
    """Whatever stands in names and keys: a key of one is no key of another, of another shop or another kind."""
    shop, other = UUID(int=1), UUID(int=2)
    messages: list[Addressed | Update] = [
        Addressed(shop_id=shop, data=1),
        Addressed(shop_id=other, data=1),
        msgspec.json.decode(json.dumps(BODY), type=Update),
    ]
    head = f"shop.message.v1|{shop}"
    uids, keys = ("a", "a|b", f"a|{head}|1|a"), ("k", "b|k", f"{head}|1|a|k")
    claims = [claim_of(uid, message, key) for uid in uids for message in messages for key in keys]
    assert len(set(claims)) == len(claims)
    assert claim_of("a", messages[0], "") == ""
