"""From setting a contact to its number being there for who waits, all in one process as `msgxc serve` runs it.

    make bench-resolution     or: .venv/bin/python bench/resolution.py [--count 500] [--callers 4] [--sync always|2m]

Measured from the command on the bus to the wake-up of a waiter: the command's atomic batch, the resolver's look and the
number, contact.resolved, and the follower. The exchange gives the numbers itself. The reference is two bare JetStream
publishes, one after the other, with as many callers, on the same server in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import nats

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.rig.machine import machine
from cli.bootstrap import Exchange, open_exchange
from cli.serve.projecting import projecting
from cli.serve.resolving import following_resolutions, resolving
from cli.session import Session
from commands.sdk_clients import Device
from commands.sdk_contacts import IdentifyContact
from domain.contact import Identity
from domain.context import Context
from infra.configuration.datafolder import DataFolder
from infra.nats.server import NatsServer, ServerConfig
from infra.nats.wire.connection import Endpoint
from infra.secrets import open_keyring
from infra.settings import load
from infra.supervisor import Stop, Supervisor

COUNT_MAX = 20_000
WARM_UP = 50
WAIT_S_MAX = 30.0
TARGET_MS = 250.0
CONTEXT = Context("main", "bench", "", "bench")


async def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = NatsServer(ServerConfig(folder=folder / "nats", sync=arguments.sync))
        await server.start()
        try:
            ours, writing = await resolutions(folder, server, arguments.count, arguments.callers)
            reference = await bare_pairs(server, arguments.count, arguments.callers)
        finally:
            await server.stop()
    report(arguments, ours, writing, reference)


async def resolutions(
    folder: Path, server: NatsServer, count: int, callers: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of each: until the number is there, and of that the command itself."""
    session = _session(folder / "data")
    endpoint = Endpoint(urls=server.url, token=server.token)
    stop = Stop()
    writing: list[float] = []
    async with open_exchange(session, endpoint, {}, projecting=True) as exchange:
        roles = [projecting(exchange), *resolving(exchange), following_resolutions(exchange)]
        running = asyncio.create_task(Supervisor(roles).run(stop))
        try:
            one = _identifying(exchange, writing)
            await timed(one, WARM_UP, callers, first=count)
            writing.clear()
            took = await timed(one, count, callers)
        finally:
            stop.set()
            await running
    return took, writing


def _identifying(exchange: Exchange, writing: list[float]) -> Callable[[int], Awaitable[None]]:
    loop = asyncio.get_running_loop()

    async def identify(number: int) -> None:
        began_s = loop.time()
        device = Device(app="bench-app", client_id=f"device-{number}")
        command = IdentifyContact(device=device, identity=Identity(3, f"customer-{number}"))
        standing = await exchange.bus.execute(command, CONTEXT)
        writing.append((loop.time() - began_s) * 1000)
        found = await exchange.resolutions.resolved("main", standing.contact, WAIT_S_MAX)
        assert found is not None, "a contact without its number"

    return identify


async def bare_pairs(server: NatsServer, count: int, callers: int) -> list[float]:
    """What the client library takes for two acknowledged publishes, each on a subject of its own."""
    connection = await nats.connect(server.url, token=server.token)
    jetstream = connection.jetstream()
    await jetstream.add_stream(name="BARE", subjects=["bare.>"])

    async def pair(number: int) -> None:
        for step in (1, 2):
            await jetstream.publish(f"bare.{number}.{step}", b"x" * 300)

    took = await timed(pair, count, callers)
    await connection.close()
    return took


async def timed(
    one: Callable[[int], Awaitable[None]], count: int, callers: int, *, first: int = 0
) -> list[float]:
    """Milliseconds of each call; every caller makes the next one when its last has ended."""
    loop, took = asyncio.get_running_loop(), list[float]()
    left = iter(range(first, first + count))

    async def caller() -> None:
        for number in left:
            began_s = loop.time()
            await one(number)
            took.append((loop.time() - began_s) * 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return took


def report(
    arguments: argparse.Namespace, ours: list[float], writing: list[float], reference: list[float]
) -> None:
    print(f"machine: {machine()}")
    print(f"{len(ours):,} contacts, {arguments.callers} callers, sync {arguments.sync}")
    for name, took in (
        ("set contact to number there", ours),
        ("  of that the command", writing),
        ("two bare publishes", reference),
    ):
        print(f"{name}: p50 {percentile(took, 0.5):.1f} p99 {percentile(took, 0.99):.1f} ms")
    ratio = percentile(ours, 0.99) / percentile(reference, 0.99)
    reached = "reached" if percentile(ours, 0.99) < TARGET_MS else "not reached"
    print(f"p99 over the reference's: {ratio:.1f}; target p99 under {TARGET_MS:.0f} ms: {reached}")


def percentile(took: list[float], share: float) -> float:
    return sorted(took)[min(int(len(took) * share), len(took) - 1)]


def _session(folder: Path) -> Session:
    settings = load({"MSGXC_DATA_DIR": str(folder), "MSGXC_LOG_LEVEL": "error"})
    data = DataFolder(settings.data_dir).prepare()
    return Session(settings, data, open_keyring(data, settings.keys, now=datetime.now(UTC)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=500, help="contacts, at most 20,000")
    parser.add_argument("--callers", type=int, default=4, help="devices that set their contact at once")
    parser.add_argument("--sync", default="always", help="nats-server's sync_interval: always (ours) or 2m")
    arguments = parser.parse_args()
    arguments.count = min(arguments.count, COUNT_MAX)
    return arguments


if __name__ == "__main__":
    asyncio.run(main())
