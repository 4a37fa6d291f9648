"""Who is at the other end of an open connection, until when, and by what right it follows each thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from api.auth import Identity
from api.parts import Parts
from api.sockets.follower import Connection, Follower
from api.sockets.hub import Hub
from api.sockets.wire import Encoding
from domain.errors import Forbidden, Unavailable
from domain.recorded import EVENTS
from domain.thread import Settings
from processes.feed import contact_subject, system_thread, thread_subject
from projections import threads

TOKEN_ENDED = 4401
"""Close code: the token has expired or is not valid any more."""
REVOKED = 4403
"""Close code: the contact was erased."""


class Followed:
    """A thread that the session follows. by_right: the thread lets the caller subscribe; else by membership alone."""

    __slots__ = ("by_right", "tid")

    def __init__(self, tid: str, *, by_right: bool) -> None:
        self.tid, self.by_right = tid, by_right


class Session:
    """follows_all: threads that the contact subscribes to later are followed by themselves.

    on_revoked: called with the tid of a thread that may not be followed any more.
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
    ) -> None:
        self._parts, self._hub = parts, hub
        self.follower = Follower(connection, encoding)
        self.identity: Identity | None = None
        self.token = ""
        self.threads: dict[str, Followed] = {}
        self.follows_all, self.on_revoked = follows_all, on_revoked
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
        tids: list[tuple[str, UUID]],
        *,
        after: int | None,
        greet: Callable[[int], None],
    ) -> None:
        """Identify and follow in one step, so that what was missed comes in one order. Raises as both."""
        self._take(self._parts.verifier.verify(token), token)
        subjects = await self._note(tids)
        await self._hub.follow(self.follower, [*self._own_subjects(), *subjects], after=after, greet=greet)

    async def follow(
        self,
        tids: list[tuple[str, UUID]],
        *,
        after: int | None = None,
        greet: Callable[[int], None] | None = None,
    ) -> None:
        """Follow threads that the caller is subscribed to. Raises as Hub.follow."""
        await self._hub.follow(self.follower, await self._note(tids), after=after, greet=greet)

    async def confirm(self, tids: list[tuple[str, UUID]]) -> None:
        """Let go of threads, read from rows a moment ago, whose membership has ended since, or before.

        The rows may have been behind, and whoever watches the log may have passed the end before we followed. Raises
        Unavailable when the rows don't catch up: a right that can't be confirmed is none.
        """
        assert self.identity is not None, "only the identified follow threads"
        if not tids:
            return
        caller = self.identity.caller
        try:
            await self._parts.watermark.passed(("threads",), EVENTS, await self._parts.events.end())
        except TimeoutError:
            raise Unavailable("the read models are behind") from None
        contact = self._parts.ids.contact(caller.realm, caller.uid)
        rows = await threads.of_contact(self._parts.models, caller.realm, contact)
        own = {row["thread"] for row in rows}
        for _, id in tids:
            if id not in own:
                self.revoke(thread_subject(id))

    async def _note(self, tids: list[tuple[str, UUID]]) -> list[str]:
        """Remember by what right each thread is followed; their subjects."""
        assert self.identity is not None, "only the identified follow threads"
        for tid, id in tids:
            thread = await self._parts.bus.threads.thread(id)
            by_right = thread is not None and thread.may_subscribe(self.identity.caller)
            self.threads.setdefault(thread_subject(id), Followed(tid, by_right=by_right))
        return [thread_subject(id) for _, id in tids]

    def revoke(self, subject: str) -> None:
        """Write nothing of this thread any more."""
        followed = self.threads.pop(subject, None)
        if followed is not None:
            self._hub.leave(self.follower, [subject])
            self.on_revoked(followed.tid)

    def reconsider(self, subject: str, settings: Settings) -> None:
        """The thread's settings are others now: a right to subscribe that they took away ends."""
        followed = self.threads.get(subject)
        if followed is None or self.identity is None:
            return
        may = settings.may_subscribe(self.identity.caller)
        if followed.by_right and not may:
            self.revoke(subject)
        followed.by_right = may

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
