"""One publish to 20,000 iPhones and 20,000 Android phones: how fast, and at what cost in processor time.

    make bench-fanout         or: .venv/bin/python bench/fanout.py [--count 20000] [--prepared FOLDER]
                                                                   [--sandbox | --fakes BINARY]

nats-server, projector, dispatcher and one gateway process for each of the two channels run as in production, each in
a process of its own. The providers are a light stand-in that speaks real TLS and HTTP/2 (bench/rig/providers.py), the
project's sandbox, or a program (`BINARY gencert|serve`). Every outcome must be on the log as accepted, and by the
providers' own books (the sandbox's are not asked) every address must have been sent to exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.rig.machine import machine
from bench.rig.peers import APNS_FORM, FCM_FORM, Peer, books_of, chosen_peer, offer_peers, reset_books
from bench.rig.serving import ROOT, Running, environment
from cli.bootstrap import Exchange, open_exchange
from cli.session import open_session
from commands.clients import Enlist
from commands.messaging import Accepted, Draft, Publish, Send
from commands.threads import OpenThread, Subscribe
from domain.context import Context
from domain.deliveries.delivery import Attempt, OutcomeSlice
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS, Recorded
from domain.thread import Settings
from infra.nats.server import NatsServer, ServerConfig
from infra.nats.wire.connection import Endpoint

COUNT_MAX = 200_000
AT_ONCE = 200
WAIT_S_MAX = 300.0
SAMPLE_S = 0.05
FORMS = {"apns": APNS_FORM, "fcm": FCM_FORM}
CHANNELS = tuple(FORMS)
CONTEXT = Context(actor="bench")
DRAFT = Draft(text="20% off today only", channels=CHANNELS, ttl_s=3600)


class Sent(NamedTuple):
    """By the log: first attempt to last outcome."""

    channel: str
    outcomes: Counter[str]
    first: datetime
    last: datetime

    @property
    def seconds(self) -> float:
        return (self.last - self.first).total_seconds()


class Sampled:
    """What processor time each process had used at which moment, looked at often enough to tell of any moment."""

    def __init__(self, processes: Mapping[str, Running]) -> None:
        self.processes = processes
        self._samples: list[tuple[datetime, dict[str, float]]] = []

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(SAMPLE_S)

    def look(self) -> None:
        used = {name: process.cpu_s() for name, process in self.processes.items()}
        self._samples.append((datetime.now(UTC), used))

    def between(self, first: datetime, last: datetime) -> dict[str, float]:
        before = next(used for at, used in reversed(self._samples) if at <= first)
        after = next((used for at, used in self._samples if at >= last), self._samples[-1][1])
        return {name: after[name] - before[name] for name in self.processes}


async def main() -> None:
    arguments = parse()
    prepared = Path(arguments.prepared) if arguments.prepared else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        if prepared is not None and prepared.exists():
            shutil.copytree(prepared, folder)
        else:
            folder.mkdir()
            await run(folder, arguments, lambda exchange, *_: enlist(exchange, arguments.count))
            if prepared is not None:
                shutil.copytree(folder, prepared)
        os.sync()  # what all this has left for the disk to write must not slow down what is measured
        await run(folder, arguments, partial(send, count=arguments.count))


Part = Callable[[Exchange, Peer, Mapping[str, Running]], Awaitable[None]]


async def run(folder: Path, arguments: argparse.Namespace, part: Part) -> None:
    """Do a part with all processes running; they are told to end after it."""
    server = NatsServer(ServerConfig(folder=folder / "nats", sync="2m"))
    await server.start()
    try:
        with chosen_peer(arguments, folder / "peer") as peer:
            settings = settings_of(folder, server, peer)
            os.environ.update(settings)
            endpoint = Endpoint(urls=server.url, token=server.token, name="bench")
            async with AsyncExitStack() as opened:
                exchange = await opened.enter_async_context(
                    open_exchange(open_session(), endpoint, {}, projecting=False)
                )
                watched = {
                    name: await opened.enter_async_context(role(name, settings))
                    for name in ("project", "dispatch", *(f"gateway {channel}" for channel in CHANNELS))
                }
                watched["nats-server"], watched["peer"] = Running(0, server.pid), Running(0, peer.pid)
                await part(exchange, peer, watched | {"this": Running(0, os.getpid())})
    finally:
        await server.stop()


async def send(exchange: Exchange, peer: Peer, watched: Mapping[str, Running], *, count: int) -> None:
    """Publish, and tell what became of it."""
    await settled(exchange, await exchange.bus.execute(Send(uid="u0", draft=DRAFT), CONTEXT))  # all are up
    if peer.books:
        reset_books(peer)
    sampled = Sampled(watched)
    sampled.look()
    sampling = asyncio.create_task(sampled.run())
    accepted_at = datetime.now(UTC)
    accepted = await exchange.bus.execute(Publish(tid="bench", draft=DRAFT), CONTEXT)
    settled_at = await settled(exchange, accepted)
    sampling.cancel()
    sampled.look()
    sent = [await outcomes_of(exchange, channel, accepted) for channel in CHANNELS]
    report(sent, sampled, accepted_at, settled_at, count)
    check(sent, peer, count)


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
            for channel, form in FORMS.items():
                address = form.format(number)
                await bus.execute(
                    Enlist(uid=uid, channel=channel, identity=address, address=address), CONTEXT
                )
            await bus.execute(Subscribe(tid="bench", uid=uid), CONTEXT)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())
    end = await exchange.log.end(EVENTS)
    await exchange.watermark.passed(("reach", "threads", "contacts"), EVENTS, end, timeout_s=WAIT_S_MAX)
    print(f"  {count:,} contacts with two devices each, {end:,} events", file=sys.stderr)


async def settled(exchange: Exchange, accepted: Accepted) -> datetime:
    """Return once the message is settled, so that looking at its outcomes costs those nothing who send it."""
    async with asyncio.timeout(WAIT_S_MAX):
        async for facts in exchange.log.follow(EVENTS, None, subjects=("evt.message.>",)):
            for fact in facts:
                body = fact.body if isinstance(fact, Recorded) else None
                if isinstance(body, Message.Settled) and body.originator_id == accepted.message:
                    return body.timestamp
    raise AssertionError("the log is followed for ever")


async def outcomes_of(exchange: Exchange, channel: str, accepted: Accepted) -> Sent:
    """What the log says of a message on a channel."""
    end = await exchange.log.end(DELIVERY)
    facts = [
        (fact.at, fact.body)
        for fact in await exchange.log.read(DELIVERY, f"*.{channel}.>", limit=end)
        if isinstance(fact.body, Attempt | OutcomeSlice) and fact.body.message == accepted.message
    ]
    attempts = [body.started_at for _, body in facts if isinstance(body, Attempt)]
    ended = [(at, body) for at, body in facts if isinstance(body, OutcomeSlice)]
    found = Counter(type(result.outcome).__name__ for _, body in ended for result in body.results)
    return Sent(channel, found, min(attempts), max(at for at, _ in ended))


def report(
    sent: list[Sent], sampled: Sampled, accepted_at: datetime, settled_at: datetime, count: int
) -> None:
    cores = os.cpu_count() or 1
    print(f"machine: {machine()}; {count:,} addresses a channel")
    for each in sent:
        print(f"{each.channel}: {count / each.seconds:,.0f}/s, {dict(each.outcomes)}")
    last = max(each.last for each in sent)
    until_last, in_all = (sampled.between(accepted_at, end) for end in (last, settled_at))
    for name in sampled.processes:
        number = count if name.startswith("gateway") else 2 * count
        sending_us, all_us = (used[name] / number * 1e6 for used in (until_last, in_all))
        print(f"{name}: {sending_us:.0f} us CPU a notification until the last outcome, {all_us:.0f} in all")
    seconds, busy_s = (last - accepted_at).total_seconds(), sum(until_last.values())
    print(
        f"from the publish to the last outcome on the log: {seconds:.1f} s for {2 * count:,} notifications, "
        f"{busy_s / count / 2 * 1e6:.0f} us CPU each, {cores} cores busy to {busy_s / seconds / cores:.0%}; "
        f"settled after {(settled_at - accepted_at).total_seconds():.1f} s"
    )


def check(sent: list[Sent], peer: Peer, count: int) -> None:
    """By the log, and by the peer's books."""
    assert all(each.outcomes == {"Accepted": count} for each in sent), "not all accepted exactly once"
    if not peer.books:
        return
    books = books_of(peer)
    for channel, form in FORMS.items():
        fault = books[channel].fault([form.format(number) for number in range(count)])
        assert not fault, f"the peer's books of {channel}: {fault}"
    print(f"the peer's books: each of {count:,} addresses a channel exactly once")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="contacts, at most 200,000")
    parser.add_argument("--prepared", default="", help="a folder that keeps the contacts for further runs")
    offer_peers(parser)
    arguments = parser.parse_args()
    arguments.count = min(arguments.count, COUNT_MAX)
    return arguments


if __name__ == "__main__":
    uvloop.run(main())
