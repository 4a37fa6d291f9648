"""Publishes accepted per second by one API process, beside the same server's bare Starlette route.

    make bench-publish        or: .venv/bin/python bench/publish.py [--sync 2m|always] [--connections 128]

Each publish is a POST with a checked JWT whose event the stream has acknowledged. The reference answers the same
request without doing anything, under the same uvicorn settings, in the same run, in turn. With `--sync always` the
reference is a bare JetStream publish, each in a stream of its own, with as many in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import nats
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.rig.http_load import CONNECTIONS_MAX, load, post
from bench.rig.machine import machine
from bench.rig.serving import Running, api_alone, bare_route, free_port, token_for
from infra.nats.server import NatsServer, ServerConfig

ROUNDS = 9
"""Many short ones in turn: the speed of a shared machine swings within seconds."""
COUNT_MAX = 200_000
CONNECTIONS = 128
TEXT = "x" * 220
"""Makes a body of 300 bytes, as in the measurements this is compared with."""
BODY = b'{"tid":"bench","msg":"%b","opts":{"sound":"ping.aiff"}}' % TEXT.encode()


class Load(NamedTuple):
    """requests: of a round. connections: so many of them, or publishes, are in flight at any time."""

    requests: int
    sync: str
    connections: int


class Round(NamedTuple):
    """cpu_us: processor time of the server for each request."""

    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


async def main() -> None:
    asked = parse()
    count, connections = asked.requests, asked.connections
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            running_nats(folder, asked.sync) as server,
            api_alone(folder, server) as api,
            bare_route(free_port()) as bare,
        ):
            token = await token_for(folder, "bench")
            await open_thread(api, token)
            publish, plain = (post(path, BODY, token=token) for path in ("/api/v2/publish", "/bare"))
            ours, reference = [], []
            for _ in range(ROUNDS + 1):  # the first one warms up
                ours.append(await one_round(api, lambda _: publish, count, connections))
                if asked.sync == "always":
                    reference.append(await bare_publishes(server, count, connections))
                else:
                    reference.append(await one_round(bare, lambda _: plain, count, connections))
    report(asked, ours[1:], reference[1:])


async def one_round(
    server: Running, request: Callable[[int], bytes], count: int, connections: int = CONNECTIONS
) -> Round:
    before_s = server.cpu_s()
    done = await load(server.port, request, count=count, connections=connections)
    assert set(done.statuses) == {200}, done.statuses
    cpu_us = (server.cpu_s() - before_s) / count * 1e6
    return Round(done.per_second, cpu_us, done.percentile_ms(0.5), done.percentile_ms(0.99))


def report(load_of: Load, ours: list[Round], reference: list[Round]) -> None:
    what = "bare JetStream publish" if load_of.sync == "always" else "bare Starlette route"
    print(f"machine: {machine()}; sync {load_of.sync}, {load_of.connections} in flight")
    for name, rounds in (("publishes accepted", ours), (what, reference)):
        rate = statistics.median(each.per_second for each in rounds)
        cpu_us = statistics.median(each.cpu_us for each in rounds)
        last = rounds[-1]
        times = f", p50 {last.p50_ms:.1f} p99 {last.p99_ms:.1f} ms" if last.p99_ms else ""
        print(f"{name}: {rate:,.0f}/s, {cpu_us:.0f} us CPU each{times}")
    ratios = [a.per_second / b.per_second for a, b in zip(ours, reference, strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


async def bare_publishes(server: NatsServer, count: int, connections: int) -> Round:
    """What the client library can do without us: as many publishes in flight. Its own processor time, no latencies."""
    connection = await nats.connect(server.url, token=server.token)
    jetstream = connection.jetstream()
    await jetstream.add_stream(name="BARE", subjects=["bare.>"])
    left = iter(range(count))

    async def one() -> None:
        for number in left:
            await jetstream.publish(f"bare.{number}", BODY)

    loop = asyncio.get_running_loop()
    started, cpu_s = loop.time(), time.process_time()
    await asyncio.gather(*(one() for _ in range(connections)))
    elapsed_s, cpu_s = loop.time() - started, time.process_time() - cpu_s
    await jetstream.delete_stream("BARE")
    await connection.close()
    return Round(count / elapsed_s, cpu_s / count * 1e6, 0.0, 0.0)


async def open_thread(api: Running, token: str) -> None:
    request = post("/api/v2/threads", b'{"tid":"bench","openp":true}', token=token)
    made = await load(api.port, lambda _: request, count=1, connections=1)
    assert set(made.statuses) <= {200, 201}, made.statuses


@asynccontextmanager
async def running_nats(folder: Path, sync: str) -> AsyncIterator[NatsServer]:
    server = NatsServer(ServerConfig(folder=folder / "nats", sync=sync))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def parse() -> Load:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5_000, help="requests a round, at most 200,000")
    parser.add_argument(
        "--sync", default="2m", help="nats-server's sync_interval: 2m (its default) or always"
    )
    parser.add_argument(
        "--connections", type=int, default=CONNECTIONS, help="requests in flight, at most 1,000"
    )
    given = parser.parse_args()
    return Load(min(given.count, COUNT_MAX), given.sync, min(given.connections, CONNECTIONS_MAX))


if __name__ == "__main__":
    uvloop.run(main())
