"""Reading the log from a command: up to its end, from a position, or one aggregate's whole story."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from cli.bootstrap import opened_log
from cli.console import Failure
from cli.session import Session
from cli.wiring.endpoints import any_endpoint
from domain.delivery import Dispatch
from domain.ids import Ids
from domain.recorded import DELIVERY, EVENTS, SIGNALS, Checkpoint, Recorded
from infra.log.log import JetStreamLog
from processes.port import Poison

STREAMS = (EVENTS, DELIVERY)
"""What `msgxc events` reads: the facts, and what became of them."""
SHOWN = (*STREAMS, SIGNALS)
"""What `msgxc events show` reads: a device's signals too."""

KINDS = "thread:TID, contact:UID, client:APP/ID, EVENTS:POSITION"

BATCH = 500
FACTS_OF_ONE_MAX = 10_000
WINDOW = 1_000
"""Facts looked at backwards at a time, for the last ones of a topic."""

Fact = Recorded | Poison


@asynccontextmanager
async def reading(session: Session) -> AsyncIterator[JetStreamLog]:
    async with any_endpoint(session, name="msgxc events") as endpoint, opened_log(session, endpoint) as log:
        yield log


def matching(topics: Sequence[str]) -> Callable[[Fact], bool]:
    """Whether a fact has one of the topics, or begins with one that ends in a dot or names a word (`message`)."""

    def matches(fact: Fact) -> bool:
        topic = fact.topic if isinstance(fact, Recorded) else ""
        return not topics or any(
            topic == wanted or topic.startswith(wanted.rstrip(".") + ".") for wanted in topics
        )

    return matches


async def read_range(
    log: JetStreamLog, stream: str, *, after: int, until: int, subjects: Sequence[str] = ()
) -> AsyncIterator[list[Fact]]:
    """Every fact after a position up to another one, in batches. With subjects, one of them is there, or later."""
    if until <= after:
        return
    start = Checkpoint(stream, after, await log.epoch(stream))
    facts = log.follow(stream, start, subjects=subjects, batch=BATCH)
    try:
        async for batch in facts:
            wanted = [fact for fact in batch if fact.position <= until]
            yield wanted
            if batch[-1].position >= until:
                return
    finally:
        await facts.aclose()


async def last_facts(
    log: JetStreamLog, stream: str, count: int, matches: Callable[[Fact], bool]
) -> list[Fact]:
    """The newest facts that match, oldest first."""
    found: list[Fact] = []
    until = await log.end(stream)
    window = count
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


async def story(log: JetStreamLog, ids: Ids, what: str, realm: str) -> list[Fact]:
    """All facts about what is named: STREAM:POSITION, thread:TID, contact:UID, client:APP/ID, or an id as in subjects.

    In the order of their times, since several streams have them.
    """
    kind, colon, name = what.partition(":")
    if colon and kind.upper() in SHOWN:
        if not name.isdigit() or not int(name):
            raise Failure(f"{what}: write {kind.upper()}:POSITION with a number from 1")
        position = int(name)
        if position > (end := await log.end(kind.upper())):
            raise Failure(f"{what}: {kind.upper()} ends at {end}")
        return [f async for b in read_range(log, kind.upper(), after=position - 1, until=position) for f in b]
    id = _id(ids, kind, name, realm) if colon else _uuid(what)
    facts = list(await log.read(EVENTS, f"evt.*.*.{id.hex}", limit=FACTS_OF_ONE_MAX))
    signals = await log.read(SIGNALS, f"signal.*.*.{id.hex}", limit=FACTS_OF_ONE_MAX)
    return sorted([*facts, *signals, *await _deliveries(log, id)], key=moment)


def moment(fact: Fact) -> tuple[str, int]:
    """Facts of several streams by their time; within one stream the position decides."""
    at = getattr(fact, "at", None)
    return (at.isoformat() if at else "", fact.position)


async def _deliveries(log: JetStreamLog, message: UUID) -> list[Fact]:
    """A message's way to its audience, in the order of the stream."""
    subjects = [f"audience.{message.hex}.>", f"dispatch.*.*.{message.hex}.>", f"receipt.*.{message.hex}"]
    pages = [await log.read(DELIVERY, subject, limit=FACTS_OF_ONE_MAX) for subject in subjects]
    for fact in pages[1]:
        assert isinstance(fact.body, Dispatch)
        for kind in ("attempt", "outcome"):
            subject = f"{kind}.{fact.body.channel}.{fact.body.id}"
            pages.append(await log.read(DELIVERY, subject, limit=FACTS_OF_ONE_MAX))
    return sorted((fact for page in pages for fact in page), key=lambda fact: fact.position)


def _id(ids: Ids, kind: str, name: str, realm: str) -> UUID:
    match kind:
        case "thread":
            return ids.thread(realm, name)
        case "contact":
            return ids.contact(realm, name)
        case "client" if "/" in name:
            code, _, client_id = name.partition("/")
            return ids.client(realm, code, client_id)
        case _:
            raise Failure(f"{kind}:{name}: write {KINDS} or an id")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Failure(f"{text} is no id: write 32 hex digits, {KINDS}") from None
