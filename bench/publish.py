"""Publishes accepted per second by one API process, beside the same server's bare Starlette route.

    make bench-publish        or: .venv/bin/python bench/publish.py [--count 20000] [--sync 2m|always]

Each publish is a POST with a checked JWT whose event the stream has acknowledged. The reference answers the same body
without doing anything, under the same uvicorn settings, in the same run, in turn. With `--sync always` the reference is a bare
JetStream publish by the same client library, with as many in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.http_load import Report, load, post
from bench.serving import api_alone, bare_route, free_port, token_for
from infra.nats.server import NatsServer, ServerConfig

ROUNDS = 3
TEXT = "x" * 220
"""Makes a body of 300 bytes, as in the measurements this is compared with."""


def body() -> bytes:
    return b'{"tid":"bench","msg":"%b","opts":{"sound":"ping.aiff"}}' % TEXT.encode()


async def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        async with running_nats(Path(folder), arguments.sync) as server:
            async with api_alone(Path(folder), server) as api, bare_route(free_port()) as bare:
                token = await token_for(Path(folder), "bench")
                await open_thread(api, token)
                ours, reference = [], []
                for number in range(ROUNDS + 1):
                    a = await load(
                        api, lambda _: post("/api/v2/publish", body(), token=token), count=arguments.count
                    )
                    assert set(a.statuses) == {200}, a.statuses
                    if arguments.sync == "always":
                        b = await bare_publishes(server, arguments.count)
                    else:
                        b = (
                            await load(bare, lambda _: post("/bare", body()), count=arguments.count)
                        ).per_second
                    if number:
                        ours.append(a)
                        reference.append(b)
    report(arguments.sync, ours, reference)


def report(sync: str, ours: list[Report], reference: list[float]) -> None:
    rate = statistics.median(each.per_second for each in ours)
    what = "bare JetStream publish" if sync == "always" else "bare Starlette route"
    print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; sync {sync}"
    )
    print(
        f"publishes accepted: {rate:,.0f}/s (median of {ROUNDS}; p50 {ours[-1].percentile_ms(0.5):.1f} ms, "
        f"p99 {ours[-1].percentile_ms(0.99):.1f} ms)"
    )
    print(f"{what}: {statistics.median(reference):,.0f}/s")
    print(f"ratio: {rate / statistics.median(reference):.2f}")


async def bare_publishes(server: NatsServer, count: int) -> float:
    """What one connection can do without us: as many publishes in flight as the load client has connections."""
    connection = await nats.connect(server.url, token=server.token)
    jetstream = connection.jetstream()
    await jetstream.add_stream(name="BARE", subjects=["bare.>"])
    left = iter(range(count))

    async def one() -> None:
        for number in left:
            await jetstream.publish(f"bare.{number}", body())

    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(*(one() for _ in range(64)))
    elapsed = loop.time() - started
    await jetstream.delete_stream("BARE")
    await connection.close()
    return count / elapsed


async def open_thread(port: int, token: str) -> None:
    made = await load(
        port,
        lambda _: post("/api/v2/threads", b'{"tid":"bench","openp":true}', token=token),
        count=1,
        connections=1,
    )
    assert set(made.statuses) <= {200, 201}, made.statuses


@asynccontextmanager
async def running_nats(folder: Path, sync: str) -> AsyncIterator[NatsServer]:
    server = NatsServer(ServerConfig(folder=folder / "nats", sync=sync))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="requests a round, at most 200,000")
    parser.add_argument(
        "--sync", default="2m", help="nats-server's sync_interval: 2m (its default) or always"
    )
    arguments = parser.parse_args()
    arguments.count = min(arguments.count, 200_000)
    return arguments


if __name__ == "__main__":
    asyncio.run(main())
