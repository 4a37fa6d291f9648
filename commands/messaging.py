"""Commands that accept messages, start scheduled ones, and record how they went."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from commands.port import VersionConflict
from commands.scope import Scope, assert_same
from domain.contact import Contact
from domain.deliveries.channel import APP_CHANNELS
from domain.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from domain.message import (
    TTL_S_MAX,
    URGENCIES,
    Audience,
    Content,
    Message,
    ToApp,
    ToContacts,
    ToEveryone,
    ToThread,
)
from domain.notifications.push import assert_valid, push_of
from domain.subscription import Subscription
from domain.text.nesting import assert_shallow
from domain.thread import Settings, Thread

TTL_S_DEFAULT = 86_400
"""The original's 24 hours."""
TTLS_KNOWN_MAX = 1_000
"""Times to live that are remembered; few senders have one of their own."""
TEXT_MIN = 2
"""Characters; the contract's own bound."""
TEXT_OF_APP_MIN = 1
"""A push notification of an app or web domain may be that short."""
CONTACTS_MAX = 10_000
"""Contacts of one multicast, so that the event stays well under a NATS message's 1 MiB."""
SCHEDULE_AHEAD_MAX = timedelta(days=366)
REFUSALS = (NotFound, Forbidden, Conflict, Invalid, TooLarge)
"""What a message may be refused with by what has changed since an equal call was taken."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What every kind of message has. urgency 1 (very low) to 4 (high), None: the thread's. ttl_s None: 24 hours."""

    text: str
    subject: str = ""
    opts: dict[str, Any] = {}
    urgency: int | None = None
    ttl_s: int | None = None
    scheduled_at: datetime | None = None
    channels: tuple[str, ...] | None = None
    parent: str | None = None


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    """To everyone subscribed to a thread."""

    tid: str
    draft: Draft


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """To one contact."""

    uid: str
    draft: Draft


class Multicast(msgspec.Struct, frozen=True, kw_only=True):
    """To many contacts by name, each once."""

    uids: tuple[str, ...]
    draft: Draft


class Broadcast(msgspec.Struct, frozen=True, kw_only=True):
    """To every contact of the realm."""

    draft: Draft


class SendToApp(msgspec.Struct, frozen=True, kw_only=True):
    """From an app or a web domain to its own clients: those of some contacts, or of everyone who has one.

    app: its code; whether there is such an app is the caller's to know, and a message of none reaches nobody.
    style: of its payloads, so that what would be too large in that form is refused. is_on: whether it sends at all.
    """

    app: str
    draft: Draft
    contacts: tuple[UUID, ...] | None = None
    style: str = ""
    is_on: bool = True


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """Stop a scheduled message. tid: must be its thread when given."""

    message: UUID
    tid: str | None = None


class FallDue(msgspec.Struct, frozen=True, kw_only=True):
    """Start a scheduled message now."""

    message: UUID
    tid: str | None = None


class NoteDispatched(msgspec.Struct, frozen=True, kw_only=True):
    message: UUID
    pages: int
    contacts: int
    sends: int
    suppressed: int


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    message: UUID
    totals: dict[str, int]


class Accepted(msgspec.Struct, frozen=True):
    """message None: the thread is switched off, so nothing was stored. position: of the event that says so."""

    message: UUID | None
    position: int = 0
    repeated: bool = False


async def publish(command: Publish, scope: Scope) -> Accepted:
    if scope.claim is None:
        return await _publish(command, scope)
    return await _as_before(_publish(command, scope), scope, near=scope.ids.thread(scope.realm, command.tid))


async def _publish(command: Publish, scope: Scope) -> Accepted:
    thread = await _thread_to_publish(command.tid, scope)
    if thread.switched_off:
        # What is dropped is not claimed, as what is refused is not; what was sent before is told all the same.
        return await _first_answer(_new_id(scope, near=thread.id), scope) or Accepted(None)
    return await _accept(command.draft, scope, audience=ToThread(thread.id), thread=thread)


async def send(command: Send, scope: Scope) -> Accepted:
    return await _as_before(_send(command, scope), scope)


async def _send(command: Send, scope: Scope) -> Accepted:
    contact = scope.ids.contact(scope.realm, command.uid)
    known = await scope.load(Contact, contact)
    if known is None or known.erased:
        raise NotFound(f"no contact has the uid {command.uid!r}", field="uid")
    return await _accept(command.draft, scope, audience=ToContacts((contact,)))


async def multicast(command: Multicast, scope: Scope) -> Accepted:
    if not 1 <= len(command.uids) <= CONTACTS_MAX:
        raise Invalid(f"give 1 to {CONTACTS_MAX:,} uids", field="uids")
    contacts = dict.fromkeys(scope.ids.contact(scope.realm, uid) for uid in command.uids)
    return await _as_before(_accept(command.draft, scope, audience=ToContacts(tuple(contacts))), scope)


async def broadcast(command: Broadcast, scope: Scope) -> Accepted:
    return await _as_before(_accept(command.draft, scope, audience=ToEveryone()), scope)


async def send_to_app(command: SendToApp, scope: Scope) -> Accepted:
    return await _as_before(_send_to_app(command, scope), scope)


async def _send_to_app(command: SendToApp, scope: Scope) -> Accepted:
    caller = scope.caller
    if caller is not None and not caller.may_send_for(command.app):
        raise Forbidden("you may not send in this app's name", field="app")
    if not command.is_on:
        raise Conflict("push is switched off for this web domain", field="code")
    assert_valid(push_of(Content(command.draft.text, opts=command.draft.opts)))
    audience: Audience = ToApp()
    if command.contacts is not None:
        if not 1 <= len(command.contacts) <= CONTACTS_MAX:
            raise Invalid(f"give 1 to {CONTACTS_MAX:,} contacts", field="contacts")
        audience = ToContacts(tuple(dict.fromkeys(command.contacts)))
    return await _accept(command.draft, scope, audience=audience, app=command.app, style=command.style)


async def cancel(command: Cancel, scope: Scope) -> None:
    message = await _own_message(command.message, command.tid, scope)
    message.cancel(at=scope.now)
    await scope.save(message)


async def fall_due(command: FallDue, scope: Scope) -> None:
    message = await _own_message(command.message, command.tid, scope)
    if message.cancelled and scope.caller is not None:
        raise Conflict("the message was cancelled")
    if message.due or await _is_taken(message, scope):
        message.fall_due(at=scope.now)
    elif scope.caller is None:
        message.cancel(at=scope.now)
    else:
        raise Conflict("the message's thread was closed, or switched off")
    await scope.save(message)


async def _is_taken(message: Message, scope: Scope) -> bool:
    """Whether the thread of a scheduled message is still one that messages are sent to."""
    if not isinstance(message.audience, ToThread):
        return True
    thread = await scope.load(Thread, message.audience.thread)
    return thread is not None and not thread.closed and not thread.switched_off


async def note_dispatched(command: NoteDispatched, scope: Scope) -> None:
    message = await _message(command.message, None, scope)
    message.note_dispatched(
        at=scope.now,
        pages=command.pages,
        contacts=command.contacts,
        sends=command.sends,
        suppressed=command.suppressed,
    )
    await scope.save(message)


async def settle(command: Settle, scope: Scope) -> None:
    message = await _message(command.message, None, scope)
    if not message.dispatched:
        # Whoever settles has heard of it from the log, which may be sooner than the process that wrote it has.
        message = await scope.load_from_leader(Message, command.message) or message
    message.settle(at=scope.now, totals=command.totals)
    await scope.save(message)


async def _as_before(
    accepting: Coroutine[Any, Any, Accepted], scope: Scope, *, near: UUID | None = None
) -> Accepted:
    """What the first of equal calls was told, though this one be refused: rights and threads may have gone since."""
    try:
        return await accepting
    except REFUSALS:
        first = await _first_answer(_new_id(scope, near=near), scope)
        if first is None:
            raise
        return first


async def _first_answer(id: UUID, scope: Scope) -> Accepted | None:
    """None where no equal call was taken before. Raises ClaimMismatch."""
    found = await scope.store.claim_of(Message, id) if scope.claim else None
    if found is None or scope.claim is None:
        return None
    assert_same(scope.claim, found[1])
    return Accepted(id, found[0], repeated=True)


async def _accept(
    draft: Draft,
    scope: Scope,
    *,
    audience: Audience,
    thread: Thread | None = None,
    app: str = "",
    style: str = "",
) -> Accepted:
    caller = scope.caller
    if caller and await scope.threads.is_erased(scope.ids.contact(scope.context.realm, caller.uid)):
        raise Conflict("this contact was erased for good; use another uid")
    message = _message_of(draft, scope, audience, thread, app, style)
    try:
        position = await scope.create(message)
    except VersionConflict:
        first = await _first_answer(message.id, scope)
        if first is None:
            raise
        return first
    return Accepted(message.id, position)


def _message_of(
    draft: Draft, scope: Scope, audience: Audience, thread: Thread | None, app: str, style: str
) -> Message:
    """What the draft comes to in this thread, or for this app. Raises Invalid or TooLarge."""
    now, settings = scope.now, thread.settings if thread else None
    ttl_s = TTL_S_DEFAULT if draft.ttl_s is None else draft.ttl_s
    _assert_valid(draft, now, ttl_s, text_min=TEXT_OF_APP_MIN if app else TEXT_MIN)
    content, channels = _content(draft, settings), _channels(draft, settings)
    if app:
        channels = tuple(name for name in APP_CHANNELS if draft.channels is None or name in draft.channels)
    scope.check(content, channels, style=style)
    # A time in the past means at once, as in the original.
    scheduled_at = draft.scheduled_at if draft.scheduled_at and draft.scheduled_at > now else None
    return Message.accept(
        id=_new_id(scope, near=thread.id if thread else None),
        at=now,
        audience=audience,
        content=content,
        sender=scope.caller.uid if scope.caller else scope.context.actor,
        tid=thread.tid if thread else None,
        channels=channels,
        urgency=draft.urgency or (settings.urgency if settings else 3),
        expires_at=(scheduled_at or now) + _seconds(ttl_s),
        scheduled_at=scheduled_at,
        parent=draft.parent,
        confidential=bool(settings and settings.confidential),
        app=app,
    )


def _new_id(scope: Scope, *, near: UUID | None) -> UUID:
    """The claim's, so that a twin of the call meets it; without a claim a fresh one. near: who shares its partition."""
    if scope.claim is None:
        return scope.ids.fresh(scope.nonce(), like=near)
    return scope.ids.message(scope.realm, f"claim|{scope.claim.scope}", thread=near)


@lru_cache(TTLS_KNOWN_MAX)
def _seconds(number: int) -> timedelta:
    """Hot path: most messages live for one of a few times, and to look one up takes a tenth of making it."""
    return timedelta(seconds=number)


async def _thread_to_publish(tid: str, scope: Scope) -> Thread:
    thread = await scope.threads.thread(scope.ids.thread(scope.context.realm, tid))
    if thread is None or thread.closed:
        raise NotFound(f"no thread has the tid {tid!r}", field="tid")
    caller = scope.caller
    if caller is None or thread.may_publish(caller):
        return thread
    contact = scope.ids.contact(scope.realm, caller.uid)
    subscription = await scope.load(Subscription, scope.ids.subscription(scope.realm, thread.id, contact))
    if thread.may_see(caller, subscribed=bool(subscription and subscription.holds(thread.settings))):
        raise Forbidden("you may read this thread, but not publish to it")
    raise NotFound(f"no thread has the tid {tid!r}", field="tid")


async def _own_message(id: UUID, tid: str | None, scope: Scope) -> Message:
    """One that a caller names by its id, which says nothing of its realm: another's is none."""
    message = await _message(id, tid, scope)
    if not await scope.is_of_realm(message):
        raise NotFound("no such message", field="mid")
    return message


async def _message(id: UUID, tid: str | None, scope: Scope) -> Message:
    message = await scope.load(Message, id)
    if message is None or (tid is not None and message.tid != tid):
        raise NotFound("no such message" + (" in this thread" if tid else ""), field="mid")
    return message


def _content(draft: Draft, settings: Settings | None) -> Content:
    if settings is None:
        return Content(draft.text, draft.subject, draft.opts)
    return Content(
        draft.text, draft.subject or settings.name or settings.alias, draft.opts or settings.defaults
    )


def _channels(draft: Draft, settings: Settings | None) -> tuple[str, ...] | None:
    allowed = settings.channels if settings else None
    if draft.channels is None or allowed is None:
        return draft.channels if allowed is None else allowed
    return tuple(channel for channel in draft.channels if channel in allowed)


def _assert_valid(draft: Draft, now: datetime, ttl_s: int, *, text_min: int) -> None:
    if len(draft.text) < text_min:
        raise Invalid(f"write at least {text_min} characters", field="msg")
    if draft.opts:
        assert_shallow(draft.opts, field="opts")
    if draft.urgency is not None and draft.urgency not in URGENCIES:
        raise Invalid("urgency goes from 1 (very low) to 4 (high)", field="opts.urgency")
    if not 0 <= ttl_s <= TTL_S_MAX:
        raise Invalid(f"ttl is in seconds, 0 to {TTL_S_MAX:,}", field="opts.ttl")
    if draft.scheduled_at and draft.scheduled_at.tzinfo is None:
        raise Invalid("scheduled needs a time zone, such as 2027-01-31T09:00:00Z", field="scheduled")
    if draft.scheduled_at and draft.scheduled_at > now + SCHEDULE_AHEAD_MAX:
        raise Invalid("scheduled can be at most 366 days ahead", field="scheduled")
