"""The archive and the read models over REST."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from api.ezout.hub import PAGE
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from infra.readstore.cassandra.config import CassandraConfig
from infra.readstore.opening import read_store
from tests.fixtures.nats import MASTER_KEY, log_config, wipe
from tests.fixtures.tills import SESSION, update
from tests.integration.ezout.market import Market, market, some_shop

SHOPPER = update()["shopper_id"]


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="session",
    params=["memory", pytest.param("cassandra", marks=pytest.mark.cassandra)],
)
async def fair(
    nats_server: NatsServer, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Market]:
    """One market for all tests of this module, by what its read models are in; each has a shop of its own."""
    await wipe(nats_server)
    async with AsyncExitStack() as opened:
        store = None
        if request.param == "cassandra":
            config: CassandraConfig = request.getfixturevalue("cassandra")
            # Its own: the positions of another log would be taken for progress.
            config = msgspec.structs.replace(config, keyspace=f"{config.keyspace}_shops")
            store = await opened.enter_async_context(read_store(tmp_path_factory.mktemp("models"), config))
        log = await opened.enter_async_context(open_log(log_config(nats_server), master_key=MASTER_KEY))
        yield await opened.enter_async_context(market(log, store=store))


async def got(fair: Market, path: str, **query: Any) -> Any:
    answer = await fair.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def walked(fair: Market, shop: UUID, **query: Any) -> list[int]:
    """product_id of all pages."""
    found: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = await got(fair, f"/shops/{shop}/updates", **query, **cursor)
        found += [item["data"]["product_id"] for item in page["items"]]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


async def test_an_update_is_in_the_archive_as_soon_as_it_is_answered(fair: Market) -> None:
    """A question after the till's answer finds the update, as it was published, with an id to stream on from."""
    shop = some_shop()
    await fair.sent(1, shop=shop)
    page = await got(fair, f"/shops/{shop}/updates")
    [item] = page["items"]
    assert item["data"] == update(shop_id=str(shop), product_id=0, create_time="2023-12-18 10:30:00+00:00")
    assert item["type"] == "update"
    async with fair.events(shop, last_id=item["id"]) as stream:
        await fair.sent(1, shop=shop, start=1)
        assert await stream.products(1) == [1]


async def test_the_archive_is_asked_by_time_and_action_in_pages(fair: Market) -> None:
    """since, until, action, order and limit; the pages together are the answer."""
    shop = some_shop()
    for hour in range(6):
        at = f"2024-05-0{1 + hour % 3}T0{hour}:00:00Z"
        action = "ADD" if hour % 2 else "REMOVE"
        await fair.publish(update(shop_id=str(shop), product_id=hour, create_time=at, action=action))
    assert await walked(fair, shop, limit=2) == [0, 3, 1, 4, 2, 5]
    assert await walked(fair, shop, limit=1, order="desc") == [5, 2, 4, 1, 3, 0]
    assert await walked(fair, shop, since="2024-05-01T03:00:00Z", until="2024-05-03T02:00:00Z", limit=2) == [
        3,
        1,
        4,
    ]
    assert await walked(fair, shop, action="ADD", limit=1) == [3, 1, 5]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2024-05-01T00:00:00"}, "since"),
        ({"order": "up"}, "order"),
        ({"session": "x"}, "session"),
        ({"cursor": "nonsense"}, "cursor"),
    ],
)
async def test_a_wrong_question_is_422_by_name(fair: Market, query: dict[str, Any], field: str) -> None:
    """Each parameter, wrong."""
    answer = await fair.client.get(f"/shops/{some_shop()}/updates", params=query)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_cursor_is_good_for_its_own_question_alone(fair: Market) -> None:
    """Of another shop, or with another filter, it is refused."""
    shop, other = some_shop(), some_shop()
    await fair.sent(2, shop=shop)
    cursor = (await got(fair, f"/shops/{shop}/updates", limit=1))["next"]
    for path, query in ((f"/shops/{other}/updates", {}), (f"/shops/{shop}/updates", {"action": "ADD"})):
        answer = await fair.client.get(path, params={**query, "limit": 1, "cursor": cursor})
        assert answer.status_code == 422


async def test_the_basket_of_a_shopper_now(fair: Market) -> None:
    """By session and by shopper: what is in the basket and what the till said last; amounts are numbers."""
    shop = some_shop()
    for product, action in ((1, "ADD"), (1, "ADD"), (2, "ADD"), (1, "REMOVE")):
        await fair.publish(
            update(
                shop_id=str(shop), product_id=product, action=action, product_price=1.10, basket_total=2.20
            )
        )
    for path in (f"sessions/{SESSION}", f"shoppers/{SHOPPER}"):
        found = await got(fair, f"/shops/{shop}/{path}")
        assert found["basket_total"] == 2.2
        assert found["last_action"] == "REMOVE"
        assert [(line["product_id"], line["quantity"], line["price"]) for line in found["basket"]] == [
            (1, 1, 1.1),
            (2, 1, 1.1),
        ]
        assert found["basket"][0]["UPC"] == "0012345678905"
    for path in (f"sessions/{some_shop()}", f"shoppers/{some_shop()}"):
        assert (await fair.client.get(f"/shops/{shop}/{path}")).status_code == 404


async def test_sales_by_product_and_hour(fair: Market) -> None:
    """Added less removed, exact, for at most 62 days at once."""
    shop = some_shop()
    for number in range(3):
        await fair.publish(
            update(shop_id=str(shop), product_price=0.10, create_time=f"2024-05-01T1{number // 2}:00:00Z")
        )
    window = {"since": "2024-05-01T00:00:00Z", "until": "2024-05-02T00:00:00Z"}
    sold = await got(fair, f"/shops/{shop}/sales", **window)
    assert [(sale["hour"], sale["product_id"], sale["quantity"], sale["amount"]) for sale in sold] == [
        ("2024-05-01T10:00:00Z", 42, 2, 0.2),
        ("2024-05-01T11:00:00Z", 42, 1, 0.1),
    ]
    assert await got(fair, f"/shops/{shop}/sales", **window, product=7) == []
    answer = await fair.client.get(f"/shops/{shop}/sales", params={**window, "until": "2024-09-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["field"]) == (422, "until")


async def test_the_export_is_everything_in_lines(fair: Market) -> None:
    """One line each, in the order of publishing, longer than a page; `after` a line's id goes on behind it."""
    shop, count = some_shop(), 3 * PAGE + 20
    body = b'{"action":"ADD","product_id":%d}'
    for number in range(count):
        await fair.log.js.connection.tell(f"updates.store.{shop}", body % number)
    await fair.sent(1, shop=shop, start=count)
    answer = await fair.client.get(f"/shops/{shop}/updates/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["data"]["product_id"] for line in lines] == list(range(count + 1))
    rest = await fair.client.get(f"/shops/{shop}/updates/export", params={"after": lines[-3]["id"]})
    assert len(rest.text.splitlines()) == 2
    some = await fair.client.get(f"/shops/{shop}/updates/export", params={"since": "2023-01-01T00:00:00Z"})
    assert [json.loads(line)["data"]["product_id"] for line in some.text.splitlines()] == [count]


async def test_the_export_of_a_shop_without_updates_is_empty(fair: Market) -> None:
    """No lines, and 200."""
    answer = await fair.client.get(f"/shops/{some_shop()}/updates/export")
    assert (answer.status_code, answer.text) == (200, "")
