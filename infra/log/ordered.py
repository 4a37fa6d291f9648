"""Ordered reading of a stream: every message after a position, once, for ever.

An ephemeral consumer, made again from the last message handed on whenever anything is in doubt: a gap in the
count, silence, a lost connection, another leader. Before each new beginning the caller's check decides
whether it is still the same log.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import structlog

from domain.errors import Unavailable
from infra.log.pulls import HEARTBEAT_S, Delivery, Puller
from infra.log.waking import Waker
from infra.nats.jetstream import JetStream
from infra.nats.streams import NS
from infra.nats.wire.frames import Stored

log = structlog.get_logger()

INACTIVE_S = 60
"""The server forgets a consumer nobody reads after this."""

RETRY_PAUSE_S = 0.2


class OrderedReader:
    """Batches of messages after `position`, in order. `check` raises if the log may not be read on."""

    def __init__(
        self,
        js: JetStream,
        stream: str,
        *,
        subjects: Sequence[str],
        position: int,
        batch: int,
        check: Callable[[], Awaitable[None]],
    ) -> None:
        self._js, self._stream, self._subjects = js, stream, list(subjects)
        self._batch, self._check = batch, check
        self.position = position
        self._buffer: deque[Stored] = deque()
        self._arrived = Waker(HEARTBEAT_S)  # then look whether the consumer is still alive
        self._puller: Puller | None = None
        self._consumer = ""
        self._expected = 1
        self._gap = False

    async def batches(self) -> AsyncGenerator[list[Stored]]:
        """What is there, at most `batch` at a time; waits when there is nothing."""
        try:
            while True:
                try:
                    await self._keep_reading()
                except Unavailable as unavailable:
                    log.info("log-reader-waits", stream=self._stream, reason=str(unavailable))
                    await self._drop()
                    await asyncio.sleep(RETRY_PAUSE_S)
                    continue
                if self._buffer:
                    size = min(self._batch, len(self._buffer))
                    taken = [self._buffer.popleft() for _ in range(size)]
                    self.position = taken[-1].sequence
                    yield taken
                else:
                    await self._arrived.wait()
        finally:
            self._arrived.close()
            await self._drop()

    async def _keep_reading(self) -> None:
        """Have a working consumer, with enough asked of it."""
        puller = self._puller
        if puller is not None and (self._gap or puller.broken):
            log.info("log-reader-restarts", stream=self._stream, reason=puller.broken or "a gap")
            await self._drop()
            puller = None
        if puller is None:
            puller = await self._begin()
        if puller.outstanding + len(self._buffer) <= self._batch:
            await puller.ask_for(self._batch)

    async def _begin(self) -> Puller:
        await self._check()
        self._buffer.clear()
        self._expected, self._gap = 1, False
        self._consumer = f"reader-{secrets.token_hex(8)}"
        await self._js.api(
            f"CONSUMER.CREATE.{self._stream}.{self._consumer}",
            {"stream_name": self._stream, "config": self._config(), "action": "create"},
        )
        puller = Puller(
            self._js.connection,
            self._stream,
            self._consumer,
            take=self._take,
            wake=self._arrived.wake,
        )
        await puller.open()
        self._puller = puller
        return puller

    def _config(self) -> dict[str, Any]:
        return {
            "name": self._consumer,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.position + 1,
            "ack_policy": "none",
            "filter_subjects": self._subjects,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_S * NS,
        }

    def _take(self, delivery: Delivery) -> None:
        if self._gap or delivery.number != self._expected:
            self._gap = True
        else:
            self._expected += 1
            self._buffer.append(delivery.stored)
        self._arrived.wake()

    async def _drop(self) -> None:
        puller, self._puller = self._puller, None
        if puller is None:
            return
        await puller.close()
        with contextlib.suppress(Unavailable):  # the server forgets it by itself
            await self._js.connection.tell(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}")
