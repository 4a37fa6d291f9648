"""Who gets a message: the audience as of the position that made it due, in pages of contacts."""

from __future__ import annotations

from typing import assert_never

import msgspec

from domain.message import Audience, ToContacts, ToEveryone, ToThread
from domain.routing import Person
from projections import contacts, reach, threads
from projections.port import ReadModels

PAGE_CONTACTS = 400
"""Contacts decided on together; with an address or so each, their dispatches stay within one page of 500."""


class AudienceSlice(msgspec.Struct, frozen=True):
    """cursor: where the next slice starts, None on the last one."""

    people: list[Person]
    cursor: str | None


async def slice_of(
    models: ReadModels, realm: str, audience: Audience, *, as_of: int, cursor: str | None
) -> AudienceSlice:
    """The next contacts of an audience. The read models must have passed `as_of`."""
    match audience:
        case ToThread(thread=thread):
            rows, after = await threads.members(
                models, realm, thread, as_of=as_of, cursor=cursor, limit=PAGE_CONTACTS
            )
            prefer = {row["contact"]: threads.member_channels(row) for row in rows}
            people = await reach.people(models, realm, list(prefer), thread_channels=prefer)
            return AudienceSlice(people, after)
        case ToContacts(contacts=named):
            start = int(cursor or "0")
            page = named[start : start + PAGE_CONTACTS]
            end = start + len(page)
            people = await reach.people(models, realm, page)
            return AudienceSlice(people, str(end) if end < len(named) else None)
        case ToEveryone():
            rows, after = await contacts.everyone(
                models, realm, as_of=as_of, cursor=cursor, limit=PAGE_CONTACTS
            )
            people = await reach.people(models, realm, [row["contact"] for row in rows])
            return AudienceSlice(people, after)
        case _:
            assert_never(audience)
