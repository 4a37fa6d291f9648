"""Shop updates: publishes per second of one API process, and how long an update takes from the till to the pages.

    .venv/bin/python bench/shops.py [--count 10000] [--pages 500] [--shops 50] [--rate 200] [--seconds 10]

The first figure stands beside the same server's bare Starlette route with the same body; the JWT is checked and the
stream has acknowledged. The second opens event streams, publishes at a steady rate, and takes the time from before a
POST is written to when a page has read the event; clients, server and log share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.publish import Round, one_round, running_nats
from bench.rig.http_load import load, post
from bench.rig.machine import machine
from bench.rig.serving import Running, api_alone, bare_route, free_port, token_for

ROUNDS = 3
SENT = re.compile(rb'"product_id":(\d+)')
SETTLE_S = 1.0


def body(shop: UUID, product: int) -> bytes:
    return (
        b'{"session_id":"2f1e4fc0-81fd-4a6b-8b5c-3a1e1f2d3c4b","shop_id":"%b","shopper_id":'
        b'"9a8b7c6d-5e4f-4321-8fed-cba987654321","action_id":1,"create_time":"2023-12-18T10:30:00Z","action":"ADD",'
        b'"product_name":"Milk, 1 l","product_id":%d,"product_price":3.50,"UPC":"0012345678905","category_id":7,'
        b'"basket_total":13.00}' % (str(shop).encode(), product)
    )


class Page(asyncio.Protocol):
    """A merchant's page: takes the time of each event that it reads."""

    def __init__(self, shop: UUID, token: str, seen_ms: list[float]) -> None:
        self._request = (
            f"GET /shops/{shop}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
        ).encode()
        self._seen_ms, self._rest = seen_ms, b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        now_ns = time.perf_counter_ns()
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            if found := SENT.search(event):
                self._seen_ms.append((now_ns - int(found[1])) / 1e6)
            elif b"event: open" in event and not self.opened.done():
                self.opened.set_result(None)


async def accepted(api: Running, bare: Running, token: str, count: int) -> None:
    shop = uuid4()
    request = post(f"/publish/{shop}", body(shop, 1), token=token)
    plain = post("/bare", body(shop, 1))
    ours: list[Round] = []
    reference: list[Round] = []
    for _ in range(ROUNDS + 1):  # the first one warms up
        ours.append(await one_round(api, lambda _: request, count))
        reference.append(await one_round(bare, lambda _: plain, count))
    for name, rounds in (("updates accepted", ours[1:]), ("bare Starlette route", reference[1:])):
        rate = statistics.median(each.per_second for each in rounds)
        print(f"{name}: {rate:,.0f}/s, {statistics.median(each.cpu_us for each in rounds):.0f} us CPU each")
    ratios = [a.per_second / b.per_second for a, b in zip(ours[1:], reference[1:], strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


async def show(page: Page, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: page, "127.0.0.1", port)


async def shown(api: Running, token: str, asked: argparse.Namespace) -> None:
    seen_ms = list[float]()
    shops = [uuid4() for _ in range(asked.shops)]
    pages = [Page(shops[number % asked.shops], token, seen_ms) for number in range(asked.pages)]
    for page in pages:
        await show(page, api.port)
    await asyncio.gather(*(page.opened for page in pages))
    count = asked.rate * asked.seconds
    began_s, cpu_s = time.perf_counter(), api.cpu_s()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, began_s + number / asked.rate - time.perf_counter()))
            group.create_task(publish(api, shops[number % asked.shops], token))
    await asyncio.sleep(SETTLE_S)
    expected = count * asked.pages // asked.shops
    assert len(seen_ms) == expected, f"{len(seen_ms)} events of {expected}"
    p50, p99 = statistics.median(seen_ms), statistics.quantiles(seen_ms, n=100)[98]
    share = (api.cpu_s() - cpu_s) / asked.seconds
    print(
        f"{asked.pages} pages of {asked.shops} shops at {asked.rate}/s: p50 {p50:.1f} p99 {p99:.1f} ms "
        f"from till to page, {expected:,} events, none missing; {share:.2f} cores"
    )


async def publish(api: Running, shop: UUID, token: str) -> None:
    request = post(f"/publish/{shop}", body(shop, time.perf_counter_ns()), token=token)
    done = await load(api.port, lambda _: request, count=1, connections=1)
    assert set(done.statuses) == {200}, done.statuses


async def main() -> None:
    asked = parse()
    print(f"machine: {machine()}; sync 2m")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            running_nats(folder, "2m") as server,
            api_alone(folder, server, MSGXC_EZOUT_AUTH="jwt") as api,
            bare_route(free_port()) as bare,
        ):
            token = await token_for(folder, "bench", "every_shop")
            await accepted(api, bare, token, asked.count)
            await shown(api, token, asked)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("count", 10_000), ("pages", 500), ("shops", 50), ("rate", 200), ("seconds", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main())
