"""The shops' read models: archive by time, baskets, sales."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.recorded import SHOPS, Checkpoint, Recorded
from domain.shop import Addressed, ShopMessage, Update
from projections import shop_queries
from projections.shop_queries import Place, Window
from projections.shops import NAME, SHOPPERS, Shops
from tests.memory.ports.read_models import MemoryReadModels

SHOP, SESSION, SHOPPER = (UUID(int=number, version=4) for number in (1, 2, 3))
START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
PUBLISHED = START + timedelta(days=3650)
"""Updates are, long after what they tell of."""


def update(**changes: Any) -> Update:
    fields: dict[str, Any] = {
        "session_id": SESSION,
        "shop_id": SHOP,
        "shopper_id": SHOPPER,
        "action_id": 1,
        "create_time": START,
        "action": "ADD",
        "product_name": "Milk",
        "product_id": 42,
        "product_price": Decimal("1.10"),
        "upc": "007",
        "category_id": 7,
        "basket_total": Decimal("1.10"),
    }
    return Update(**fields | changes)


def fact(position: int, body: ShopMessage, *, subject: str = "", at: datetime | None = None) -> Recorded:
    return Recorded(
        stream=SHOPS,
        position=position,
        subject=subject or f"updates.store.{body.shop_id}",
        topic="",
        realm="main",
        at=at or (PUBLISHED if isinstance(body, Update) else START),
        body=body,
    )


async def projected(bodies: Sequence[ShopMessage], *, shuffled: bool = False) -> MemoryReadModels:
    """The read models after these messages; shuffled: in any order, and some twice."""
    models, projection = MemoryReadModels(), Shops()
    facts = [fact(position, body) for position, body in enumerate(bodies, 1)]
    if shuffled:
        facts = [*facts, *facts[::2]]
        random.Random(3).shuffle(facts)
    writes = [write for each in facts for write in projection.project(each)]
    await models.generation(NAME).apply(writes, [Checkpoint(SHOPS, len(bodies), "e")])
    return models


async def walked(models: MemoryReadModels, window: Window, limit: int) -> list[int]:
    """Positions of all rows, page by page."""
    found: list[int] = []
    place: Place | None = None
    while True:
        rows, place = await shop_queries.updates(models, SHOP, window, place=place, limit=limit)
        found += [row["position"] for row in rows]
        if place is None:
            return found


minutes = st.lists(st.integers(0, 5_000), max_size=40)


@settings(max_examples=40, deadline=None)
@given(minutes, st.integers(1, 7), st.integers(0, 5_000), st.integers(0, 5_000), st.booleans())
async def test_pages_give_every_update_of_the_window_once_and_in_order(
    at: list[int], limit: int, since: int, until: int, newest_first: bool
) -> None:
    """Whatever the page size and the window, each update of the window comes once, by time and then by position."""
    models = await projected([update(create_time=START + timedelta(minutes=m)) for m in at], shuffled=True)
    window = Window(
        since=START + timedelta(minutes=since),
        until=START + timedelta(minutes=until),
        newest_first=newest_first,
    )
    expected = sorted((m, position) for position, m in enumerate(at, 1) if since <= m < until)
    if newest_first:
        expected.reverse()
    assert await walked(models, window, limit) == [position for _, position in expected]


async def test_a_window_without_bounds_gives_everything_messages_included() -> None:
    """Messages stand in the archive at the time they were accepted, updates at the till's."""
    models = await projected(
        [
            update(create_time=START + timedelta(days=3)),
            Addressed(shop_id=SHOP, data=1),
            update(shop_id=uuid4()),
        ]
    )
    assert await walked(models, Window(), 10) == [2, 1]


@pytest.mark.parametrize(
    ("window", "positions"),
    [
        (Window(action="REMOVE"), [2]),
        (Window(session=SESSION), [1, 2]),
        (Window(product=7), [3]),
        (Window(action="ADD", session=SESSION), [1]),
    ],
)
async def test_the_archive_is_filtered_by_action_session_and_product(
    window: Window, positions: list[int]
) -> None:
    """What a merchant asks for, and nothing else."""
    models = await projected([update(), update(action="REMOVE"), update(session_id=uuid4(), product_id=7)])
    assert await walked(models, window, 10) == positions


async def test_a_question_looks_through_a_bounded_number_of_rows() -> None:
    """A filter that finds nothing gives an empty page with a cursor, and in the end the end."""
    many = shop_queries.PAGE * shop_queries.SCAN_PAGES_MAX + 1
    models = await projected([update() for _ in range(many)])
    rows, place = await shop_queries.updates(models, SHOP, Window(action="NONE"), place=None, limit=10)
    assert rows == []
    assert place is not None
    assert place.position == many - 1
    assert await shop_queries.updates(models, SHOP, Window(action="NONE"), place=place, limit=10) == (
        [],
        None,
    )


actions = st.lists(
    st.tuples(st.sampled_from(["ADD", "REMOVE", "CLEAR", "PAY"]), st.integers(1, 3)), max_size=30
)


@settings(max_examples=40, deadline=None)
@given(actions)
async def test_a_basket_is_what_was_added_less_what_was_removed(done: list[tuple[str, int]]) -> None:
    """The basket of a session follows its updates in the order they were published; it never holds less than none."""
    models = await projected(
        [update(action=action, product_id=product) for action, product in done], shuffled=True
    )
    expected: Counter[int] = Counter()
    for action, product in done:
        match action:
            case "ADD":
                expected[product] += 1
            case "REMOVE" if expected[product]:
                expected[product] -= 1
            case "CLEAR":
                expected.clear()
            case _:
                pass
    found = await shop_queries.session(models, SHOP, SESSION)
    if not done:
        assert found is None
        return
    assert found is not None
    assert {line.product_id: line.quantity for line in found.basket} == dict(+expected)
    assert found.last_action == done[-1][0]
    assert found.updates == len(done)


async def test_a_shopper_is_where_they_were_seen_last() -> None:
    """Of a shopper's sessions the one with the newest update counts, whatever the till's clock says."""
    other = uuid4()
    models = await projected(
        [
            update(session_id=other, create_time=START + timedelta(hours=5)),
            update(basket_total=Decimal("12.30")),
            update(shopper_id=uuid4(), session_id=uuid4()),
        ]
    )
    found = await shop_queries.newest_session(models, SHOP, SHOPPER)
    assert found is not None
    assert (found.session_id, found.basket_total) == (SESSION, Decimal("12.3"))
    assert await shop_queries.newest_session(models, SHOP, uuid4()) is None


async def test_sales_are_exact_by_hour_and_product() -> None:
    """Three times 0.10 is 0.30; what was removed is taken away again; other products and hours stand apart."""
    dime = Decimal("0.10")
    models = await projected(
        [
            *(update(product_price=dime) for _ in range(3)),
            update(product_price=dime, action="REMOVE"),
            update(product_price=dime, action="LOOK"),
            update(product_id=7, product_name="Tea"),
            update(create_time=START + timedelta(hours=3)),
        ],
        shuffled=True,
    )
    sold = await shop_queries.sales(models, SHOP, since=START, until=START + timedelta(days=1))
    assert [(sale.hour.hour, sale.product_id, sale.quantity, str(sale.amount)) for sale in sold] == [
        (22, 7, 1, "1.1"),
        (22, 42, 2, "0.2"),
        (1, 42, 1, "1.1"),
    ]
    only = await shop_queries.sales(models, SHOP, since=START, until=START + timedelta(hours=1), product=7)
    assert [sale.product_name for sale in only] == ["Tea"]


async def test_sales_are_added_up_to_the_last_digit() -> None:
    """However many digits the amounts have: no sum is rounded."""
    price = Decimal("123456789012345.1234567890123456789")
    models = await projected([update(product_price=price) for _ in range(3)])
    [sold] = await shop_queries.sales(models, SHOP, since=START, until=START + timedelta(days=1))
    assert sold.amount == Decimal("370370367037035.3703703670370370367")


async def test_a_shopper_with_any_number_of_sessions_is_where_they_were_seen_last() -> None:
    """Tills that give all unknown shoppers one id are answered, too."""
    sessions = [uuid4() for _ in range(1_200)]
    models = await projected([update(session_id=session) for session in sessions], shuffled=True)
    found = await shop_queries.newest_session(models, SHOP, SHOPPER)
    assert found is not None
    assert found.session_id == sessions[-1]
    rows = [row async for page in models.scan(SHOPPERS) for row in page]
    assert len(rows) == 1  # a shop's busiest shopper costs no more to keep than any other


async def test_a_session_of_any_length_stands_where_its_last_update_left_it() -> None:
    """A session of several pages is added up whole."""
    many = 2 * shop_queries.PAGE + 100
    bodies = [update(action="LOOK") for _ in range(many)]
    models = await projected([*bodies, update(product_id=7), update(action="PAY", basket_total=Decimal(5))])
    found = await shop_queries.session(models, SHOP, SESSION)
    assert found is not None
    assert (found.updates, found.last_action, found.basket_total) == (many + 2, "PAY", Decimal(5))
    assert [line.product_id for line in found.basket] == [7]


async def test_a_session_that_is_too_long_to_add_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than answered with what its first updates say."""
    monkeypatch.setattr(shop_queries, "LINES_MAX", shop_queries.PAGE)
    models = await projected([update() for _ in range(shop_queries.PAGE)])
    assert await shop_queries.session(models, SHOP, SESSION) is not None
    models = await projected([update() for _ in range(2 * shop_queries.PAGE)])
    with pytest.raises(Invalid) as refused:
        await shop_queries.session(models, SHOP, SESSION)
    assert refused.value.field == "session_id"


async def test_more_sales_than_can_be_added_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One question never reads without an end."""
    monkeypatch.setattr(shop_queries, "SALES_LINES_MAX", shop_queries.PAGE)
    models = await projected([update() for _ in range(2 * shop_queries.PAGE)])
    with pytest.raises(Invalid) as refused:
        await shop_queries.sales(models, SHOP, since=START, until=START + timedelta(days=1))
    assert refused.value.field == "until"


async def test_a_shop_of_many_days_is_shown_whole_in_either_order() -> None:
    """More days than one page or one question holds, in pages, with and without a window and a filter."""
    many = max(shop_queries.SCAN_DAYS_MAX, shop_queries.PAGE) + 20
    bodies = [update(create_time=START + timedelta(days=number), product_id=number) for number in range(many)]
    models = await projected(bodies, shuffled=True)
    positions = list(range(1, many + 1))
    assert await walked(models, Window(), 300) == positions
    assert await walked(models, Window(newest_first=True), 300) == positions[::-1]
    since, until = START + timedelta(days=3), START + timedelta(days=many - 2)
    for newest_first in (False, True):
        window = Window(since=since, until=until, newest_first=newest_first)
        assert sorted(await walked(models, window, 300)) == positions[3:-2]
        rows, place = await shop_queries.updates(
            models, SHOP, Window(product=-1, newest_first=newest_first), place=None, limit=10
        )
        assert rows == []
        assert place is not None
        assert await shop_queries.updates(
            models, SHOP, Window(product=-1, newest_first=newest_first), place=place, limit=10
        ) == ([], None)


async def test_what_a_till_ahead_of_us_says_happened_when_it_was_published() -> None:
    """A clock that runs ahead puts nothing into the future: not in the archive, a session or the sales."""
    bodies = [update(create_time=START + timedelta(days=400)), update(), update()]
    times = [START, START + timedelta(minutes=1), START]
    models, projection = MemoryReadModels(), Shops()
    facts = [
        fact(number, body, at=at) for number, (body, at) in enumerate(zip(bodies, times, strict=True), 1)
    ]
    writes = [write for each in facts for write in projection.project(each)]
    await models.generation(NAME).apply(writes, [Checkpoint(SHOPS, 3, "e")])
    assert await walked(models, Window(until=START + timedelta(hours=1)), 10) == [1, 2, 3]
    [sold] = await shop_queries.sales(models, SHOP, since=START, until=START + timedelta(hours=1))
    assert sold.quantity == 3
    found = await shop_queries.session(models, SHOP, SESSION)
    assert found is not None
    assert (found.began, found.last) == (START, START)
    [row], _ = await shop_queries.updates(models, SHOP, Window(), place=None, limit=1)
    assert msgspec.json.decode(row["body"])["create_time"] == "2027-04-05 22:00:00+00:00"


def test_a_body_under_another_shops_subject_is_poison() -> None:
    """What was published past the API cannot write into another shop's read models."""
    with pytest.raises(ValueError, match="another shop"):
        list(Shops().project(fact(1, update(), subject=f"updates.store.{uuid4()}")))


async def test_what_is_archived_is_what_was_published() -> None:
    """The row's body is the wire form, byte for byte."""
    from domain.shop import encode

    models = await projected([update()])
    [row], _ = await shop_queries.updates(models, SHOP, Window(), place=None, limit=1)
    assert row["body"].encode() == encode(update())
    assert msgspec.json.decode(row["body"])["UPC"] == "007"
