"""Names in addresses: whatever may be in one can be reached, and is found under no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from api.sockets.protocol import OPTIONS
from tests.memory.site import Site, served_by, site, token

NAMES = ["a/b", "/", "日本", "ä ö?#%", "100%", "a%2Fb", "a+b&c=d", "subscribers", "a/subscribers", "..a"]
SERVERS = {"in process": None, "lane": OPTIONS, "plain": {**OPTIONS, "http": "httptools"}}


@asynccontextmanager
async def served(server: str) -> AsyncIterator[tuple[Site, httpx.AsyncClient]]:
    options = SERVERS[server]
    async with site() as it:
        if options is None:
            yield it, it.client
            return
        async with (
            served_by(it, uvicorn.Config(it.app, log_config=None, **{**options, "lifespan": "off"})),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{it.port}") as client,
        ):
            yield it, client


@pytest.mark.parametrize("server", SERVERS)
async def test_whatever_is_made_can_be_reached_at_its_location(server: str) -> None:
    """Threads and contacts of any name: Location is an address in ASCII, and it is read, changed and deleted there."""
    admin = {"Authorization": f"Bearer {token('boss', role='admin')}"}
    async with served(server) as (it, client):
        for name in NAMES:
            made = await client.post("/api/v2/threads", json={"tid": name}, headers=admin)
            assert made.status_code == 201, made.text
            location = made.headers["location"]
            assert location.isascii()
            await it.settled()
            got = await client.get(location, headers=admin)
            assert (got.status_code, got.json()["tid"]) == (200, name)
            listed = await client.get(f"{location}/subscribers", headers=admin)
            assert (listed.status_code, listed.json()["items"]) == (200, [])
            assert (await client.delete(location, headers=admin)).status_code == 200
            person = location.replace("threads", "contacts")
            put = await client.put(person, json={}, headers=admin)
            assert (put.status_code, put.headers["location"]) == (201, person)
            await it.settled()
            assert (await client.get(person, headers=admin)).json()["uid"] == name
            assert (await client.delete(person, headers=admin)).status_code == 200


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", ["%ff", "%C3", "a%E2%82", "%ff%2Fx"])
async def test_a_name_that_is_not_utf8_is_refused(server: str, name: str) -> None:
    """400 with the part that cannot be read; nothing is made of it."""
    admin = {"Authorization": f"Bearer {token('boss', role='admin')}"}
    async with served(server) as (it, client):
        for method, content in (("PUT", b"{}"), ("GET", b"")):
            got = await client.request(method, f"/api/v2/contacts/{name}", content=content, headers=admin)
            problem = got.json()
            assert (got.status_code, problem["code"], problem["field"]) == (400, "bad-path", "path")
        assert it.world.facts("EVENTS") == []


async def test_an_encoded_slash_divides_nothing() -> None:
    """It leads to no other route than the parts between plain slashes do; letters may be encoded as one likes."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "news"}, by="olga")
        await it.settled()
        for path in ("/api/v2%2Fthreads", "/api/v2/threads%2Fnews", "/api/v2/threads/news%2Fsubscribers"):
            got = await it.call("GET", path, by="olga")
            assert (got.status_code, got.json()["code"]) == (404, "not-found"), path
        assert (await it.call("GET", "/api/v2/%74hreads/n%65ws", by="olga")).status_code == 200


@pytest.mark.parametrize("tid", [".", ".."])
async def test_a_tid_that_no_address_can_have_is_refused(tid: str) -> None:
    """Clients take such parts out of paths before they send them."""
    async with site() as it:
        got = await it.call("POST", "/api/v2/threads", {"tid": tid}, by="olga")
        assert (got.status_code, got.json()["field"]) == (422, "tid")
