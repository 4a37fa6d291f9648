"""Who is at the other end of an open connection, until when, and by what right it follows each thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from api.access.auth import Identity
from api.parts import Parts
from api.sockets.follower import Connection, Follower
from api.sockets.hub import Hub
from api.sockets.wire import Encoding
from domain.context import Caller
from domain.errors import Forbidden, Unavailable
from domain.recorded import EVENTS
from domain.subscription import Subscription
from domain.thread import Settings, Thread
from processes.feeding.feed import contact_subject, system_thread, thread_subject
from projections import threads

TOKEN_ENDED = 4401
"""Close code: the token has expired or is not valid any more."""
REVOKED = 4403
"""Close code: the contact was erased."""


class Wanted(NamedTuple):
    """A thread that the caller is subscribed to. granted: by an admin, so that its settings don't matter."""

    tid: str
    thread: UUID
    granted: bool


@dataclass(slots=True)
class ShutOut:
    """A thread that was let go of since its settings let the caller in no more.

    since: the position of EVENTS from which they do again, None: they don't. is_tried: it is about to be followed.
    """

    one: Wanted
    since: int | None = None
    is_tried: bool = False


class Session:
    """follows_all: threads that the contact subscribes to later are followed by themselves.

    on_revoked: called with the tid of a thread that may not be followed any more; on_restored: of one that was let go
    of and is followed again. shut_out: by their subjects.
    """

    def __init__(
        self,
        parts: Parts,
        hub: Hub,
        connection: Connection,
        encoding: Encoding,
        *,
        follows_all: bool = False,
        on_revoked: Callable[[str], None],
        on_restored: Callable[[str], None],
    ) -> None:
        self._parts, self._hub = parts, hub
        self.follower = Follower(connection, encoding)
        self.identity: Identity | None = None
        self.token = ""
        self.threads: dict[str, Wanted] = {}
        self.shut_out: dict[str, ShutOut] = {}
        self.follows_all, self.on_revoked, self._on_restored = follows_all, on_revoked, on_restored
        self._expiry: asyncio.TimerHandle | None = None

    async def identify(self, token: str) -> Identity:
        """Make the token's caller the one at the other end; a later token of theirs renews the time.

        Begins to follow what is sent to them by name and to everyone. Raises Unauthenticated, Forbidden for somebody
        else's token, Unavailable.
        """
        identity = self._parts.verifier.verify(token)
        if self.identity is None:
            self._take(identity, token)
            try:
                await self._hub.follow(self.follower, self._own_subjects())
            except BaseException:
                self.identity = None
                raise
            return identity
        before, now = self.identity.caller, identity.caller
        if (before.realm, before.uid) != (now.realm, now.uid):
            raise Forbidden("this socket belongs to another contact; open one of your own", field="jwt")
        self._take(identity, token)
        return identity

    async def begin(
        self,
        token: str,
        wanted: Sequence[Wanted],
        *,
        after: int | None,
        greet: Callable[[int], None],
    ) -> None:
        """Identify and follow in one step, so that what was missed comes in one order. Raises as both."""
        self._take(self._parts.verifier.verify(token), token)
        subjects = await self._note(wanted)
        start = after

        def greeted(head: int) -> None:
            nonlocal start
            start = head if after is None else after
            greet(head)

        await self._hub.follow(self.follower, [*self._own_subjects(), *subjects], after=after, greet=greeted)
        await self._confirm(wanted, are_all=self.follows_all, after=start)

    async def follow(
        self, one: Wanted, *, after: int | None = None, greet: Callable[[int], None] | None = None
    ) -> None:
        """Follow a thread, if the caller is subscribed and it lets them be. Raises as Hub.follow."""
        subjects = await self._note([one])
        if not subjects:
            self.on_revoked(one.tid)
            return
        await self._hub.follow(self.follower, subjects, after=after, greet=greet)
        # Whoever watches the log may have passed a change before we followed; what comes after this look, it tells.
        subject, own = thread_subject(one.thread), await self._subscription(one)
        if subject not in self.threads or own is None or not own.active:
            self.revoke(subject)
        elif own.granted:
            self.grant(subject)
        thread = await self._parts.bus.store.load(Thread, one.thread, fresh=True)
        if thread is not None:
            self.reconsider(subject, thread.settings)

    async def follow_again(self, one: Wanted, begun: int) -> None:
        """As follow_since, for a thread that was let go of. Who has left it since is shown nothing more."""
        own = await self._subscription(one)
        if own is not None and own.active:
            await self.follow_since(one, begun, greet=lambda _: self._on_restored(one.tid))

    async def follow_since(
        self, one: Wanted, begun: int, *, greet: Callable[[int], None] | None = None
    ) -> None:
        """Follow a thread from a position of EVENTS on, at which the right to do so began. As follow.

        A message may have been on FEED before we heard of that right.
        """
        feed = self._parts.feed
        _, head = await feed.bounds()
        first = await feed.first_after(thread_subject(one.thread), begun)
        await self.follow(one, after=min(head, first - 1) if first else head, greet=greet)

    async def follow_own(self) -> None:
        """Follow all that one is subscribed to. Raises as Hub.follow."""
        wanted = await own_threads(self._parts, self._caller)
        await self._hub.follow(self.follower, await self._note(wanted))
        await self._confirm(wanted, are_all=True, after=None)

    async def _subscription(self, one: Wanted) -> Subscription | None:
        """As the leader has it."""
        assert self.follower.contact is not None
        id = self._parts.ids.subscription(self._caller.realm, one.thread, self.follower.contact)
        return await self._parts.bus.store.load(Subscription, id, fresh=True)

    async def _confirm(self, wanted: Sequence[Wanted], *, are_all: bool, after: int | None) -> None:
        """Let go of threads, read from rows a moment ago, whose membership has ended since, or before.

        are_all: follow those, too, whose membership the rows did not have yet; after: from this position on.
        The rows may have been behind, and whoever watches the log may have passed a fact before we followed. Raises
        Unavailable when the rows don't catch up: a right that can't be confirmed is none.
        """
        if not wanted and not are_all:
            return
        try:
            await self._parts.watermark.passed(("threads",), EVENTS, await self._parts.events.end())
        except TimeoutError:
            raise Unavailable("the read models are behind") from None
        own = {one.thread: one for one in await own_threads(self._parts, self._caller)}
        for one in wanted:
            subject, found = thread_subject(one.thread), own.pop(one.thread, None)
            if found is None:
                self.revoke(subject)
            elif found.granted:
                self.grant(subject)
        if are_all and own:
            await self._hub.follow(self.follower, await self._note(list(own.values())), after=after)

    async def _note(self, wanted: Sequence[Wanted]) -> list[str]:
        """Remember by what right each thread is followed; the subjects of those that may be."""
        subjects = []
        for one in wanted:
            thread = await self._parts.bus.threads.thread(one.thread)
            if thread is None or not self.may(one, thread.settings):
                # This process may not have heard yet of what lets them in.
                thread = await self._parts.bus.store.load(Thread, one.thread, fresh=True)
            if thread is not None and not thread.closed and self.may(one, thread.settings):
                subject = thread_subject(one.thread)
                self.threads[subject] = one
                subjects.append(subject)
        return subjects

    def may(self, one: Wanted, settings: Settings) -> bool:
        """Whether a member may follow the thread, its settings being these."""
        return one.granted or settings.may_subscribe(self._caller)

    @property
    def _caller(self) -> Caller:
        assert self.identity is not None, "only the identified follow threads"
        return self.identity.caller

    def revoke(self, subject: str) -> None:
        """Write nothing of this thread any more, be it that following it was still on its way when that was told."""
        self._hub.leave(self.follower, [subject])
        followed = self.threads.pop(subject, None)
        if followed is not None:
            self.on_revoked(followed.tid)

    def reconsider(self, subject: str, settings: Settings) -> Wanted | None:
        """The thread's settings are others now: a right to subscribe that they took away ends. What that was."""
        followed = self.threads.get(subject)
        if followed is None or self.may(followed, settings):
            return None
        self.revoke(subject)
        return followed

    def grant(self, subject: str) -> None:
        """An admin confirmed the membership by which it is followed, or was."""
        if (followed := self.threads.get(subject)) is not None:
            self.threads[subject] = followed._replace(granted=True)
        if (left := self.shut_out.get(subject)) is not None:
            left.one = left.one._replace(granted=True)

    def end(self, code: int, reason: str) -> None:
        """Close the connection, with the position to go on from."""
        self._hub.cut_off(self.follower, code, reason)

    def close(self) -> None:
        """The connection is gone, or about to be."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._hub.leave_all(self.follower)

    def _take(self, identity: Identity, token: str) -> None:
        caller = identity.caller
        self.identity, self.token = identity, token
        self.follower.caller = caller
        self.follower.contact = self._parts.ids.contact(caller.realm, caller.uid)
        if self._expiry is not None:
            self._expiry.cancel()
        left_s = max(0.0, identity.expires_at_s - self._parts.now_s())
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(left_s, self.end, TOKEN_ENDED, "token expired")

    def _own_subjects(self) -> list[str]:
        assert self.follower.caller is not None
        assert self.follower.contact is not None
        everyone = system_thread(self._parts.ids, self.follower.caller.realm)
        return [contact_subject(self.follower.contact), thread_subject(everyone)]


async def own_threads(parts: Parts, caller: Caller) -> list[Wanted]:
    """The threads that the caller is subscribed to, as the read models have it."""
    contact = parts.ids.contact(caller.realm, caller.uid)
    rows = await threads.of_contact(parts.models, caller.realm, contact)
    return [Wanted(row["tid"], row["thread"], bool(row["granted"])) for row in rows]
