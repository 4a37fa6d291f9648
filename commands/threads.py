"""Commands on threads and on who is subscribed to them."""

from __future__ import annotations

from uuid import UUID

import msgspec

from commands.scope import Scope
from domain.contact import Contact
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.subscription import Subscription
from domain.text.nesting import assert_shallow
from domain.thread import Settings, Thread

TID_MAX = 128
"""Characters of a thread's outside id."""


class OpenThread(msgspec.Struct, frozen=True, kw_only=True):
    """tid "" lets the exchange choose one."""

    settings: Settings
    tid: str = ""


class ChangeThread(msgspec.Struct, frozen=True, kw_only=True):
    tid: str
    settings: Settings


class CloseThread(msgspec.Struct, frozen=True, kw_only=True):
    tid: str


class Subscribe(msgspec.Struct, frozen=True, kw_only=True):
    """channels: preferences for this thread; UNSET leaves them as they are."""

    tid: str
    uid: str
    channels: tuple[str, ...] | None | msgspec.UnsetType = msgspec.UNSET


class Unsubscribe(msgspec.Struct, frozen=True, kw_only=True):
    tid: str
    uid: str


class Opened(msgspec.Struct, frozen=True):
    tid: str
    thread: UUID


class Joined(msgspec.Struct, frozen=True):
    """granted: whatever becomes of the thread's settings."""

    thread: UUID
    granted: bool


async def open_thread(command: OpenThread, scope: Scope) -> Opened:
    tid = command.tid or scope.nonce()
    if not 1 <= len(tid) <= TID_MAX or not tid.isprintable():
        raise Invalid(f"use 1 to {TID_MAX} printable characters", field="tid")
    if tid in (".", ".."):
        raise Invalid("a tid is a part of addresses, where these mean something else", field="tid")
    settings = command.settings
    assert_shallow(settings.defaults, field="ddata")
    if scope.caller and not settings.owner:
        settings = msgspec.structs.replace(settings, owner=scope.caller.uid)
    id = scope.ids.thread(scope.realm, tid)
    thread, opened = await scope.load(Thread, id), Opened(tid, id)
    if thread is None:
        thread = Thread.open(id=id, at=scope.now, tid=tid, settings=settings)
    elif thread.closed or thread.settings != settings:
        said = f"a thread with the tid {tid!r} was opened before, with other settings, or is closed"
        raise Conflict(f"{said}; change that one, or use another tid", field="tid")
    await scope.save(thread, answer=opened)
    return opened


async def change_thread(command: ChangeThread, scope: Scope) -> None:
    thread = await _thread_run_by_caller(command.tid, scope)
    settings = command.settings
    assert_shallow(settings.defaults, field="ddata")
    if not settings.owner:
        settings = msgspec.structs.replace(settings, owner=thread.settings.owner)
    thread.change(at=scope.now, settings=settings)
    await scope.save(thread)


async def close_thread(command: CloseThread, scope: Scope) -> None:
    thread = await _thread_run_by_caller(command.tid, scope)
    thread.close(at=scope.now)
    await scope.save(thread)


async def subscribe(command: Subscribe, scope: Scope) -> Joined:
    granted = scope.caller is None or scope.caller.is_admin
    thread = await _thread(command.tid, scope)
    contact = scope.ids.contact(scope.realm, command.uid)
    id = scope.ids.subscription(scope.realm, thread.id, contact)
    subscription = await scope.load(Subscription, id)
    _assert_may_subscribe(thread, subscription, command.uid, scope)
    known = await scope.load(Contact, contact)
    if known is not None and known.erased:
        raise _erased()
    person = known or Contact.create(id=contact, at=scope.now, uid=command.uid)
    if subscription is None:
        subscription = Subscription.start(
            id=id,
            at=scope.now,
            thread=thread.id,
            contact=contact,
            tid=thread.tid,
            uid=command.uid,
            granted=granted,
        )
    else:
        subscription.resume(at=scope.now, granted=granted)
    if command.channels is not msgspec.UNSET:
        subscription.prefer(at=scope.now, channels=command.channels)
    position = await scope.save(person, subscription)
    if position and known is not None:
        await _assert_not_erased_meanwhile(subscription, scope)
    return Joined(thread.id, granted=bool(subscription.granted))


async def _assert_not_erased_meanwhile(subscription: Subscription, scope: Scope) -> None:
    """An erasure ends once what there is: what begins after that, by an earlier look at the contact, ends here."""
    person = await scope.load_from_leader(Contact, subscription.contact)
    if person is not None and person.erased:
        subscription.end(at=scope.now)
        await scope.store.save(subscription, context=scope.context)
        raise _erased()


async def unsubscribe(command: Unsubscribe, scope: Scope) -> None:
    """Leaving is always allowed; leaving what one never joined changes nothing, and tells nobody that it is there."""
    thread = scope.ids.thread(scope.realm, command.tid)
    contact = scope.ids.contact(scope.realm, command.uid)
    subscription = await scope.load(Subscription, scope.ids.subscription(scope.realm, thread, contact))
    if subscription is None:
        found = await _thread(command.tid, scope)
        if scope.caller is not None and not found.may_see(scope.caller):
            raise _no_thread(command.tid)
        if scope.claim is not None:
            # A twin that comes after they have joined must not end that.
            await scope.save()
        return
    subscription.end(at=scope.now)
    await scope.save(subscription)


def _assert_may_subscribe(thread: Thread, subscription: Subscription | None, uid: str, scope: Scope) -> None:
    caller = scope.caller
    subscribed = bool(subscription and subscription.holds(thread.settings))
    if caller is None or thread.may_subscribe(caller) or (subscribed and uid == caller.uid):
        return
    if thread.may_see(caller, subscribed=subscribed):
        raise Forbidden("this thread is not open for subscription")
    raise _no_thread(thread.tid)


async def _thread(tid: str, scope: Scope) -> Thread:
    thread = await scope.load(Thread, scope.ids.thread(scope.realm, tid))
    if thread is None or thread.closed:
        raise _no_thread(tid)
    return thread


async def _thread_run_by_caller(tid: str, scope: Scope) -> Thread:
    thread = await _thread(tid, scope)
    if scope.caller is None or thread.is_run_by(scope.caller):
        return thread
    contact = scope.ids.contact(scope.realm, scope.caller.uid)
    own = await scope.load(Subscription, scope.ids.subscription(scope.realm, thread.id, contact))
    if thread.may_see(scope.caller, subscribed=bool(own and own.holds(thread.settings))):
        raise Forbidden("only the thread's owner and admins may change it")
    raise _no_thread(tid)


def _erased() -> Conflict:
    return Conflict("this contact was erased for good; use another uid", field="uid")


def _no_thread(tid: str) -> NotFound:
    """Said of one that the caller may not see in the same words: nobody learns that it is there."""
    return NotFound(f"no thread has the tid {tid!r}", field="tid")
