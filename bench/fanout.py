"""One publish to 20,000 iPhones and 20,000 Android phones: how fast, and at what cost in processor time.

    make bench-fanout         or: .venv/bin/python bench/fanout.py [--count 20000] [--fakes BINARY]

nats-server, projector, dispatcher and one gateway process for each of the two channels run as in production, each in
a process of its own. The providers are the project's sandbox, or a faster peer given as a program (`BINARY
gencert|serve`). Every address must have been sent to once, and every outcome must be on the log as accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.push_transport import Peer, fakes, sandbox
from bench.serving import ROOT, Running, environment
from cli.bootstrap import Exchange, open_exchange
from cli.session import open_session
from commands.clients import Enlist
from commands.messaging import Draft, Publish
from commands.threads import OpenThread, Subscribe
from domain.context import Context
from domain.delivery import Attempt, OutcomeSlice
from domain.recorded import DELIVERY, EVENTS
from domain.thread import Settings
from infra.nats.connection import Endpoint
from infra.nats.server import NatsServer, ServerConfig

COUNT_MAX = 200_000
AT_ONCE = 200
WAIT_S_MAX = 300.0
CHANNELS = ("apns", "fcm")
CONTEXT = Context(actor="bench")


class Sent(NamedTuple):
    """By the log: first attempt to last outcome."""

    channel: str
    outcomes: Counter[str]
    seconds: float


async def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        provider = fakes(arguments.fakes, folder) if arguments.fakes else sandbox(folder / "sandbox")
        server = NatsServer(ServerConfig(folder=folder / "nats", sync="2m"))
        await server.start()
        try:
            with provider as peer:
                await run(folder, server, peer, arguments.count)
        finally:
            await server.stop()


async def run(folder: Path, server: NatsServer, peer: Peer, count: int) -> None:
    settings = settings_of(folder, server, peer)
    os.environ.update(settings)
    endpoint = Endpoint(urls=server.url, token=server.token, name="bench")
    async with AsyncExitStack() as opened:
        exchange = await opened.enter_async_context(
            open_exchange(open_session(), endpoint, {}, projecting=False)
        )
        roles = {
            name: await opened.enter_async_context(role(name, settings))
            for name in ("project", "dispatch", *(f"gateway {channel}" for channel in CHANNELS))
        }
        await enlist(exchange, count)
        before = {name: each.cpu_s() for name, each in roles.items()}
        started = datetime.now().astimezone()
        await publish(exchange)
        sent = [await outcomes_of(exchange, channel, count) for channel in CHANNELS]
        seconds = (datetime.now().astimezone() - started).total_seconds()
        used = {name: each.cpu_s() - before[name] for name, each in roles.items()}
        report(sent, used, count, seconds)


def settings_of(folder: Path, server: NatsServer, peer: Peer) -> dict[str, str]:
    """The roles' settings: this server, this peer."""
    key, account = folder / "apns.p8.pem", folder / "fcm.json"
    key.write_text(peer.apns["key_pem"])
    account.write_bytes(msgspec.json.encode(peer.service_account))
    key.chmod(0o600)
    account.chmod(0o600)
    return environment(
        folder,
        MSGXC_NATS_URL=f"nats://{server.token}@{server.url.partition('//')[2]}",
        MSGXC_APNS_KEY_FILE=str(key),
        MSGXC_APNS_KEY_ID=peer.apns["key_id"],
        MSGXC_APNS_TEAM_ID=peer.apns["team_id"],
        MSGXC_APNS_TOPIC=peer.apns["topic"],
        MSGXC_APNS_URL=peer.apns_url,
        MSGXC_FCM_CREDENTIALS_FILE=str(account),
        MSGXC_FCM_URL=peer.fcm_url,
        MSGXC_CA_FILE=peer.ca_file,
    )


@asynccontextmanager
async def role(name: str, settings: Mapping[str, str]) -> AsyncIterator[Running]:
    """One role in a process of its own, as an operator starts it."""
    command = [sys.executable, "-m", "cli", *name.split()]
    process = await asyncio.create_subprocess_exec(*command, env=dict(settings), cwd=ROOT)
    try:
        yield Running(0, process.pid)
    finally:
        process.terminate()
        await process.wait()


async def enlist(exchange: Exchange, count: int) -> None:
    """Contacts with an iPhone and an Android phone each, all subscribed to one thread."""
    bus = exchange.bus
    await bus.execute(OpenThread(tid="bench", settings=Settings(name="Bench", open_publish=True)), CONTEXT)
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            uid = f"u{number}"
            apns, fcm = f"{number:064x}", f"fcm{number:09d}:APA91b" + "x" * 134
            await bus.execute(Enlist(uid=uid, channel="apns", identity=apns, address=apns), CONTEXT)
            await bus.execute(Enlist(uid=uid, channel="fcm", identity=fcm, address=fcm), CONTEXT)
            await bus.execute(Subscribe(tid="bench", uid=uid), CONTEXT)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())
    end = await exchange.log.end(EVENTS)
    await exchange.watermark.passed(("reach", "threads", "contacts"), EVENTS, end, timeout_s=WAIT_S_MAX)
    print(f"  {count:,} contacts with two devices each, {end:,} events", file=sys.stderr)


async def publish(exchange: Exchange) -> None:
    draft = Draft(text="20% off today only", channels=CHANNELS, ttl_s=3600)
    await exchange.bus.execute(Publish(tid="bench", draft=draft), CONTEXT)


async def outcomes_of(exchange: Exchange, channel: str, count: int) -> Sent:
    """Follow the log until every address of the channel has its outcome."""
    subjects = (f"attempt.{channel}.>", f"outcome.{channel}.>")
    found: Counter[str] = Counter()
    first: datetime | None = None
    last = datetime.min.replace(tzinfo=UTC)
    async with asyncio.timeout(WAIT_S_MAX):
        async for facts in exchange.log.follow(DELIVERY, None, subjects=subjects):
            for fact in facts:
                body = getattr(fact, "body", None)
                if isinstance(body, Attempt):
                    first = min(first or body.started_at, body.started_at)
                elif isinstance(body, OutcomeSlice):
                    found.update(type(result.outcome).__name__ for result in body.results)
                    last = body.ended_at
            if sum(found.values()) >= count:
                break
    assert first is not None
    return Sent(channel, found, (last - first).total_seconds())


def report(sent: list[Sent], used: Mapping[str, float], count: int, seconds: float) -> None:
    python = platform.python_version()
    print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, Python {python}; {count:,} addresses a channel"
    )
    for channel, outcomes, took in sent:
        cpu_us = used[f"gateway {channel}"] / count * 1e6
        print(
            f"{channel}: {count / took:,.0f}/s, {cpu_us:.0f} us CPU each in the gateway process, {dict(outcomes)}"
        )
    for name in ("dispatch", "project"):
        print(f"{name}: {used[name] / count / 2 * 1e6:.0f} us CPU for each notification")
    print(f"from the publish to the last outcome on the log: {seconds:.1f} s for {2 * count:,} notifications")
    assert all(outcomes == {"Accepted": count} for _, outcomes, _ in sent), "not all accepted exactly once"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="contacts, at most 200,000")
    parser.add_argument("--fakes", default="", help="a program to start as the providers")
    arguments = parser.parse_args()
    arguments.count = min(arguments.count, COUNT_MAX)
    return arguments


if __name__ == "__main__":
    uvloop.run(main())
