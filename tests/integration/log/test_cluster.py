"""Three servers with replicas: a read that lags behind never decides anything."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from commands.port import VersionConflict
from domain.contact import Contact
from domain.context import Context
from domain.errors import Unavailable
from domain.recorded import EVENTS, FEED
from domain.thread import Settings, Thread
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from processes.port import Frame
from tests.fixtures.nats import MASTER_KEY
from tests.fixtures.nats_cluster import Cluster, running_cluster
from tests.integration.log.scenes import AT, CONTEXT, a_thread, everything
from tests.memory.ports.feeding import append_frames

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUNDS = 150


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def pair(cluster: Cluster) -> AsyncIterator[tuple[JetStreamLog, JetStreamLog]]:
    """Two processes' logs: each has its own connection, perhaps to different servers."""
    async with (
        open_log(cluster.config, master_key=MASTER_KEY) as one,
        open_log(cluster.config, master_key=MASTER_KEY) as two,
    ):
        yield one, two


async def test_what_one_saved_another_decides_on(pair: tuple[JetStreamLog, JetStreamLog]) -> None:
    """Under load: after every save the other process sees it at once by a fresh load, a claim, the end, `passed`."""
    one, two = pair
    noise = asyncio.gather(*(write_on(one) for _ in range(4)))
    try:
        for turn in range(ROUNDS):
            await hand_over(a_thread(f"{turn}"), one, two)
    finally:
        noise.cancel()
        await asyncio.wait([noise])


async def hand_over(thread: Thread, one: JetStreamLog, two: JetStreamLog) -> None:
    """One saves, the other sees it and changes it, the first sees that."""
    position = await one.events.save(thread, context=CONTEXT, claim="c")
    assert await two.events.claim_of(Thread, thread.id) == (position, "c")
    assert await two.end(EVENTS) >= position
    assert not await two.passed(EVENTS, f"evt.thread.*.{thread.id.hex}", position, position - 1)
    seen = await two.events.load(Thread, thread.id, fresh=True)
    assert seen is not None
    seen.change(at=AT, settings=Settings(name="by two"))
    await two.events.save(seen, context=CONTEXT)
    again = await one.events.load(Thread, thread.id, fresh=True)
    assert again is not None
    assert again.settings.name == "by two"


async def test_a_stale_load_is_refused_at_the_save(pair: tuple[JetStreamLog, JetStreamLog]) -> None:
    """Plain loads may lag; a save built on one either follows the newest version or is refused."""
    one, two = pair
    thread = a_thread("contended")
    await one.events.save(thread, context=CONTEXT)
    saved = 0

    async def change(log: JetStreamLog, name: str) -> None:
        nonlocal saved
        for turn in range(ROUNDS // 3):
            mine = await log.events.load(Thread, thread.id)
            if mine is None:
                continue
            mine.change(at=AT, settings=Settings(name=f"{name} {turn}"))
            try:
                await log.events.save(mine, context=CONTEXT)
                saved += 1
            except VersionConflict:
                continue

    await asyncio.gather(change(one, "one"), change(two, "two"))
    final = await one.events.load(Thread, thread.id, fresh=True)
    assert final is not None
    assert final.version == saved + 1


async def test_a_key_made_by_one_is_read_by_the_other(pair: tuple[JetStreamLog, JetStreamLog]) -> None:
    """A sealed address is never read as None because a replica did not have its key yet."""
    one, two = pair
    for turn in range(ROUNDS // 3):
        contact = Contact.create(id=a_thread().id, at=AT, uid=f"{turn}")
        contact.set_address(at=AT, channel="sms", address="+34600000001", token=None)
        await one.events.save(contact, context=CONTEXT)
        name = f"contact.{contact.id.hex}"
        assert name in await two.keys.keys([name])


async def test_the_feed_is_read_whole(pair: tuple[JetStreamLog, JetStreamLog]) -> None:
    """Whatever was acknowledged is in the next resume and below the next head."""
    one, two = pair
    subject = f"feed.thread.{a_thread().id.hex}"
    for turn in range(ROUNDS // 3):
        position = await append_frames(one.feed, Frame(subject=subject, body=b"%d" % turn, message="m"))
        assert (await two.feed_reader.bounds())[1] >= position
        assert len(await two.feed_reader.since([subject], 0, 1000)) == turn + 1
        assert await two.feed_reader.last([subject]) == {subject: position}


async def test_nothing_acknowledged_is_lost_with_a_leader(
    cluster: Cluster, pair: tuple[JetStreamLog, JetStreamLog]
) -> None:
    """The server that leads EVENTS is killed under load: saves go on with the new leader, all of them are there."""
    one, two = pair
    saved = [0]
    writing = [asyncio.create_task(count_saves(log, saved)) for log in (one, two) for _ in range(4)]
    leader = await cluster.leader_of(EVENTS)
    async with asyncio.timeout(30):
        while saved[0] < 100:
            await asyncio.sleep(0.01)
        await leader.kill()
        before = saved[0]
        while saved[0] < before + 100:
            await asyncio.sleep(0.01)
    for task in writing:
        task.cancel()
    await leader.start()
    facts = await everything(one)
    assert sum(fact.actor == "counted" for fact in facts) >= saved[0]
    assert await end_once_led(two, FEED) >= 0


async def end_once_led(log: JetStreamLog, stream: str) -> int:
    """The end of a stream whose servers may be electing a leader just now."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await log.end(stream)
            except Unavailable:
                await asyncio.sleep(0.05)


async def write_on(log: JetStreamLog) -> None:
    while True:
        await log.events.save(a_thread("noise"), context=CONTEXT)


async def count_saves(log: JetStreamLog, saved: list[int]) -> None:
    while True:
        try:
            await log.events.save(a_thread("counted"), context=Context(actor="counted"))
        except Unavailable:
            await asyncio.sleep(0.05)
        else:
            saved[0] += 1
