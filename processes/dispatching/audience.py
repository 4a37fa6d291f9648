"""Who gets a message: the audience as of the position that made it due, in pages of contacts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import assert_never
from uuid import UUID

import msgspec

from domain.deliveries.routing import Channels, Person, route
from domain.message import Audience, Message, ToApp, ToContacts, ToEveryone, ToThread
from projections import app_clients, contacts, reach, threads
from projections.port import ReadModels, Row

PAGE_CONTACTS = 400
"""Contacts decided on together; with an address or so each, their dispatches stay within one page of 500."""


class AudienceSlice(msgspec.Struct, frozen=True):
    """cursor: where the next slice starts, None on the last one."""

    people: list[Person]
    cursor: str | None


async def slices_of(
    models: ReadModels, realm: str, audience: Audience, *, as_of: int, cursor: str | None, app: str = ""
) -> AsyncGenerator[AudienceSlice]:
    """The contacts of an audience after a cursor; at least one slice. The read models must have passed `as_of`.

    app: the app that sends, if one does.
    """
    match audience:
        case ToThread(thread=thread):
            members = threads.all_members(models, realm, thread, cursor=cursor, chunk=PAGE_CONTACTS)
            door = await threads.door_at(models, realm, thread, as_of)
            pages = _pages(members, door.holds, threads.member_cursor)
            async for rows, after in pages:
                prefer = {row["contact"]: threads.member_channels(row) for row in rows}
                people = await reach.people(models, realm, list(prefer), thread_channels=prefer)
                yield AudienceSlice(people, after)
        case ToContacts(contacts=named):
            for start in range(int(cursor or "0"), max(len(named), 1), PAGE_CONTACTS):
                end = start + PAGE_CONTACTS
                people = await reach.people(models, realm, named[start:end])
                yield AudienceSlice(people, str(end) if end < len(named) else None)
        case ToEveryone():
            everyone = contacts.everyone(models, realm, cursor=cursor, chunk=PAGE_CONTACTS)
            async for rows, after in _pages(
                everyone, lambda row: contacts.existed(row, as_of), contacts.cursor_of
            ):
                people = await reach.people(models, realm, [row["contact"] for row in rows])
                yield AudienceSlice(people, after)
        case ToApp():
            changes = app_clients.members(models, realm, app, cursor=cursor, chunk=PAGE_CONTACTS)
            async for clients, after in _pages_by_contact(changes, as_of):
                people = await reach.people(models, realm, list(clients), clients_of=clients)
                yield AudienceSlice(people, after)
        case _:
            assert_never(audience)


async def is_shown_to(models: ReadModels, realm: str, message: Message, contact: UUID, *, as_of: int) -> bool:
    """Whether open sockets of this contact show the message: what its audience page says, or will say.

    The frame may be there before the page. The read models must have passed `as_of`.
    """
    person = await _person(models, realm, message.audience, contact, as_of)
    return person is not None and route(person, message.channels, message.app).websocket


async def _person(
    models: ReadModels, realm: str, audience: Audience, contact: UUID, as_of: int
) -> Person | None:
    prefer: dict[UUID, Channels] = {}
    match audience:
        case ToThread(thread=thread):
            member = await threads.member_at(models, realm, thread, contact, as_of)
            belongs = member is not None
            if member is not None:
                prefer[contact] = threads.member_channels(member)
        case ToContacts(contacts=named):
            belongs = contact in named
        case ToEveryone():
            row = await contacts.find(models, realm, contact)
            belongs = row is not None and contacts.existed(row, as_of)
        case ToApp():
            belongs = False
        case _:
            assert_never(audience)
    if not belongs:
        return None
    [person] = await reach.people(models, realm, [contact], thread_channels=prefer)
    return person


async def _pages(
    rows: AsyncGenerator[Row], belongs: Callable[[Row], bool], cursor_of: Callable[[Row], str]
) -> AsyncGenerator[tuple[list[Row], str | None]]:
    """Rows that belong, a page at a time, each with the cursor after it; the last one, perhaps empty, with None."""
    page: list[Row] = []
    async with contextlib.aclosing(rows):
        async for row in rows:
            if not belongs(row):
                continue
            if len(page) == PAGE_CONTACTS:
                yield page, cursor_of(page[-1])
                page = []
            page.append(row)
    yield page, None


async def _pages_by_contact(
    rows: AsyncGenerator[Row], as_of: int
) -> AsyncGenerator[tuple[dict[UUID, frozenset[UUID]], str | None]]:
    """Contacts with their clients at a position, a page at a time; else as `_pages`.

    rows: the changes, in the order of their contacts.
    """
    page: dict[UUID, frozenset[UUID]] = {}
    last: Row | None = None
    async with contextlib.aclosing(_by_contact(rows)) as groups:
        async for group in groups:
            clients = app_clients.there_at(group, as_of)
            if not clients:
                continue
            if len(page) == PAGE_CONTACTS:
                assert last is not None
                yield page, app_clients.cursor_of(last)
                page = {}
            page[group[0]["contact"]], last = clients, group[-1]
    yield page, None


async def _by_contact(rows: AsyncGenerator[Row]) -> AsyncGenerator[list[Row]]:
    group: list[Row] = []
    async with contextlib.aclosing(rows):
        async for row in rows:
            if group and row["contact"] != group[0]["contact"]:
                yield group
                group = []
            group.append(row)
    if group:
        yield group
