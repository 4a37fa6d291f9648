"""Reading the log from a command: up to its end, from a position, as it grows. Stories are in `stories`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from cli.bootstrap import opened_log
from cli.console import Failure, progress
from cli.reading.topics import is_of
from cli.session import Session
from cli.wiring.endpoints import any_endpoint
from domain.recorded import DELIVERY, EVENTS, Checkpoint, Recorded
from infra.log.log import JetStreamLog
from processes.port import Poison

STREAMS = (EVENTS, DELIVERY)
"""What `msgxc events` reads: the facts, and what became of them."""
BATCH = 500
WINDOW = 1_000
"""Facts looked at backwards at a time, for the last ones of a topic."""

Fact = Recorded | Poison


@asynccontextmanager
async def reading(session: Session) -> AsyncIterator[JetStreamLog]:
    async with any_endpoint(session, name="msgxc events") as endpoint, opened_log(session, endpoint) as log:
        yield log


def matching(topics: Sequence[str]) -> Callable[[Fact], bool]:
    """Whether a fact has one of the topics, or is of a kind of topics."""

    def matches(fact: Fact) -> bool:
        topic = fact.topic if isinstance(fact, Recorded) else ""
        return not topics or any(is_of(topic, wanted) for wanted in topics)

    return matches


async def read_range(
    log: JetStreamLog, stream: str, *, after: int, until: int, subjects: Sequence[str] = ()
) -> AsyncIterator[list[Fact]]:
    """Every fact after a position up to another one, in batches of at least one. With subjects, one of them is
    there, or later.
    """
    if until <= after:
        return
    # What has aged out does not come, and where nothing follows it nothing would end the reading.
    if await log.js.leader_get(stream, seq=until, next_by_subj=">") is None:
        return
    start = Checkpoint(stream, after, await log.epoch(stream))
    facts = log.follow(stream, start, subjects=subjects, batch=BATCH)
    try:
        async for batch in facts:
            wanted = [fact for fact in batch if fact.position <= until]
            if wanted:
                yield wanted
            if batch[-1].position >= until:
                return
    finally:
        await facts.aclose()


async def place_of(log: JetStreamLog, stream: str, fact: Fact) -> Checkpoint:
    """As far as a fact that was just read. The last of a page has its digest; of any other the leader is asked."""
    if isinstance(fact, Recorded) and fact.digest:
        return Checkpoint(stream, fact.position, await log.epoch(stream), fact.digest)
    return await log.place(stream, fact.position)


async def last_facts(
    log: JetStreamLog, stream: str, count: int, matches: Callable[[Fact], bool]
) -> list[Fact]:
    """The newest facts that match, oldest first."""
    found: list[Fact] = []
    until = end = await log.end(stream)
    window = count
    with progress(f"looking through {stream}") as advance:
        while until > 0 and len(found) < count:
            after = max(0, until - window)
            page = [
                fact
                async for batch in read_range(log, stream, after=after, until=until)
                for fact in batch
                if matches(fact)
            ]
            found = page + found
            until, window = after, max(WINDOW, window)
            advance(end - until, end)
    return found[-count:] if count else []


async def follow_all(
    log: JetStreamLog, starts: dict[str, int], show: Callable[[Fact], None], matches: Callable[[Fact], bool]
) -> None:
    """Show what is appended, for ever. starts: by stream, the position already shown."""

    async def one(stream: str, after: int) -> None:
        start = Checkpoint(stream, after, await log.epoch(stream))
        async for batch in log.follow(stream, start, batch=BATCH):
            for fact in filter(matches, batch):
                show(fact)

    async with asyncio.TaskGroup() as group:
        for stream, after in starts.items():
            group.create_task(one(stream, after))


def moment(fact: Fact) -> tuple[str, int]:
    """Facts of several streams by their time; within one stream the position decides."""
    at = getattr(fact, "at", None)
    return (at.isoformat() if at else "", fact.position)


def assert_within(position: int, end: int, stream: str, *, option: str) -> None:
    """Raises Failure for a position that the log has not reached: it is another log's, or mistyped."""
    if position > end:
        raise Failure(f"{option} {position}: {stream} ends at {end}")


async def newest_on(log: JetStreamLog, stream: str, subject: str) -> int:
    """The position of the last message on a subject, 0 without one. Asked of the leader."""
    found = await log.js.leader_get(stream, last_by_subj=subject)
    return found.sequence if found is not None else 0
