"""Appends, reads and shared work on the log, beside what nats-py does by itself on the same server.

    .venv/bin/python bench/log.py [--sync 2m|always] [--events 20000]

Client and server share the machine; the ratio to the bare client is what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import nats
import uvloop
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.rig.machine import machine
from domain.context import Context
from domain.deliveries.delivery import Attempt
from domain.recorded import DELIVERY, EVENTS
from domain.thread import Settings, Thread
from infra.log.log import JetStreamLog
from infra.log.opened import LogConfig, open_log
from infra.log.ordered import OrderedReader
from infra.nats.server import ServerConfig, running_server
from infra.nats.wire.connection import Endpoint
from processes.port import Append

WRITERS = 128
CONTEXT = Context(realm="main", actor="bench", correlation=uuid.uuid4().hex)
HEADERS = {
    "Topic": "thread.opened.v1",
    "Version": "1",
    "Realm": "main",
    "Nats-Expected-Last-Subject-Sequence": "0",
}
BODY = b"x" * 200


def now() -> datetime:
    return datetime.now(UTC)


def a_thread() -> Thread:
    return Thread.open(id=uuid.uuid4(), at=now(), tid="bench", settings=Settings(name="bench", owner="bench"))


async def rate(work: Callable[[], Awaitable[object]], times: int, writers: int = WRITERS) -> float:
    """Calls a second, so many at a time."""

    async def several(count: int) -> None:
        for _ in range(count):
            await work()

    each = max(1, times // writers)
    began = time.perf_counter()
    await asyncio.gather(*(several(each) for _ in range(writers)))
    return each * writers / (time.perf_counter() - began)


def show(name: str, value: float, reference: float | None = None) -> None:
    ratio = "" if reference is None else f"{value / reference:8.0%}"
    print(f"  {name:44}{value:10,.0f} /s{ratio}")


async def appends(log: JetStreamLog, client: Client, times: int) -> None:
    js = client.jetstream()

    async def bare() -> None:
        await js.publish(f"evt.bench.00.{uuid.uuid4().hex}", BODY, headers=HEADERS)

    async def one_event() -> None:
        await log.events.save(a_thread(), context=CONTEXT)

    async def two_events() -> None:
        thread = a_thread()
        thread.close(at=now())
        await log.events.save(thread, context=CONTEXT)

    async def record() -> None:
        dispatch = uuid.uuid4().hex
        attempt = Attempt("main", uuid.uuid4(), "apns", dispatch, 0, 500, "bench", now())
        await log.append(Append(f"attempt.apns.{dispatch}", attempt, 0))

    reference = await rate(bare, times)
    show("nats-py publish, acknowledged", reference)
    show("save of one event", await rate(one_event, times), reference)
    show(
        "save of one event, one caller",
        await rate(one_event, times // 20, 1),
        await rate(bare, times // 20, 1),
    )
    show("save of two events (events a second)", 2 * await rate(two_events, times // 2), reference)
    show("append of a delivery record", await rate(record, times), reference)


async def reads(log: JetStreamLog, client: Client) -> None:
    end = await log.end(EVENTS)
    js = client.jetstream()
    began = time.perf_counter()
    subscription = await js.subscribe("evt.>", stream=EVENTS, ordered_consumer=True)
    for _ in range(end):
        await subscription.next_msg(timeout=30)
    reference = end / (time.perf_counter() - began)
    show("nats-py ordered consumer", reference)

    async def unchecked() -> None:
        """The bench's own log does not change under it."""

    reader = OrderedReader(log.js, EVENTS, subjects=(), position=0, batch=500, check=unchecked)
    began = time.perf_counter()
    async for batch in reader.batches():
        if batch[-1].sequence >= end:
            break
    show("our reader, raw messages", end / (time.perf_counter() - began), reference)
    began = time.perf_counter()
    async for facts in log.follow(EVENTS, None):
        if facts[-1].position >= end:
            break
    show("follow: decoded, digests computed", end / (time.perf_counter() - began), reference)


async def work(log: JetStreamLog, client: Client) -> None:
    end = await log.end(DELIVERY)
    js = client.jetstream()
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=20_000)
    subscription = await js.pull_subscribe("attempt.>", durable="bare", stream=DELIVERY, config=config)
    began, done = time.perf_counter(), 0
    while done < end:
        for message in await subscription.fetch(16, timeout=5):
            await message.ack()
            done += 1
    reference = end / (time.perf_counter() - began)
    show("nats-py fetch(16) and ack", reference)
    began, done = time.perf_counter(), 0
    async for task in log.work(DELIVERY, "ours", subjects=["attempt.>"], in_flight=16):
        await task.ack()
        done += 1
        if done == end:
            break
    show("work, 16 in flight", end / (time.perf_counter() - began), reference)


async def main(sync: str, times: int) -> None:
    print(f"machine: {machine()}; sync {sync}, {times} events")
    with tempfile.TemporaryDirectory() as folder:
        async with running_server(ServerConfig(folder=Path(folder) / "nats", sync=sync)) as server:
            endpoint = Endpoint(urls=server.url, token=server.token, name="bench")
            config = LogConfig(endpoint=endpoint, flushes_each_write=sync == "always")
            async with open_log(config, master_key=bytes(32)) as log:
                client = await nats.connect(server.url, token=server.token)
                gc.freeze()
                gc.set_threshold(50_000)
                await appends(log, client, times)
                await reads(log, client)
                await work(log, client)
                await client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sync", default="2m")
    parser.add_argument("--events", type=int, default=20_000)
    given = parser.parse_args()
    uvloop.run(main(given.sync, given.events))
