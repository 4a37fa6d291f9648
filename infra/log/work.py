"""Work shared among processes: a durable consumer's messages as tasks, each until acknowledged.

As many tasks as may be in flight are fetched ahead, so that the next is there when one is done; while they
wait, the server is told so, and at the end they are given back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any

import structlog

from domain.errors import Unavailable
from domain.recorded import Recorded, kind_of
from infra.log.facts import FactReader
from infra.log.pulls import HEARTBEAT_S, Delivery, Puller
from infra.log.waking import Waker
from infra.nats.guard import Guard, OtherLog
from infra.nats.jetstream import JetStream
from infra.nats.streams import NS
from infra.nats.wire.connection import Connection
from infra.nats.wire.frames import Frame, header_in
from processes.port import LogMismatch

log = structlog.get_logger()

PASSED_OVER_AHEAD = 200
"""Messages fetched ahead where most of them are of topics that are passed over."""

ASKED_SHARE = 4
"""A request asks for a fourth of what is fetched ahead at least."""

UNACKNOWLEDGED_MAX = 20_000
"""Of all processes of a role together; the server holds further messages back."""

RETRY_PAUSE_S = 0.2

ACK, WORKING, GIVEN_BACK = b"+ACK", b"+WPI", b"-NAK"


class LogTask:
    """processes.port.Task."""

    __slots__ = (
        "_connection",
        "_delivery",
        "_done",
        "_read",
        "deliveries",
        "position",
        "raw",
        "stream",
        "subject",
    )

    def __init__(
        self,
        stream: str,
        delivery: Delivery,
        read: Callable[[], Recorded],
        connection: Connection,
        done: Callable[[], None],
    ) -> None:
        stored = delivery.stored
        self.stream, self.subject, self.position = stream, stored.subject, stored.sequence
        self.raw, self.deliveries = stored.data, delivery.deliveries
        self._delivery, self._read, self._connection, self._done = delivery, read, connection, done

    @property
    def fact(self) -> Recorded:
        return self._read()

    async def ack(self) -> None:
        await self._settle(ACK)

    async def extend(self) -> None:
        await _tell(self._connection, self._delivery.reply, WORKING)

    async def give_back(self, *, delay_s: float = 0.0) -> None:
        await self._settle(b'-NAK {"delay": %d}' % int(delay_s * NS))

    async def _settle(self, word: bytes) -> None:
        self._done()
        await _tell(self._connection, self._delivery.reply, word)


class Work:
    """One process's share of a durable consumer."""

    def __init__(
        self,
        js: JetStream,
        guard: Guard,
        facts: FactReader,
        *,
        stream: str,
        durable: str,
        subjects: Sequence[str],
        ack_wait_s: float,
        in_flight: int,
        topics: Collection[str],
    ) -> None:
        self._js, self._guard, self._facts = js, guard, facts
        self._stream, self._durable, self._subjects = stream, durable, list(subjects)
        self._kinds = frozenset(map(kind_of, topics))
        self._ack_wait_s, self._in_flight = ack_wait_s, in_flight
        self._ahead = max(2 * in_flight, PASSED_OVER_AHEAD if topics else 0)
        self._buffer: deque[Delivery] = deque()
        self._changed = Waker(HEARTBEAT_S)
        self._handed_out = 0
        self._puller: Puller | None = None

    async def tasks(self) -> AsyncIterator[LogTask]:
        try:
            while True:
                try:
                    await self._keep_fetching()
                    task = await self._next() if self._handed_out < self._in_flight else None
                except Unavailable as unavailable:
                    log.info("work-waits", durable=self._durable, reason=str(unavailable))
                    await self._drop()
                    await asyncio.sleep(RETRY_PAUSE_S)
                    continue
                if task is not None:
                    yield task
                elif not self._buffer or self._handed_out >= self._in_flight:
                    await self._changed.wait()
        finally:
            self._changed.close()
            await self._drop()

    async def keep_alive(self) -> None:
        """Tell the server, for ever, that what was fetched ahead is not forgotten."""
        while True:
            await asyncio.sleep(self._ack_wait_s / 3)
            for delivery in tuple(self._buffer):
                await _tell(self._js.connection, delivery.reply, WORKING)

    async def _keep_fetching(self) -> None:
        puller = self._puller
        if puller is not None and puller.broken:
            log.info("work-restarts", durable=self._durable, reason=puller.broken)
            await self._drop()
            puller = None
        if puller is None:
            puller = await self._begin()
        if wanted := self._wanted(puller):
            await puller.ask_for(wanted)

    def _wanted(self, puller: Puller) -> int:
        """How many messages to ask for; 0 while it would be few."""
        room = self._ahead - self._handed_out - len(self._buffer) - puller.outstanding
        return room if room >= max(1, self._ahead // ASKED_SHARE) else 0

    async def _next(self) -> LogTask | None:
        """The next task, with the keys to read it; None if there is none."""
        if not self._buffer:
            return None
        delivery = self._buffer[0]
        read = await self._facts.reader(self._stream, delivery.stored)
        if not self._buffer or self._buffer[0] is not delivery:
            return None  # begun anew meanwhile
        self._buffer.popleft()
        self._handed_out += 1
        return LogTask(self._stream, delivery, read, self._js.connection, self._on_done)

    async def _begin(self) -> Puller:
        await self._assert_same_log()
        self._buffer.clear()
        config = self._config()
        await self._js.api(
            f"CONSUMER.CREATE.{self._stream}.{self._durable}",
            {"stream_name": self._stream, "config": config, "action": ""},
        )
        self._puller = Puller(
            self._js.connection,
            self._stream,
            self._durable,
            take=self._take,
            wake=self._changed.wake,
            passes_over=self._passes_over if self._kinds else None,
        )
        await self._puller.open()
        return self._puller

    def _config(self) -> dict[str, Any]:
        return {
            "name": self._durable,
            "durable_name": self._durable,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(self._ack_wait_s * NS),
            "max_deliver": -1,
            "max_ack_pending": UNACKNOWLEDGED_MAX,
            "filter_subjects": self._subjects,
        }

    async def _assert_same_log(self) -> None:
        try:
            await self._guard.assert_same(self._stream)
        except OtherLog as other:
            raise LogMismatch(str(other)) from None

    def _take(self, delivery: Delivery) -> None:
        self._buffer.append(delivery)
        self._changed.wake()

    def _passes_over(self, frame: Frame) -> bool:
        """Whether a message is of none of our topics; then it is dealt with.

        Hot path: most messages are, for most workers, and wake nobody.
        """
        if kind_of(header_in(frame.headers, "Topic")) in self._kinds:
            return False
        self._js.connection.tell_at_once(frame.reply.decode(), ACK)
        self._wake_if_wanted()
        return True

    def _on_done(self) -> None:
        self._handed_out -= 1
        if self._handed_out == self._in_flight - 1:
            self._changed.wake()  # there is a place again
        else:
            self._wake_if_wanted()

    def _wake_if_wanted(self) -> None:
        if self._puller is not None and self._wanted(self._puller):
            self._changed.wake()

    async def _drop(self) -> None:
        puller, self._puller = self._puller, None
        if puller is None:
            return
        await puller.close()
        while self._buffer:
            await _tell(self._js.connection, self._buffer.popleft().reply, GIVEN_BACK)


async def _tell(connection: Connection, reply: str, word: bytes) -> None:
    """A lost word is made up for by the server, which hands the task out again."""
    with contextlib.suppress(Unavailable):
        await connection.tell(reply, word)
