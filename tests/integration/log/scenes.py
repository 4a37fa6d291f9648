"""Words that the log's tests share: who writes what, and how to wait for a condition."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

from domain.context import Context
from domain.deliveries.delivery import Attempt
from domain.recorded import EVENTS, Recorded
from domain.thread import Settings, Thread
from infra.log.log import JetStreamLog

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONTEXT = Context(realm="main", actor="u1", correlation="r1")
WAIT_S_MAX = 20.0


def a_thread(tid: str = "t1") -> Thread:
    return Thread.open(id=uuid4(), at=AT, tid=tid, settings=Settings(name="news", owner="u1"))


def an_attempt(dispatch: str, first: int = 0) -> Attempt:
    return Attempt("main", UUID(int=1), "apns", dispatch, first, first + 5, "g1", AT)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once the condition holds; TimeoutError if it never does."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not await condition():
            await asyncio.sleep(0.01)


async def everything(log: JetStreamLog, stream: str = EVENTS, *, batch: int = 500) -> list[Recorded]:
    """All facts of a stream, by an ordered reader. batch 1: each with its digest."""
    end = await log.end(stream)
    facts: list[Recorded] = []
    if not end:
        return facts
    async with asyncio.timeout(WAIT_S_MAX):
        async for page in log.follow(stream, None, batch=batch):
            assert all(isinstance(fact, Recorded) for fact in page), page
            facts += [fact for fact in page if isinstance(fact, Recorded)]
            if page[-1].position >= end:
                return facts
    return facts
