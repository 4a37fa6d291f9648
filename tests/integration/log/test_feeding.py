"""Feeders on a real server: the order of the log on FEED, whoever is killed, suspended or purged."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from domain.message import Content, Message, ToContacts, ToThread
from domain.recorded import EVENTS, FEED
from infra.log.feeding import carry_over
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.leases import TRY_S, Lease
from infra.nats.server import NatsServer
from infra.nats.streams import LEASE_S, open_epoch
from processes.feeding.feed import contact_subject, thread_subject
from processes.feeding.feeder import Feeder
from processes.port import Frame, LogMismatch
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.integration.log.feeding_child import IDS, NAME
from tests.integration.log.scenes import CONTEXT, WAIT_S_MAX

ROOT = Path(__file__).parents[3]
NEWS = UUID(int=7)
PEOPLE = tuple(UUID(int=number) for number in range(1, 8))

Shown = list[tuple[str, int, int]]


def now() -> datetime:
    return datetime.now(UTC)


async def publish(log: JetStreamLog, *, to_people: bool = False) -> UUID:
    message = Message.accept(
        id=uuid4(),
        at=now(),
        audience=ToContacts(PEOPLE) if to_people else ToThread(NEWS),
        content=Content(text="hello"),
        sender="boss",
        tid="news",
        channels=None,
        urgency=3,
        expires_at=now() + timedelta(hours=1),
        scheduled_at=None,
        parent=None,
        confidential=False,
        app="",
    )
    await log.events.save(message, context=CONTEXT)
    return message.id


async def wanted(log: JetStreamLog) -> Shown:
    """(subject, position, index) of all frames, in the order of the log."""
    found: Shown = []
    for fact in await log.read(EVENTS, "evt.message.>", limit=10_000):
        assert isinstance(fact.body, Message.Accepted)
        if isinstance(fact.body.audience, ToContacts):
            found += [
                (contact_subject(contact), fact.position, index) for index, contact in enumerate(PEOPLE)
            ]
        else:
            found.append((thread_subject(NEWS), fact.position, 0))
    return found


async def shown(log: JetStreamLog) -> Shown:
    frames = await log.js.read(FEED, "feed.>", limit=20_000)
    return [(each.subject, int(each.headers["Position"]), int(each.headers["Index"])) for each in frames]


async def all_shown(log: JetStreamLog) -> Shown:
    """What FEED holds once the last message's last frame is there."""
    last = (await wanted(log))[-1]
    async with asyncio.timeout(WAIT_S_MAX):
        while not (found := await shown(log)) or found[-1] != last:
            await asyncio.sleep(0.02)
    return found


def feeder(log: JetStreamLog, stop: asyncio.Event) -> Feeder:
    lease = Lease(log.js, NAME, stop)
    return Feeder(log=log, feed=log.feed, lease=lease, store=log.events, ids=IDS, clock=now)


@contextlib.asynccontextmanager
async def feeding(*logs: JetStreamLog) -> AsyncIterator[None]:
    """A feeder on each."""
    running = [asyncio.create_task(feeder(log, asyncio.Event()).run()) for log in logs]
    try:
        yield
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Child:
    """A process with a feeder."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        self.process, self._said = process, process.stdout

    async def at_work(self) -> None:
        """Return when it says so; its log is on the same pipe."""
        async with asyncio.timeout(WAIT_S_MAX):
            while (line := await self._said.readline()) != b"at work\n":
                assert line, "it has ended"

    def tell(self, what: signal.Signals) -> None:
        self.process.send_signal(what)


@contextlib.asynccontextmanager
async def child(server: NatsServer) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.log.feeding_child", server.url, server.token),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Child(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_frames_have_the_order_of_the_log(log: JetStreamLog, nats_server: NatsServer) -> None:
    """Published through two processes at once, each with a feeder: none is missing, twice, or out of its place."""
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as other, feeding(log, other):
        heard: list[int] = []
        await other.feed_reader.subscribe(thread_subject(NEWS), lambda position, *_: heard.append(position))
        for turn in range(10):
            calls = [publish(each, to_people=n % 5 == turn % 5) for n in range(20) for each in (log, other)]
            await asyncio.gather(*calls)
        assert await all_shown(log) == await wanted(log)
        stored = await log.js.read(FEED, thread_subject(NEWS), limit=1_000)
        async with asyncio.timeout(WAIT_S_MAX):
            while len(heard) < len(stored):
                await asyncio.sleep(0.01)
        assert heard == [each.sequence for each in stored]


async def test_another_takes_over_from_one_that_was_killed(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """SIGKILL in the midst of messages: within the lease's time the other one goes on, with the very next frame."""
    async with child(nats_server) as first:
        await first.at_work()
        async with child(nats_server) as second:
            publishing = [asyncio.create_task(publish(log, to_people=n % 3 == 0)) for n in range(200)]
            async with asyncio.timeout(WAIT_S_MAX):
                while not await shown(log):
                    await asyncio.sleep(0)
            first.tell(signal.SIGKILL)
            killed_s = time.monotonic()
            await asyncio.gather(*publishing)
            await second.at_work()
            assert time.monotonic() - killed_s < LEASE_S + 2 * TRY_S + 1.0
            await publish(log)
            assert await all_shown(log) == await wanted(log)


async def test_one_that_was_suspended_writes_nothing_more(log: JetStreamLog, nats_server: NatsServer) -> None:
    """SIGSTOP in the midst of messages, another one takes over, SIGCONT: nothing is there twice, or swapped."""
    async with child(nats_server) as first:
        await first.at_work()
        async with child(nats_server) as second:
            publishing = [asyncio.create_task(publish(log, to_people=n % 3 == 0)) for n in range(200)]
            async with asyncio.timeout(WAIT_S_MAX):
                while not await shown(log):
                    await asyncio.sleep(0)
            first.tell(signal.SIGSTOP)
            await asyncio.gather(*publishing)
            await second.at_work()
            more = [asyncio.create_task(publish(log, to_people=n % 2 == 0)) for n in range(100)]
            first.tell(signal.SIGCONT)
            await asyncio.gather(*more)
            await publish(log)
            assert await all_shown(log) == await wanted(log)


async def test_it_goes_on_when_its_frames_are_gone(log: JetStreamLog) -> None:
    """Purged by an operator: the note says what was shown, and it is not shown again; the lag knows, too."""
    await publish(log)
    assert await log.feed.lag() == 1
    async with feeding(log):
        await all_shown(log)
        await noted(log)
    await log.js.api("STREAM.PURGE.FEED")
    assert await log.feed.lag() == 0
    await publish(log, to_people=True)
    await publish(log)
    async with feeding(log):
        assert await all_shown(log) == (await wanted(log))[1:]
    assert await log.feed.lag() == 0


@pytest.mark.parametrize("there", [1, 3, len(PEOPLE)])
async def test_it_goes_on_in_the_middle_of_a_message(log: JetStreamLog, there: int) -> None:
    """The frames of a message to several contacts that are there are not written again; the others are."""
    message = await publish(log, to_people=True)
    frames = [
        Frame(subject=subject, body=b"{}", message=message.hex, position=position, index=index)
        for subject, position, index in await wanted(log)
    ]
    await log.feed.append(frames[:there], after=0)
    await publish(log)
    async with feeding(log):
        assert await all_shown(log) == await wanted(log)


async def test_another_life_of_the_log_stops_it(log: JetStreamLog, nats_server: NatsServer) -> None:
    """A new epoch, until what was shown is carried over into it, as a restore does."""
    await publish(log)
    async with feeding(log):
        before = await all_shown(log)
        await noted(log)
    await publish(log)
    await open_epoch(log.js, EVENTS)
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as restored:
        with pytest.raises(ExceptionGroup) as raised:
            await feeder(restored, asyncio.Event()).run()
        assert raised.group_contains(LogMismatch)
        assert await shown(log) == before
        await carry_over(log.js)
        async with feeding(restored):
            assert await all_shown(log) == await wanted(log)


async def noted(log: JetStreamLog) -> None:
    """Returns when there is a note."""
    async with asyncio.timeout(WAIT_S_MAX):
        while await log.feed.noted() is None:
            await asyncio.sleep(0.05)
