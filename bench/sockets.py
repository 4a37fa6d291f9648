"""One thread that many sockets follow: from a publish over REST to the frame, and what it costs.

    make bench-sockets        or: .venv/bin/python bench/sockets.py [--sockets 1000] [--rate 50] [--seconds 10]

`msgxc serve` runs as a newcomer runs it, in one process beside its nats-server: accepting, dispatching and showing
included. The reference is a plain Starlette server that sends to each socket by itself and stores nothing. Load and
servers share the machine; every socket must get every message once.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid1, uuid4

import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.rig.http_load import post
from bench.rig.kept_connections import KeptConnections
from bench.rig.machine import machine
from bench.rig.serving import ROOT, Running, child, environment, free_port, token_for
from bench.rig.socket_load import Listener, Seen, listeners, mark, tally

SOCKETS_MAX, RATE_MAX, SECONDS_MAX = 10_000, 500, 60
CONTACTS = 20
"""Whose sockets they are; each has its share."""
PADDING = b"x" * 150
STRAGGLERS_S_MAX = 15.0
LAST_S = 0.2
"""After the last message, for others that it may have overtaken."""


class Run(NamedTuple):
    """Processor time for each frame: of the server, and of the sockets' other ends, which share its two cores."""

    seen: Seen
    cpu_us: float
    client_us: float


async def main() -> None:
    arguments = parse()
    gc.disable()  # what is measured has the processors; this one keeps all it reads and makes no cycles
    with tempfile.TemporaryDirectory() as folder:
        ours = await of_ours(Path(folder), arguments)
    naive = await of_naive(arguments)
    print(f"machine: {machine()}")
    print(f"{arguments.sockets:,} sockets on one thread, {arguments.rate} messages a second")
    for name, run in (("msgxc serve, from publish to frame", ours), ("naive server", naive)):
        seen = run.seen
        print(
            f"{name}: p50 {seen.percentile_ms(0.5):.0f} p99 {seen.percentile_ms(0.99):.0f} ms, "
            f"{run.cpu_us:.1f} us CPU a frame (clients {run.client_us:.1f}), "
            f"missing {seen.missing}, twice {seen.repeated}, out of order {seen.disordered}"
        )
    ratio = naive.seen.percentile_ms(0.99) / max(ours.seen.percentile_ms(0.99), 0.001)
    print(f"ratio of p99: {ratio:.1f}")
    assert (ours.seen.missing, ours.seen.repeated) == (0, 0), "every socket gets every message once"


async def of_ours(folder: Path, arguments: argparse.Namespace) -> Run:
    port = free_port()
    settings = environment(folder, MSGXC_HTTP_PORT=str(port), MSGXC_RATE_PER_MINUTE="100000000")
    async with child([sys.executable, "-m", "cli", "serve"], settings, port) as pid:
        tokens = await asyncio.gather(*(token_for(folder, f"u{number}") for number in range(CONTACTS)))
        token = tokens[0]
        publisher = KeptConnections(port)
        opened = await publisher.ask(post("/api/v2/threads", b'{"tid":"bench","openp":true}', token=token))
        assert opened in (200, 201), opened

        def hello(number: int) -> bytes:
            jwt = tokens[number % CONTACTS]
            return msgspec.json.encode({"slug": "/api/v2/subscribe/thread", "tid": "bench", "jwt": jwt})

        def request(number: int) -> bytes:
            said = b'{"tid":"bench","msg":"%b %b"}' % (mark(number), PADDING)
            return post("/api/v2/publish", said, token=token)

        def path(_: int) -> str:
            return f"/api/v2/connect/{uuid4()}/{uuid1()}"

        sockets = await listeners(port, arguments.sockets, path, hello)
        return await measure(Running(port, pid), sockets, publisher, request, arguments)


async def of_naive(arguments: argparse.Namespace) -> Run:
    port = free_port()
    command = [sys.executable, str(ROOT / "bench" / "rig" / "naive_sockets.py"), str(port)]
    async with child(command, dict(os.environ), port) as pid:
        sockets = await listeners(
            port, arguments.sockets, lambda number: f"/connect/{number}", lambda _: b"hello"
        )

        def request(number: int) -> bytes:
            return post("/publish", mark(number) + PADDING)

        return await measure(Running(port, pid), sockets, KeptConnections(port), request, arguments)


async def measure(
    server: Running,
    sockets: list[Listener],
    publisher: KeptConnections,
    request: Callable[[int], bytes],
    arguments: argparse.Namespace,
) -> Run:
    """Publish at an even rate, whether or not answers keep up, and wait for the stragglers."""
    count = arguments.rate * arguments.seconds
    loop = asyncio.get_running_loop()
    before_s, own_s, began_s = server.cpu_s(), time.process_time(), loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, began_s + number / arguments.rate - loop.time()))
            group.create_task(publisher.ask(request(number)))
    end_s = loop.time() + STRAGGLERS_S_MAX
    while not all(socket.saw(count - 1) for socket in sockets) and loop.time() < end_s:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await asyncio.sleep(LAST_S)
    frames = max(1, count * len(sockets))
    cpu_us = (server.cpu_s() - before_s) / frames * 1e6
    client_us = (time.process_time() - own_s) / frames * 1e6
    for socket in sockets:
        if socket.transport is not None:
            socket.transport.abort()
    publisher.close()
    return Run(tally(sockets, count), cpu_us, client_us)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sockets", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=50, help="messages a second")
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    arguments.sockets = min(arguments.sockets, SOCKETS_MAX)
    arguments.rate = min(arguments.rate, RATE_MAX)
    arguments.seconds = min(arguments.seconds, SECONDS_MAX)
    return arguments


if __name__ == "__main__":
    uvloop.run(main())
