"""Cassandra going away and coming back: errors a caller can act on, and nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from domain.errors import Unavailable
from domain.recorded import EVENTS, Checkpoint
from infra.readstore.cassandra.config import CassandraConfig
from infra.readstore.opening import read_store
from infra.readstore.store import ReadStore
from projections.port import Generation, Put, Table
from tests.fixtures.proxy import Proxy, proxy_to

pytestmark = pytest.mark.cassandra

TABLE = Table(
    projection="outage",
    name="outage_rows",
    partition={"realm": "text"},
    clustering={"number": "bigint"},
    columns={"words": "text"},
)


@pytest_asyncio.fixture
async def proxy(cassandra: CassandraConfig) -> AsyncIterator[Proxy]:
    async with proxy_to(cassandra.hosts[0][1]) as opened:
        yield opened


@pytest_asyncio.fixture
async def store(cassandra: CassandraConfig, proxy: Proxy, tmp_path: Path) -> AsyncIterator[ReadStore]:
    config = msgspec.structs.replace(cassandra, hosts=(("127.0.0.1", proxy.port),))
    async with read_store(tmp_path, config) as opened:
        yield opened


async def generation_of(store: ReadStore) -> Generation:
    number = await store.begin(TABLE.projection, 1)
    generation = await store.generation(TABLE.projection, number, [TABLE])
    await store.switch(TABLE.projection, number)
    return generation


def puts(first: int, number: int) -> list[Put]:
    return [Put(TABLE, ("main", n), {"words": f"word {n}"}, n + 1) for n in range(first, first + number)]


async def test_a_broken_connection_is_mended(store: ReadStore, proxy: Proxy) -> None:
    """While the node can't be reached calls are Unavailable; afterwards they work again, on the same store."""
    generation = await generation_of(store)
    await generation.apply(puts(0, 100), [Checkpoint(EVENTS, 100, "e")])
    proxy.cut(refuse=True)
    with pytest.raises(Unavailable):
        await generation.apply(puts(100, 100), [Checkpoint(EVENTS, 200, "e")])
    with pytest.raises(Unavailable):
        await store.ready()
    with pytest.raises(Unavailable):
        await generation.get(TABLE, ("main", 1))
    proxy.admit()
    async with asyncio.timeout(30):
        while True:
            try:
                await generation.apply(puts(100, 100), [Checkpoint(EVENTS, 200, "e")])
                break
            except Unavailable:
                await asyncio.sleep(0.1)
    assert (await generation.digest(TABLE))[0] == 200
    assert await generation.checkpoint(TABLE.projection, EVENTS) == Checkpoint(EVENTS, 200, "e")


async def test_lost_answers_change_nothing(store: ReadStore, proxy: Proxy) -> None:
    """Writes whose answers never arrived are written again: the rows are the same."""
    undisturbed = await generation_of(store)
    await undisturbed.apply(puts(0, 500), [])
    expected = await undisturbed.digest(TABLE)
    generation = await generation_of(store)
    proxy.hold_answers()
    applying = asyncio.create_task(generation.apply(puts(0, 500), []))
    await asyncio.sleep(0)
    proxy.cut()
    with pytest.raises(Unavailable):
        await applying
    async with asyncio.timeout(30):
        while True:
            try:
                await generation.apply(puts(0, 500)[::-1], [])
                break
            except Unavailable:
                await asyncio.sleep(0.1)
    assert await generation.digest(TABLE) == expected


async def test_nobody_there_is_told_at_once(tmp_path: Path) -> None:
    """Opening a store where no node listens is Unavailable, soon."""
    config = CassandraConfig(hosts=(("127.0.0.1", 1),))
    async with asyncio.timeout(15):
        with pytest.raises(Unavailable):
            await read_store(tmp_path, config).open()
