"""Contact resolution: who was identified, or came unknown, gets the number that the contact data has for them.

Three kinds of changes, one way: a contact field's value said by an app (identified), the same without an app
(appless), and a new contact of whom only the client is known (anonymous). The answer is written by a command that is
guarded by the change's own position. What can't be had or written in time becomes a schedule, with growing delays, and
after a day of tries goes to TRIAGE; nothing waits here, and nothing personal is in a schedule.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from commands.bus import Bus
from commands.port import EventStore, VersionConflict
from commands.resolution import ResolveContact
from domain.contact import Contact
from domain.context import Context
from domain.errors import Invalid, Unavailable
from domain.people.resolution import anonymous_client, next_asking
from domain.recorded import EVENTS, SCHEDULES, Recorded
from processes.directories import Anonymous, ContactData, ContactKey, Identified
from processes.port import Log, Task
from processes.worker import Post, work

RESOLVER: Final = "contact-resolver"
CHANGES = Post(
    EVENTS,
    RESOLVER,
    ("evt.contact.>",),
    in_flight=16,
    topics=(Contact.Created.TOPIC, Contact.Identified.TOPIC),
)
DUE = Post(SCHEDULES, "expired-writer", ("due.resolution.>",), in_flight=16)

ANSWER_S_MAX: Final = 4.0
"""The contact data's, a little more than its adapter gives the service; then the change waits as a schedule."""


class End(StrEnum):
    """What became of asking for a number. LATER: it is asked again; NEEDLESS: there was nothing to ask for any more."""

    RESOLVED = "resolved"
    LATER = "later"
    GIVEN_UP = "given-up"
    NEEDLESS = "needless"


Noted = Callable[[End, float], None]
"""Told of each end, and how many seconds after the change it came. Quick."""


def _nowhere(_end: End, _seconds: float) -> None:
    """Nobody keeps figures."""


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A change whose number is not known yet. of: its position; since: when it was made; tries: made so far."""

    realm: str
    contact: UUID
    of: int
    since: datetime
    correlation: str = ""
    tries: int = 0

    @property
    def schedule(self) -> str:
        return f"resolution-{self.contact.hex}-{self.of}"

    @property
    def target(self) -> str:
        return f"due.resolution.{self.realm}.{self.contact.hex}.{self.of}"


class Resolver:
    """Deals with one change: asks, and writes; or sees to it that it is asked again."""

    def __init__(
        self,
        *,
        log: Log,
        store: EventStore,
        bus: Bus,
        data: ContactData,
        clock: Callable[[], datetime],
        note: Noted = _nowhere,
    ) -> None:
        self._log, self._store, self._bus, self._data, self._clock = log, store, bus, data, clock
        self._note = note

    async def resolve(self, asking: Asking) -> None:
        end = await self._deal_with(asking)
        self._note(end, max(0.0, (self._clock() - asking.since).total_seconds()))

    async def _deal_with(self, asking: Asking) -> End:
        contact = await self._store.load(Contact, asking.contact, fresh=True)
        if contact is None:
            raise ValueError("a change of a contact that is not there")
        key = key_of(asking.realm, contact)
        if key is None or contact.erased or contact.resolved_of >= asking.of:
            return End.NEEDLESS
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                contact_id = await self._data.resolve(key)
        except Invalid as error:
            return await self._give_up(asking, f"the contact data refuses it: {error.detail}")
        except (Unavailable, TimeoutError) as error:
            return await self._later(asking, repr(error))
        return await self._write(asking, contact_id)

    async def _write(self, asking: Asking, contact_id: int) -> End:
        context = Context(asking.realm, RESOLVER, f"{EVENTS}:{asking.of}", asking.correlation)
        command = ResolveContact(contact=asking.contact, contact_id=contact_id, of=asking.of)
        try:
            await self._bus.execute(command, context)
        except VersionConflict as error:
            return await self._later(asking, repr(error))
        return End.RESOLVED

    async def _later(self, asking: Asking, reason: str) -> End:
        tries = asking.tries + 1
        jitter = random.Random(f"{asking.schedule}-{tries}").random()  # noqa: S311  hides nothing
        due = next_asking(tries=tries, now=self._clock(), jitter=jitter)
        if due is None:
            return await self._give_up(asking, f"no answer in {tries} tries; the last: {reason}")
        await plan(self._log, msgspec.structs.replace(asking, tries=tries), due)
        return End.LATER

    async def _give_up(self, asking: Asking, reason: str) -> End:
        await self._log.triage(
            RESOLVER, asking.target, reason=reason, body=msgspec.json.encode(asking), position=asking.of
        )
        return End.GIVEN_UP


class ContactResolver:
    """Works on the changes, as they come."""

    def __init__(self, *, log: Log, resolver: Resolver) -> None:
        self._log, self._resolver = log, resolver

    async def run(self) -> None:
        await work(self._log, CHANGES, self.handle)

    async def handle(self, task: Task) -> None:
        asking = asking_of(task.fact)
        if asking is not None:
            await self._resolver.resolve(asking)


class ExpiredWriter:
    """Works on the changes that could not be dealt with in time, when they are due again."""

    def __init__(self, *, log: Log, resolver: Resolver) -> None:
        self._log, self._resolver = log, resolver

    async def run(self) -> None:
        await work(self._log, DUE, self.handle)

    async def handle(self, task: Task) -> None:
        await self._resolver.resolve(msgspec.json.decode(task.raw, type=Asking))


async def plan(log: Log, asking: Asking, due: datetime) -> None:
    """Have a change dealt with at `due`. Planned again it replaces itself."""
    await log.schedule(asking.schedule, due, target=asking.target, body=msgspec.json.encode(asking))


def asking_of(fact: Recorded) -> Asking | None:
    """What a fact has us ask, None for one that changes nothing about who somebody is."""
    match fact.body:
        case Contact.Identified():
            pass
        case Contact.Created(uid=uid) if anonymous_client(uid) is not None:
            pass
        case _:
            return None
    return Asking(
        realm=fact.realm,
        contact=fact.body.originator_id,
        of=fact.position,
        since=fact.at,
        correlation=fact.correlation,
    )


def key_of(realm: str, contact: Contact) -> ContactKey | None:
    """What the contact data knows the contact by: what its app or merchant said last; None where nobody ever did."""
    if contact.identity is not None:
        field, value, encrypted = contact.identity
        return Identified(merchant=realm, field=field, value=value, encrypted=encrypted)
    if anonymous_client(contact.uid) is not None:
        return Anonymous(merchant=realm, reference=contact.id.hex)
    return None
