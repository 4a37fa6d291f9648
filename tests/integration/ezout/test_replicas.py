"""Shops on three servers with replicas: what was answered is seen by everybody, also when a leader dies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from domain.recorded import SHOPS
from infra.log.opened import open_log
from tests.fixtures.nats import MASTER_KEY
from tests.fixtures.nats_cluster import Cluster, running_cluster
from tests.fixtures.tills import update
from tests.integration.ezout.market import EventStream, Market, market, some_shop

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

COUNT = 60
KILLED_AT = 20
ELECTION_S_MAX = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


async def test_a_shop_goes_on_without_gap_or_repeat_when_its_streams_leader_is_killed(
    cluster: Cluster,
) -> None:
    """The till repeats what was not answered, with its key; the stream and the archive have each update once.

    A stream that ends meanwhile, since its stream had no leader for too long, is opened again, as a browser does.
    """
    async with (
        open_log(cluster.config, master_key=MASTER_KEY) as log,
        open_log(cluster.config, master_key=MASTER_KEY) as other,
        market(log) as fair,
        market(other) as elsewhere,
    ):
        shop = some_shop()
        async with elsewhere.events(shop) as stream:
            assert (await stream.next())[0] == "open"
            for number in range(COUNT):
                if number == KILLED_AT:
                    await (await cluster.leader_of(SHOPS)).kill()
                await _sent(fair, shop, number)
            assert await _all_products(elsewhere, shop, stream) == list(range(COUNT))
        assert len(await elsewhere.shops.since(shop, 0, 2 * COUNT)) == COUNT
        answer = await elsewhere.client.get(f"/shops/{shop}/updates", params={"limit": 500})
        assert [item["data"]["product_id"] for item in answer.json()["items"]] == list(range(COUNT))


async def _all_products(fair: Market, shop: UUID, stream: EventStream) -> list[int]:
    found, last_id = list[int](), ""
    async with asyncio.timeout(ELECTION_S_MAX), contextlib.AsyncExitStack() as opened_again:
        while len(found) < COUNT:
            try:
                found += await stream.products(1)
                last_id = stream.last_id
            except EOFError:
                stream = await opened_again.enter_async_context(fair.events(shop, last_id=last_id))
    return found


async def _sent(fair: Market, shop: UUID, number: int) -> None:
    """As a till does it: again until it is answered."""
    body, key = update(shop_id=str(shop), product_id=number), {"Idempotency-Key": f"{number}"}
    async with asyncio.timeout(ELECTION_S_MAX):
        while True:
            with contextlib.suppress(httpx.TimeoutException):
                answer = await fair.client.post(f"/publish/{shop}", json=body, headers=key)
                if answer.status_code == 200:
                    return
                assert answer.status_code == 503, answer.text
