"""What the reading routes share: pages with cursors, and whether a caller may see a thread or message.

The rules themselves are domain.thread's; here they are asked of the read models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from api import cursor
from api.route import Call
from domain.errors import Forbidden, NotFound
from domain.thread import Settings
from projections import messages, threads
from projections.port import Row

LIMIT_MAX = 500
"""Items of one page: what a store reads in one round trip."""


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """cursor: `next` of the page before."""

    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = 100


@dataclass(frozen=True, slots=True)
class Place[T]:
    """Where a page begins, and how the next one is named."""

    after: T | None
    next: Callable[[T | None], str | None]


def place_of[T, P: Paging](call: Call[Any, P], query: str, type: type[T]) -> Place[T]:
    """Raises Invalid for a cursor of something else."""
    ids, given = call.parts.ids, call.query.cursor
    after = None if given is None else cursor.take(ids, given, query, type)
    return Place(after, lambda place: None if place is None else cursor.give(ids, query, place))


@dataclass(frozen=True, slots=True)
class SeenThread:
    """A thread as the read models have it, whether the caller is subscribed, and whether an admin granted that."""

    settings: Settings
    row: Row
    subscribed: bool
    granted: bool = False


async def thread_for(call: Call[Any, Any], tid: str) -> SeenThread:
    """Raises NotFound when there is none that the caller may know of."""
    parts, caller = call.parts, call.caller
    id = parts.ids.thread(caller.realm, tid)
    row = await threads.find(parts.models, caller.realm, id)
    if not threads.is_open(row):
        raise NotFound(f"no thread has the tid {tid!r}", field="tid")
    contact = parts.ids.contact(caller.realm, caller.uid)
    own = await threads.membership(parts.models, caller.realm, id, contact)
    settings = threads.settings_of(row)
    subscribed = own is not None and threads.membership_holds(own, settings)
    seen = SeenThread(settings, row, subscribed, granted=bool(own and own["granted"]))
    if not settings.may_see(caller, subscribed=subscribed):
        raise NotFound(f"no thread has the tid {tid!r}", field="tid")
    return seen


async def thread_run_by_caller(call: Call[Any, Any], tid: str) -> SeenThread:
    """Raises NotFound, or Forbidden when the caller may see the thread but does not run it."""
    seen = await thread_for(call, tid)
    if not seen.settings.is_run_by(call.caller):
        raise Forbidden("only the thread's owner and admins may read this")
    return seen


async def message_for(call: Call[Any, Any], text: str) -> Row:
    """A message that the caller may read: its sender, the thread's owner and admins. Raises NotFound."""
    parts, caller = call.parts, call.caller
    nothing = NotFound("no message has this id, or none that you may read", field="mid")
    try:
        mid = UUID(text)
    except ValueError:
        raise nothing from None
    row = await messages.find(parts.models, caller.realm, mid)
    if row is None:
        raise nothing
    if caller.is_admin or row["sender"] == caller.uid:
        return row
    owner = await threads.find(parts.models, caller.realm, row["thread"]) if row["thread"] else None
    if owner is None or not threads.settings_of(owner).is_run_by(caller):
        raise nothing
    return row


def uid_of(contact: UUID, uids: Mapping[UUID, str]) -> str:
    """The uid; the contact's id stands for one that is erased."""
    return uids.get(contact, contact.hex)
