"""What must hold when servers die, answers are lost and connections break."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from commands.port import VersionConflict
from domain.errors import OutcomeUnknown, Unavailable
from domain.recorded import DELIVERY, EVENTS, FEED
from domain.thread import Settings, Thread
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from processes.port import Append, Frame
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.fixtures.proxy import Proxy, proxy_to
from tests.integration.log.scenes import AT, CONTEXT, a_thread, an_attempt, everything, until


class Writers:
    """Threads opened and changed without a pause; what was acknowledged is kept in mind."""

    def __init__(self, log: JetStreamLog) -> None:
        self._log, self.stopped = log, False
        self.acknowledged: dict[UUID, int] = {}

    @property
    def events(self) -> int:
        return sum(self.acknowledged.values())

    async def write(self, number: int) -> None:
        thread: Thread | None = None
        while not self.stopped:
            thread = self._another_event(thread, number)
            try:
                await self._log.events.save(thread, context=CONTEXT)
            except VersionConflict:
                thread = await self._log.events.load(Thread, thread.id, fresh=True)
            except OutcomeUnknown:
                thread = None
            except Unavailable:
                continue
            else:
                self.acknowledged[thread.id] = thread.version

    async def write_more(self, events: int) -> None:
        goal = self.events + events

        async def reached() -> bool:
            return self.events >= goal

        await until(reached)

    def _another_event(self, thread: Thread | None, number: int) -> Thread:
        if thread is None:
            return a_thread(f"{number}")
        for _ in range(random.choice([1, 1, 2])):
            thread.change(at=AT, settings=Settings(name=f"{random.random()}"))
        return thread


async def test_every_acknowledged_event_survives_sigkill_under_load(own_server: NatsServer) -> None:
    """The server is killed three times while sixteen writers save; what was acknowledged is there, chains whole."""
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log:
        writers = Writers(log)
        async with asyncio.TaskGroup() as group:
            for number in range(16):
                group.create_task(writers.write(number))
            for _ in range(3):
                await writers.write_more(100)
                await own_server.kill()
                await own_server.start()
            await writers.write_more(100)
            writers.stopped = True
        for id, version in writers.acknowledged.items():
            thread = await log.events.load(Thread, id, fresh=True)
            assert thread is not None
            assert thread.version >= version
        assert len(await everything(log)) >= writers.events


@contextlib.asynccontextmanager
async def through_a_proxy(server: NatsServer) -> AsyncIterator[tuple[Proxy, JetStreamLog]]:
    async with (
        proxy_to(server.port) as proxy,
        open_log(log_config(server, url=proxy.url), master_key=MASTER_KEY) as log,
    ):
        yield proxy, log


async def saved(log: JetStreamLog, thread: Thread) -> Thread:
    """As it is read back, so that the next save asks for nothing first."""
    await log.events.save(thread, context=CONTEXT)
    found = await log.events.load(Thread, thread.id, fresh=True)
    assert found is not None
    return found


async def test_a_lost_answer_is_settled_by_reading_back(log: JetStreamLog, nats_server: NatsServer) -> None:
    """The event is stored, its acknowledgement never arrives: the save succeeds with the event's position, once."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        thread = await saved(proxied, a_thread())
        thread.close(at=AT)
        proxy.hold_answers()
        saving = asyncio.create_task(proxied.events.save(thread, context=CONTEXT))
        await until(lambda: reaches(log, EVENTS, 2))
        proxy.cut()
        assert await saving == 2
        assert await log.end(EVENTS) == 2


async def test_an_event_that_never_arrived_is_sent_again(log: JetStreamLog, nats_server: NatsServer) -> None:
    """The connection breaks before anything got through; the save waits for the next one and succeeds."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        proxy.cut(refuse=True)
        saving = asyncio.create_task(proxied.events.save(a_thread(), context=CONTEXT))
        await until(lambda: disconnected(proxied))
        proxy.admit()
        assert await saving == 1
        assert await log.end(EVENTS) == 1


async def test_a_lost_answer_to_a_conflict_is_a_conflict(log: JetStreamLog, nats_server: NatsServer) -> None:
    """Another event followed first; that the refusal got lost must not make it look like ours."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        thread = await saved(proxied, a_thread())
        other = await log.events.load(Thread, thread.id, fresh=True)
        assert other is not None
        other.change(at=AT, settings=Settings(name="first"))
        await log.events.save(other, context=CONTEXT)
        thread.close(at=AT)
        proxy.hold_answers()
        saving = asyncio.create_task(proxied.events.save(thread, context=CONTEXT))
        await until(lambda: asked(proxied))
        proxy.cut()
        with pytest.raises(VersionConflict):
            await saving
        assert await log.end(EVENTS) == 2


async def test_a_lost_answer_to_a_batch_is_settled_for_all_its_saves(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """Saves of several events share a batch; each learns its own position from what is read back."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        threads = [a_thread(f"{n}") for n in range(10)]
        for thread in threads:
            thread.change(at=AT, settings=Settings(name="changed"))
        proxy.hold_answers()
        saving = [asyncio.create_task(proxied.events.save(thread, context=CONTEXT)) for thread in threads]
        await until(lambda: reaches(log, EVENTS, 2))
        proxy.cut()
        positions = await asyncio.gather(*saving)
        assert sorted(positions) == [2 * n + 2 for n in range(10)]
        for thread, position in zip(threads, positions, strict=True):
            found = await log.js.leader_get(EVENTS, seq=position)
            assert found is not None
            assert found.subject.endswith(thread.id.hex)


@pytest.mark.parametrize("passed_bytes", [100, 900, 1500])
async def test_a_batch_cut_in_the_middle_is_stored_once_and_whole(
    log: JetStreamLog, nats_server: NatsServer, passed_bytes: int
) -> None:
    """The server got a part of it: the save goes on after the reconnect, and succeeds."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        thread = a_thread()
        for n in range(5):
            thread.change(at=AT, settings=Settings(name=f"{n}"))
        generation = proxied.js.connection.generation
        proxy.cut_after(passed_bytes)
        assert await proxied.events.save(thread, context=CONTEXT) == 6
        assert proxied.js.connection.generation > generation
        assert await log.end(EVENTS) == 6


async def test_an_append_with_any_expectation_is_stored_once_though_its_answer_is_lost(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """Its own id finds it again, or has the server drop the repetition."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        proxy.hold_answers()
        append = Append("outcome.apns.d1", an_attempt("d1"))
        appending = asyncio.create_task(proxied.append(append))
        await until(lambda: reaches(log, DELIVERY, 1))
        proxy.cut()
        assert await appending == [1]
        assert await log.end(DELIVERY) == 1


@pytest.mark.parametrize("count", [1, 40])
async def test_frames_are_stored_once_though_their_answer_is_lost(
    log: JetStreamLog, nats_server: NatsServer, count: int
) -> None:
    """They say behind which position they are to be, so what is there tells whether they are."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        proxy.hold_answers()
        appending = asyncio.create_task(proxied.feed.append(some_frames(count), after=0))
        await until(lambda: reaches(log, FEED, 1))
        proxy.cut()
        assert await appending == count
        assert await log.end(FEED) == count


async def test_a_lost_answer_to_frames_that_came_too_late_is_a_conflict(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """What is there instead of them is another's."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        await log.feed.append(some_frames(3), after=0)
        proxy.hold_answers()
        appending = asyncio.create_task(proxied.feed.append(some_frames(4)[3:], after=2))
        await until(lambda: asked(proxied))
        proxy.cut()
        with pytest.raises(VersionConflict):
            await appending
        assert await log.end(FEED) == 3


def some_frames(count: int) -> list[Frame]:
    subject = "feed.thread.a"
    return [Frame(subject=subject, body=b"{}", message="m", position=7, index=n) for n in range(count)]


async def test_a_lost_answer_is_found_behind_what_others_appended(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """Two records in one append, without expectation; others follow on the same subject before we can look."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        proxy.hold_answers()
        appends = [Append("outcome.apns.d1", an_attempt("d1", n)) for n in (0, 5)]
        appending = asyncio.create_task(proxied.append(*appends))
        await until(lambda: reaches(log, DELIVERY, 2))
        await log.append(Append("outcome.apns.d1", an_attempt("d1", 10)))
        proxy.cut()
        assert await appending == [1, 2]
        assert await log.end(DELIVERY) == 3


async def test_an_unreachable_log_is_unavailable_and_stores_nothing_later(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """What was given up is not sent when the connection comes back."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        proxy.cut(refuse=True)
        await until(lambda: disconnected(proxied))
        with pytest.raises(Unavailable) as failure:
            await proxied.events.save(a_thread("given up"), context=CONTEXT)
        assert not isinstance(failure.value, OutcomeUnknown)
        proxy.admit()
        assert await proxied.events.save(a_thread("later"), context=CONTEXT) == 1
        assert await log.end(EVENTS) == 1


async def test_readers_and_workers_go_on_after_a_disconnect(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """Nothing is missed, nothing comes twice to a reader; a worker's unacknowledged task comes again."""
    async with through_a_proxy(nats_server) as (proxy, proxied):
        reading = proxied.follow(EVENTS, None)
        positions: list[int] = []
        for n in range(6):
            await log.events.save(a_thread(f"{n}"), context=CONTEXT)
            async with asyncio.timeout(15):
                positions += [fact.position for fact in await anext(reading)]
            if n % 2:
                proxy.cut()
        assert positions == [1, 2, 3, 4, 5, 6]

        await log.append(Append("attempt.apns.d1", an_attempt("d1"), 0))
        working = proxied.work(DELIVERY, "w", subjects=["attempt.>"], ack_wait_s=1)
        async with asyncio.timeout(15):
            task = await anext(working)
            proxy.cut()
            again = await anext(working)
        assert (task.position, again.position) == (1, 1)
        assert again.deliveries > 1
        await again.ack()


async def reaches(log: JetStreamLog, stream: str, position: int) -> bool:
    return await log.end(stream) >= position


async def disconnected(log: JetStreamLog) -> bool:
    return not log.js.connection.is_connected


async def asked(log: JetStreamLog) -> bool:
    return bool(log.js.connection._waiting)
