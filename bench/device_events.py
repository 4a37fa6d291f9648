"""Requests of device events that one API process takes, beside the same server's bare Starlette route.

    .venv/bin/python bench/device_events.py [--count 20000]

Each request has its own client's state and contact token, both checked, and is answered once the stream has its
signal; its order is another each time, as SDKs send it, so that no head comes twice. The reference answers the same
requests, at an address of its own, without doing anything, under the same uvicorn settings, in the same run, in turn.
Then five times as many connections press on, while others ask GET /ping, each over a connection of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import uuid
from collections.abc import Callable
from itertools import count as counted
from pathlib import Path
from typing import Any

import httpx
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.publish import Round, running_nats
from bench.rig.http_load import Report, load
from bench.rig.machine import machine
from bench.rig.serving import Running, api_alone, bare_route, free_port, token_for

ROUNDS = 3
COUNT_MAX = 100_000
CONNECTIONS = 128
PRESSING = 5 * CONNECTIONS
CLIENTS = 200
APP = "BENCH-1"
EVENTS = f"/v4/apps/{APP}/client/events"
PINGS_S = 0.02
"""Between two of GET /ping."""
Request = Callable[[int], bytes]
WITHOUT_LIMITS = {f"{whose}_per_minute": 100_000_000 for whose in ("client", "app", "address")}


async def main() -> None:
    count = min(parser_of(__doc__).parse_args().count, COUNT_MAX)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            running_nats(folder, "2m") as server,
            api_alone(folder, server) as api,
            bare_route(free_port()) as bare,
        ):
            heads = await registered(api, await token_for(folder, "bench", "admin"))
            print(f"machine: {machine()}")
            for size in (1, 10):
                await measured(api, bare, heads, size, count)
            await pressed(api, in_turn([with_batch(EVENTS, head, 1) for head in heads]), count)


async def measured(api: Running, bare: Running, heads: list[dict[str, str]], size: int, count: int) -> None:
    requests = in_turn([with_batch(EVENTS, head, size) for head in heads])
    plain = in_turn([with_batch("/bare", head, size) for head in heads])
    ours, reference = [], []
    for _ in range(ROUNDS + 1):  # the first one warms up
        ours.append(await one_round(api, requests, count, {204}))
        reference.append(await one_round(bare, plain, count, {200}))
    for name, rounds in ((f"batches of {size}", ours[1:]), ("bare Starlette route", reference[1:])):
        rate, cpu_us, p50_ms, p99_ms = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name}: {rate:,.0f}/s, {cpu_us:.0f} us CPU each, p50 {p50_ms:.1f} p99 {p99_ms:.1f} ms")
    ratios = [a.per_second / b.per_second for a, b in zip(ours[1:], reference[1:], strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


async def pressed(api: Running, request: Request, count: int) -> None:
    """Five times the connections; what becomes of another route meanwhile."""
    pressing = asyncio.create_task(load(api.port, request, count=count, connections=PRESSING))
    pings_s: list[float] = []
    loop = asyncio.get_running_loop()
    new_ones = httpx.Limits(max_keepalive_connections=0)
    url = f"http://127.0.0.1:{api.port}"
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=new_ones) as client:
        while not pressing.done():
            began_s = loop.time()
            (await client.get("/ping")).raise_for_status()
            pings_s.append(loop.time() - began_s)
            await asyncio.sleep(PINGS_S)
    done = await pressing
    pings = Report(latencies_s=pings_s)
    answers = [f"{status}: {number:,}" for status, number in sorted(done.statuses.items())]
    said = ", ".join([*answers, f"hung up on: {count - len(done.latencies_s):,}"])
    print(
        f"{PRESSING} connections: {done.per_second:,.0f}/s, p99 {done.percentile_ms(0.99):.0f} ms ({said}); "
        f"GET /ping beside it: p50 {pings.percentile_ms(0.5):.0f} p99 {pings.percentile_ms(0.99):.0f} ms"
    )


async def one_round(server: Running, request: Request, count: int, expected: set[int]) -> Round:
    before_s = server.cpu_s()
    done = await load(server.port, request, count=count, connections=CONNECTIONS)
    assert set(done.statuses) == expected, done.statuses
    cpu_us = (server.cpu_s() - before_s) / count * 1e6
    return Round(done.per_second, cpu_us, done.percentile_ms(0.5), done.percentile_ms(0.99))


async def registered(api: Running, token: str) -> list[dict[str, str]]:
    """The headers of devices that have a state and an anonymous contact."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=30) as client:
        app = {"code": APP, "rate_limits": WITHOUT_LIMITS}
        made = await client.post("/api/v2/apps", json=app, headers={"authorization": f"Bearer {token}"})
        assert made.status_code == 201, made.text
        return [await one_device(client) for _ in range(CLIENTS)]


async def one_device(client: httpx.AsyncClient) -> dict[str, str]:
    headers = {"x-client-id": str(uuid.uuid4())}
    properties = {
        "platform": "android",
        "applicationVersion": "1.2.3",
        "deviceModel": "Pixel 8",
        "osVersion": "14",
    }
    got = await client.post(f"/v3/apps/{APP}/client", json=properties, headers=headers)
    assert got.status_code == 204, got.text
    headers["x-client-state"] = got.headers["x-client-state"]
    got = await client.post(f"/v3/apps/{APP}/client/contact?anonymous=true", json={}, headers=headers)
    assert got.status_code == 200, got.text
    headers["x-client-state"] = got.headers["x-client-state"]
    headers["x-contact-token"] = got.json()["contactToken"]
    return headers


def in_turn(requests: list[tuple[bytes, bytes]]) -> Request:
    """These, again and again, each with an order of its own."""
    orders = counted(1_767_000_000_000)

    def request(number: int) -> bytes:
        before, after = requests[number % len(requests)]
        return b"%b%d%b" % (before, next(orders), after)

    return request


def with_batch(path: str, headers: dict[str, str], size: int) -> tuple[bytes, bytes]:
    """A whole request, as Android 3.x sends it: what is before its order, and what is behind it."""
    body = body_of(size)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    before = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"x-emarsys-sdk-version: 3.7.0\r\n{lines}x-request-order: "
    )
    return before.encode(), f"\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def body_of(size: int) -> bytes:
    event: dict[str, Any] = {
        "type": "custom",
        "name": "basket:add",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "attributes": {"product": "12345", "price": "19.90", "currency": "EUR"},
        "sessionId": "0b3c0c2e-7d0f-4c55-a7c4-bd8f6ad6b4f1",
    }
    return json.dumps({"clicks": [], "viewedMessages": [], "events": [event] * size}).encode()


def parser_of(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="requests a round, at most 100,000")
    return parser


if __name__ == "__main__":
    uvloop.run(main())
