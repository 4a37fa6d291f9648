"""Turns an accepted message into pages of work: who gets it, on which channels, and the dispatches for the gateways.

A page is written once (expected sequence 0, first content wins); after a crash the last audience page says where to go
on. It never sends, never waits for a provider, and shows nothing on sockets (see feeding/feeder.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from commands.bus import Bus
from commands.messaging import NoteDispatched
from commands.port import EventStore, KeyStore, VersionConflict
from domain.context import Context
from domain.deliveries.delivery import (
    PAGE_SIZE,
    AudienceEntry,
    AudiencePage,
    Dispatch,
    Lane,
    Recipient,
    Sealed,
)
from domain.deliveries.routing import Address, Decision, route
from domain.message import Content, Message
from domain.recorded import DELIVERY, EVENTS, Recorded
from processes.ahead import ahead
from processes.dispatching.audience import AudienceSlice, slices_of
from processes.dispatching.due import is_due, message_due
from processes.models.watermark import Watermark
from processes.port import Append, Log, Task
from processes.sealing import day_key, seal
from processes.worker import Post, work
from projections.catalogue import AUDIENCE
from projections.port import ReadModels

POST = Post(
    EVENTS,
    "dispatcher",
    ("evt.message.>",),
    in_flight=64,  # Most of them wait, for read models or the log: enough for hundreds of messages a second.
    topics=(Message.Accepted.TOPIC, Message.Due.TOPIC),
)

WALKS_MAX = 16
"""Audiences walked at once, each with two pages of people in memory; the other messages in flight wait their turn."""

ADDRESS_BYTES_MAX = 400_000
"""Of one dispatch: with the largest content, in base64, it stays under 1 MiB, what a stock NATS server takes."""
PAGES_MAX = 1_000_000
"""Pages of one message: four hundred million contacts."""


class Tally(msgspec.Struct):
    """What a message's pages add up to."""

    pages: int = 0
    contacts: int = 0
    sends: int = 0
    suppressed: int = 0

    def add(self, page: AudiencePage) -> None:
        self.pages += 1
        self.contacts += len(page.entries)
        self.sends += page.sends
        self.suppressed += sum(1 for entry in page.entries if entry.suppressed)


class Dispatcher:
    """One of any number of processes that share the work."""

    def __init__(
        self,
        *,
        log: Log,
        store: EventStore,
        keys: KeyStore,
        bus: Bus,
        models: ReadModels,
        watermark: Watermark,
        clock: Callable[[], datetime],
    ) -> None:
        self._log, self._store, self._keys, self._bus = log, store, keys, bus
        self._models, self._watermark, self._clock = models, watermark, clock
        self._walks = asyncio.Semaphore(WALKS_MAX)

    async def run(self) -> None:
        await work(self._log, POST, self.handle)

    async def handle(self, task: Task) -> None:
        """Dispatch the message if this fact makes it due."""
        fact = task.fact
        if not is_due(fact):
            return
        message = await message_due(fact, self._store)
        if message is None or message.cancelled or message.content is None:
            return
        await self._dispatch(message, fact, resumed=task.deliveries > 1)

    async def _dispatch(self, message: Message, fact: Recorded, *, resumed: bool) -> None:
        await self._watermark.passed(AUDIENCE, EVENTS, fact.position)
        tally, last = await self._resume(message.id) if resumed else (Tally(), None)
        async with self._walks:
            while last is None or last.cursor is not None:
                last = await self._write_on(message, fact, tally, last.cursor if last else None)
                assert last is not None, "an audience has at least one slice"
        await self._bus.execute(
            NoteDispatched(
                message=message.id,
                pages=tally.pages,
                contacts=tally.contacts,
                sends=tally.sends,
                suppressed=tally.suppressed,
            ),
            Context(fact.realm, "dispatcher", f"{EVENTS}:{fact.position}", fact.correlation),
        )

    async def _resume(self, message: UUID) -> tuple[Tally, AudiencePage | None]:
        """What earlier work on this message has written, and its last page."""
        tally, last = Tally(), None
        subject = f"audience.{message.hex}.*"
        if await self._log.last(DELIVERY, subject) is not None:
            for written in await self._log.read(DELIVERY, subject, limit=PAGES_MAX):
                assert isinstance(written.body, AudiencePage)
                last = written.body
                tally.add(last)
        return tally, last

    async def _write_on(
        self, message: Message, fact: Recorded, tally: Tally, cursor: str | None
    ) -> AudiencePage | None:
        """Write pages from a cursor on, as far as they are ours; the last one that stands."""
        page: AudiencePage | None = None
        slices = slices_of(
            self._models, fact.realm, message.audience, as_of=fact.position, cursor=cursor, app=message.app
        )
        async with contextlib.aclosing(ahead(slices, lambda part: part.cursor is not None)) as parts:
            async for part in parts:
                page = await self._write_page(message, fact, tally.pages, part)
                tally.add(page)
                if page.cursor != part.cursor:
                    # A faster dispatcher's page: what follows starts where that one ended.
                    break
        return page

    async def _write_page(
        self, message: Message, fact: Recorded, number: int, part: AudienceSlice
    ) -> AudiencePage:
        """Decide on a slice's contacts and write the page; the page that stands, ours or a faster dispatcher's."""
        decisions = [route(person, message.channels, message.app) for person in part.people]
        page = AudiencePage(
            realm=fact.realm,
            message=message.id,
            page=number,
            as_of=fact.position,
            entries=tuple(AudienceEntry(d.contact, d.channels, d.suppressed, d.left_out) for d in decisions),
            sends=sum(len(decision.addresses) for decision in decisions),
            cursor=part.cursor,
        )
        lane: Lane = "live" if number == 0 and part.cursor is None else "bulk"
        dispatches = [
            await self._seal(message, fact, channel, lane, token, chunk)
            for channel, token, chunk in _chunks(number, decisions)
        ]
        subject = f"audience.{message.id.hex}.{number}"
        appends = [Append(subject, page, 0, fact.correlation)]
        appends += [Append(d.subject, d, 0, fact.correlation) for d in dispatches]
        try:
            await self._log.append(*appends)
        except VersionConflict:
            written = await self._log.last(DELIVERY, subject)
            if written is None:
                raise
            assert isinstance(written.body, AudiencePage)
            return written.body
        return page

    async def _seal(
        self,
        message: Message,
        fact: Recorded,
        channel: str,
        lane: Lane,
        page: str,
        chunk: Sequence[tuple[UUID, Address]],
    ) -> Dispatch:
        name = day_key(self._clock())
        dispatch = Dispatch(
            realm=fact.realm,
            message=message.id,
            channel=channel,
            lane=lane,
            page=page,
            attempt=1,
            tid=message.tid,
            sender=message.sender,
            urgency=message.urgency,
            accepted_at=fact.at,
            expires_at=message.expires_at,
            recipients=tuple(Recipient(contact, address.client, address.token) for contact, address in chunk),
            key=name,
            sealed=b"",
            correlation=fact.correlation,
            app=message.app,
        )
        hidden = Sealed(_content(message), tuple(address.address for _, address in chunk))
        blob = await seal(self._keys, name, hidden, bound_to=dispatch.id)
        return msgspec.structs.replace(dispatch, sealed=blob)


def _content(message: Message) -> Content:
    assert message.content is not None
    return message.content


def _chunks(page: int, decisions: Sequence[Decision]) -> list[tuple[str, str, list[tuple[UUID, Address]]]]:
    """(channel, page token, recipients) for each dispatch of a page, within PAGE_SIZE and ADDRESS_BYTES_MAX."""
    by_channel: dict[str, list[list[tuple[UUID, Address]]]] = {}
    room: dict[str, int] = {}
    for decision in decisions:
        for address in decision.addresses:
            chunks, size = by_channel.setdefault(address.channel, []), len(address.address)
            if not chunks or len(chunks[-1]) == PAGE_SIZE or room[address.channel] < size:
                chunks.append([])
                room[address.channel] = ADDRESS_BYTES_MAX
            chunks[-1].append((decision.contact, address))
            room[address.channel] -= size
    return [
        (channel, f"{page}x{number}" if number else str(page), chunk)
        for channel, chunks in by_channel.items()
        for number, chunk in enumerate(chunks)
    ]
