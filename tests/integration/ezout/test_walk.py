"""No token sees or writes another shop: roles x shops x endpoints x sockets x RES requests, all of them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from api.ezout import table
from api.ezout.parts import Pace
from api.ezout.streams import EVENTS_PATH, SOCKET_PATH
from infra.nats.server import NatsServer
from tests.fixtures.tills import SESSION, SHOP, update
from tests.integration.ezout.market import OTHER, Market, bearing, market_on, merchant
from tests.integration.ezout.res_sides import Gateway, gateway, serving
from tests.memory.site import token

SHOPPER = update()["shopper_id"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fair(nats_server: NatsServer) -> AsyncIterator[Market]:
    """Tokens are asked for; both shops have something to show."""
    async with market_on(nats_server, auth="jwt", pace=Pace(tick_s=0.05)) as made:
        for shop in (SHOP, OTHER):
            answer = await made.publish(update(shop_id=str(shop)), by=merchant(shop))
            assert answer.status_code == 200
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def side(fair: Market, nats_server: NatsServer) -> AsyncIterator[Gateway]:
    async with gateway(nats_server) as made, serving(fair):
        assert (await made.event())[0] == "system.reset"
        yield made


def expired() -> str:
    return merchant(SHOP, exp=time.time() - 1)


TOKENS: dict[str, tuple[Any, int, int]] = {
    # name: (token of SHOP, what reading SHOP answers, what writing SHOP answers)
    "none": (lambda: None, 401, 401),
    "garbage": (lambda: "x.y.z", 401, 401),
    "expired": (expired, 401, 401),
    "foreign key": (lambda: merchant(SHOP, secret=b"another secret of thirty-two bytes"), 401, 401),
    "names no shop": (token, 403, 403),
    "shops are no list": (lambda: token(shops="all"), 401, 401),
    "shops are no uuids": (lambda: token(shops=["*"]), 401, 401),
    "merchant and till": (lambda: merchant(SHOP), 200, 200),
    "merchant": (lambda: merchant(SHOP, role="merchant"), 200, 403),
    "till": (lambda: merchant(SHOP, role="till"), 403, 200),
    "service": (lambda: merchant(SHOP, method="svc"), 200, 200),
    "another realm": (lambda: merchant(SHOP, realm="other"), 403, 403),
    "admin of another realm": (lambda: token(role="admin", realm="other"), 403, 403),
}
READS = [
    "/shops/{shop}/updates",
    "/shops/{shop}/updates/export",
    f"/shops/{{shop}}/sessions/{SESSION}",
    f"/shops/{{shop}}/shoppers/{SHOPPER}",
    "/shops/{shop}/sales?since=2023-01-01T00:00:00Z&until=2023-01-02T00:00:00Z",
]


def test_the_walk_goes_everywhere() -> None:
    """Each route that is described is one of those below."""
    walked = {path.partition("?")[0].replace("{shop}", "{shop_id}") for path in READS}
    walked = {path.replace(str(SESSION), "{session_id}").replace(SHOPPER, "{shopper_id}") for path in walked}
    walked |= {"/publish/{shop_id}", "/send", EVENTS_PATH, SOCKET_PATH}
    assert {route.path for route in (*table.DESCRIBED, *table.SOCKETS)} == walked


async def streamed(fair: Market, shop: UUID, given: str | None) -> int:
    """The status of an event stream, its body left unread."""
    async with fair.client.stream("GET", f"/shops/{shop}/stream", headers=bearing(given)) as answer:
        return answer.status_code


async def connected(fair: Market, shop: UUID, given: str | None, **query: str) -> int:
    """200 for a socket that opens, else what its close code stands for."""
    async with fair.socket(shop, by=given, **query) as page:
        try:
            await page.recv()
        except ConnectionClosed:
            assert page.close_code is not None
            return page.close_code - 4000
    return 200


@pytest.mark.parametrize("name", TOKENS)
async def test_a_token_does_at_its_shop_what_its_role_allows_and_nothing_at_another(
    fair: Market, name: str
) -> None:
    """Every endpoint and every socket, for the shop the token names and for the other one."""
    make, reads, writes = TOKENS[name]
    for shop, read, write in ((SHOP, reads, writes), (OTHER, max(reads, 403) if reads == 200 else reads, 0)):
        denied = write == 0
        expected_write = (403 if writes == 200 else writes) if denied else write
        given, before = make(), await fair.stored()
        for path in READS:
            answer = await fair.client.get(path.format(shop=shop), headers=bearing(given))
            assert answer.status_code == read, (path, answer.text)
        assert await streamed(fair, shop, given) == read
        assert await connected(fair, shop, given) == read
        published = await fair.publish(update(shop_id=str(shop)), by=given)
        sent = await fair.client.post("/send", json={"shop_id": str(shop), "data": 1}, headers=bearing(given))
        assert (published.status_code, sent.status_code) == (expected_write, expected_write)
        assert await fair.stored() == before + (2 if expected_write == 200 else 0)


@pytest.mark.parametrize("name", TOKENS)
async def test_a_token_does_by_res_what_it_does_by_the_api(fair: Market, side: Gateway, name: str) -> None:
    """Login, access and calls, at the shop the token names and at the other one."""
    make, reads, writes = TOKENS[name]
    given = make()
    login = await side.ask("auth.updates.login", cid="walk", params={"token": given or ""})
    assert ("result" in login) == (reads != 401)
    for shop in (SHOP, OTHER):
        request: dict[str, Any] = {"cid": "walk"} | ({"token": {"jwt": given}} if given else {})
        allowed: dict[str, Any] = {"get": True} if reads == 200 and shop == SHOP else {}
        may_write = writes == 200 and shop == SHOP
        allowed |= {"call": "publish,send"} if may_write else {}
        access = await side.ask(f"access.updates.store.{shop}", **request)
        assert access.get("result", {}) == allowed
        before = await fair.stored()
        for method, params in (
            ("publish", update(shop_id=str(shop))),
            ("send", {"shop_id": str(shop), "data": 1}),
        ):
            answer = await side.ask(f"call.updates.store.{shop}.{method}", **request, params=params)
            assert ("result" in answer) == may_write, answer
        assert await fair.stored() == before + (2 if may_write else 0)


async def test_admins_and_tokens_of_two_shops_reach_both(fair: Market) -> None:
    """A token reaches all the shops it names; an admin's all there are."""
    for given in (merchant(SHOP, OTHER), token(role="admin"), token(role="msgxc_admin")):
        for shop in (SHOP, OTHER):
            assert await streamed(fair, shop, given) == 200
            assert (await fair.publish(update(shop_id=str(shop)), by=given)).status_code == 200


async def test_a_body_cannot_smuggle_an_update_into_another_shop(fair: Market) -> None:
    """Own shop in the address, another in the body: 422; another in the address: 403; nothing is stored."""
    before = await fair.stored()
    given = merchant(SHOP)
    assert (await fair.publish(update(shop_id=str(OTHER)), shop=SHOP, by=given)).status_code == 422
    assert (await fair.publish(update(shop_id=str(SHOP)), shop=OTHER, by=given)).status_code == 403
    assert await fair.stored() == before


async def test_a_browser_puts_its_token_into_the_query_of_streams_alone(fair: Market) -> None:
    """EventSource and WebSocket cannot set a header; everything else must."""
    query = {"access_token": merchant(SHOP)}
    async with fair.client.stream("GET", f"/shops/{SHOP}/stream", params=query) as answer:
        assert answer.status_code == 200
    assert await connected(fair, SHOP, None, **query) == 200
    assert await connected(fair, OTHER, None, **query) == 403
    assert (await fair.client.get(f"/shops/{SHOP}/updates", params=query)).status_code == 401
    assert (await fair.client.post(f"/publish/{SHOP}", params=query, json=update())).status_code == 401


async def test_a_stream_ends_with_its_token(fair: Market) -> None:
    """When the token expires, the open socket is closed with 4401, and the event stream says so."""
    brief = merchant(SHOP, exp=int(time.time()) + 2)
    async with fair.socket(SHOP, by=brief) as page, fair.events(SHOP, by=brief) as events:
        assert json.loads(await page.recv())["type"] == "open"
        with pytest.raises(ConnectionClosed):
            await page.recv()
        assert page.close_code == 4401
        assert (await events.next())[0] == "open"
        kind, said = await events.next()
        assert (kind, said["code"]) == ("close", 4401)


async def test_a_stream_ends_when_its_key_is_withdrawn(fair: Market) -> None:
    """Rotating the key away closes what was opened with it."""
    from api.access.keys import KeySet

    async with fair.socket(SHOP, by=merchant(SHOP)) as page:
        await page.recv()
        kept, fair.keys.keys = fair.keys.keys, KeySet()
        try:
            with pytest.raises(ConnectionClosed):
                await page.recv()
            assert page.close_code == 4401
        finally:
            fair.keys.keys = kept
