"""The export of a shop's archive: whole or without an end, and read only as long as somebody reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from operator import itemgetter
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from starlette.types import Message

from api.ezout.hub import PAGE
from infra.log.opened import open_log
from infra.nats.server import NatsServer, ServerConfig
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.fixtures.tills import SHOP, update
from tests.integration.ezout.market import Market, bearing, market, market_on, merchant, some_shop
from tests.memory.site import PATIENCE_S, eventually

PAGES = 12


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fair(nats_server: NatsServer) -> AsyncIterator[Market]:
    """One market for all tests of this module; each has a shop of its own."""
    async with market_on(nats_server) as made:
        yield made


async def filled(fair: Market) -> UUID:
    """A shop whose archive has PAGES pages, more than any socket's buffers take."""
    shop, lines = some_shop(), b"Time: 2027-01-01T12:00:00.000000Z\r\n"
    text = "x" * 5_000
    for number in range(PAGES * PAGE):
        body = json.dumps({"shop_id": str(shop), "data": [number, text]}).encode()
        await fair.log.js.connection.tell(f"updates.store.{shop}", body, lines=lines)
    await fair.sent(1, shop=shop)
    return shop


async def test_nobody_reads_on_for_a_reader_who_has_gone(fair: Market) -> None:
    """An export whose reader hangs up ends there, and does not go through the rest of the archive."""
    path = f"/shops/{await filled(fair)}/updates/export"
    sent, gone = asyncio.Queue[Message](), asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.put_nowait(message)
        if message["type"] == "http.response.body":
            await gone.wait()  # then, as from a server, nothing says that nobody takes it

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
    scope |= {"query_string": b"", "headers": [(b"host", b"localhost")]}
    async with asyncio.timeout(PATIENCE_S):
        exporting = asyncio.create_task(fair.app(scope, receive, send))
        start, page = await sent.get(), await sent.get()
        assert (start["status"], page["more_body"], sent.qsize()) == (200, True, 0)
        gone.set()
        await exporting
    assert sent.qsize() <= 1


async def test_an_export_that_cannot_go_on_has_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log goes away in the middle: the reader is cut off, and cannot take what it has for the whole."""
    server = NatsServer(ServerConfig(folder=tmp_path / "nats", sync="2m"))
    await server.start()
    try:
        async with open_log(log_config(server), master_key=MASTER_KEY) as log, market(log) as fair:
            shop = await filled(fair)
            fair.client.timeout = 20.0
            async with fair.client.stream("GET", f"/shops/{shop}/updates/export") as answer:
                assert answer.status_code == 200
                await server.kill()
                with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                    await answer.aread()
            assert "Exception in ASGI application" not in caplog.text
    finally:
        await server.stop()


@pytest.mark.parametrize("path", ["updates/export", "stream"])
async def test_what_is_served_raw_says_which_methods_there_are(fair: Market, path: str) -> None:
    """OPTIONS is answered as everywhere; all others but GET are refused."""
    address = f"/shops/{some_shop()}/{path}"
    answer = await fair.client.options(address)
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, OPTIONS")
    for method in ("HEAD", "POST", "PUT", "DELETE"):
        answer = await fair.client.request(method, address)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, OPTIONS")


async def test_an_export_is_narrowed_by_time_as_the_archive_is(fair: Market) -> None:
    """Updates by the till's time, messages by when they were published; the same as in the pages of the archive."""
    shop = some_shop()
    await fair.sent(2, shop=shop)
    await fair.sent(1, shop=shop, start=2, create_time="2023-12-19T00:00:00Z")
    await fair.client.post("/send", json={"shop_id": str(shop), "data": 1})
    await fair.log.js.connection.tell(f"updates.store.{shop}", b"hello")
    day = {"since": "2023-12-18T00:00:00Z", "until": "2023-12-19T00:00:00Z"}
    for window, count in ((day, 2), ({"since": day["until"]}, 2), ({"until": "9000-01-01T00:00:00Z"}, 4)):
        page = (await fair.client.get(f"/shops/{shop}/updates", params=window)).json()["items"]
        lines = (await fair.client.get(f"/shops/{shop}/updates/export", params=window)).text.splitlines()
        exported = [json.loads(line) for line in lines]
        assert len(exported) == count
        assert sorted(page, key=itemgetter("id")) == sorted(exported, key=itemgetter("id"))


@pytest.mark.parametrize("path", ["updates", "updates/export", "sales"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": "1702895400"}, "since"),
        ({"since": "1702895400000"}, "since"),
        ({"since": "2023-12-18"}, "since"),
        ({"since": "0001-01-01T00:00:00+01:00"}, "since"),
        ({"until": "9999-12-31T23:59:59-01:00"}, "until"),
        ({"until": "2023-12-17T00:00:00Z"}, "until"),
        ({"until": "2023-12-18T01:00:00+01:00"}, "until"),
    ],
)
async def test_a_time_that_cannot_be_meant_is_422_by_name(
    fair: Market, path: str, query: dict[str, str], field: str
) -> None:
    """Bare numbers, times without a zone, at the ends of the calendar, or an end that is not behind its beginning."""
    window = {"since": "2023-12-18T00:00:00Z", "until": "2023-12-19T00:00:00Z", **query}
    answer = await fair.client.get(f"/shops/{some_shop()}/{path}", params=window)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


async def test_streams_and_exports_count_among_a_tokens_calls(nats_server: NatsServer) -> None:
    """A token that calls too often is refused there as everywhere; a socket is told to come back later."""
    log_opened = open_log(log_config(nats_server), master_key=MASTER_KEY)
    async with log_opened as log, market(log, auth="jwt", rate_quota=1) as fair:
        by = merchant(SHOP)
        assert (await fair.publish(update(), by=by)).status_code == 200
        for path in ("updates/export", "stream"):
            answer = await fair.client.get(f"/shops/{SHOP}/{path}", headers=bearing(by))
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) > 0
        async with fair.socket(by=by) as page:
            await eventually(lambda: page.close_code == 1013)
