"""One holder of a name among many processes. Implements processes.port.Lease.

An entry in the bucket LEASES, which the server forgets LEASE_S after its last renewal. A holder counts from before
it asked, so it stops before another one can begin, even when it was suspended meanwhile. Never says who may do what
without a lease: that is the holder's business, which asks `is_held` before each thing that two must not do.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

import msgspec
import structlog

from domain.errors import Unavailable
from infra.nats.jetstream import JetStream, assert_served
from infra.nats.streams import LEASE_S, LEASES_BUCKET, LEASES_STREAM
from infra.nats.wire.errors import ApiFailure, WrongSequence, refusal

RENEW_S = LEASE_S / 4
"""Three renewals may fail before the lease ends."""
TRY_S = 0.5
"""Between two looks of those who wait: with LEASE_S, how long nobody may hold it after a holder was killed."""
ANSWER_S_MAX = 1.0
MARGIN_S = 0.25
"""A holder stops this long before the server forgets: clocks do not run alike, and what was sent is on its way."""

log = structlog.get_logger()


class _Ack(msgspec.Struct):
    seq: int = 0
    error: ApiFailure | None = None


_ack = msgspec.json.Decoder(_Ack)


class Lease:
    """stop: once it is set, nobody here waits for the lease any more."""

    def __init__(
        self, js: JetStream, name: str, stop: asyncio.Event, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._js, self._subject, self._stop, self._now_s = js, f"$KV.{LEASES_BUCKET}.{name}", stop, now_s
        self._mark = secrets.token_hex(16).encode()
        self._sequence, self._until_s = 0, 0.0

    @property
    def is_held(self) -> bool:
        """Whether nobody else can hold it now."""
        return self._now_s() < self._until_s

    async def take(self) -> bool:
        """Wait until it is ours; False once we are to stop."""
        while not self._stop.is_set():
            try:
                await self._put(self._mark, expect=0)
                log.info("lease-taken", subject=self._subject)
            except WrongSequence:
                await self._take_what_was_given_back()
            except Unavailable as error:
                log.info("lease-waits", subject=self._subject, reason=str(error))
            if self.is_held:
                return True
            await self._pause(TRY_S)
        return False

    async def keep(self) -> None:
        """Renew it; returns once it is lost."""
        while self.is_held:
            await asyncio.sleep(RENEW_S)
            try:
                await self._put(self._mark, expect=self._sequence)
            except WrongSequence:
                if not await self._is_ours_still():
                    break
            except Unavailable as error:
                log.info("lease-not-renewed", subject=self._subject, reason=str(error))
        self._until_s = 0.0
        log.warning("lease-lost", subject=self._subject)

    async def give_back(self) -> None:
        """Let the next one have it at once; where the log is away it ends by itself."""
        if not self.is_held:
            return
        self._until_s = 0.0
        try:
            await self._put(b"", expect=self._sequence)
        except Unavailable as error:
            log.info("lease-not-given-back", reason=str(error))
        self._until_s = 0.0

    async def _put(self, mark: bytes, *, expect: int) -> None:
        """Raises WrongSequence when another entry is the last one, or Unavailable."""
        asked_s = self._now_s()
        lines = b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % expect
        frame = await self._js.connection.ask(self._subject, mark, lines=lines, timeout_s=ANSWER_S_MAX)
        if frame.headers:
            assert_served(frame)
        answer = _ack.decode(frame.data)
        if answer.error is not None:
            raise refusal(answer.error)
        self._sequence, self._until_s = answer.seq, asked_s + LEASE_S - MARGIN_S

    async def _take_what_was_given_back(self) -> None:
        try:
            found = await self._js.leader_get(LEASES_STREAM, last_by_subj=self._subject)
            if found is not None and not found.data:
                await self._put(self._mark, expect=found.sequence)
        except Unavailable:
            pass  # somebody was faster, or the log is away: the next try shows

    async def _is_ours_still(self) -> bool:
        """A renewal may have arrived whose answer did not."""
        try:
            found = await self._js.leader_get(LEASES_STREAM, last_by_subj=self._subject)
        except Unavailable:
            return True
        if found is None or found.data != self._mark:
            return False
        self._sequence = found.sequence
        return True

    async def _pause(self, for_s: float) -> None:
        try:
            async with asyncio.timeout(for_s):
                await self._stop.wait()
        except TimeoutError:
            pass
