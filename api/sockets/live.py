"""All open connections of this process: bounded in number, and obedient to rights as they change.

Follows the log for what ends a right (a subscription ended, a thread changed or closed, a contact erased) and the keys
for tokens that are not valid any more; both take effect within a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog

from api.access.auth import Verifier
from api.parts import Parts
from api.sockets.hub import TRY_AGAIN, Closed, Hub
from api.sockets.session import REVOKED, TOKEN_ENDED, Session, ShutOut, Wanted
from domain.contact import Contact
from domain.errors import MsgxcError, Unauthenticated, Unavailable
from domain.recorded import Recorded
from domain.subscription import Subscription
from domain.thread import Settings, Thread
from processes.feeding.feed import contact_subject, thread_subject

KEYS_LOOK_S = 0.5
"""How often it is asked whether the keys have changed."""
SESSIONS_PER_TURN = 50
"""Tokens verified between two turns of the event loop: about 5 ms."""
AGAIN_AT_ONCE = 50
"""Connections that follow again a thread that was opened again; each asks the log half a dozen times."""
GOING_AWAY = 1001
"""Close code (RFC 6455): the server shuts down."""

log = structlog.get_logger("msgxc.api")


class Live:
    """watching: rights are followed, so sockets may be let in. ended: run() has come to an end.

    Whom a thread's settings have shut out is a member all the same, and follows it again once they let them in.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.hub = Hub(parts.feed, parts.metrics)
        self._sessions: dict[object, Session] = {}
        self._shut_out: dict[str, set[Session]] = {}
        self._again = asyncio.Semaphore(AGAIN_AT_ONCE)
        self.draining = False
        self.watching = self.ended = False

    async def run(self) -> None:
        """Until cancelled. Raises only for bugs."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.hub.run())
                group.create_task(self._obey_the_log(group))
                group.create_task(self._obey_the_keys())
        finally:
            self.watching, self.ended = False, True

    def drain(self) -> None:
        """Tell every connection to go on elsewhere, with its position; take no new ones."""
        self.draining = True
        for session in list(self._sessions.values()):
            session.end(GOING_AWAY, "shutting down")
        if self._parts.shops is not None:
            self._parts.shops.hub.drain()

    @asynccontextmanager
    async def admitted(self, session: Session, kind: str) -> AsyncIterator[None]:
        """Count the session among the open ones while it lasts."""
        self._sessions[session.follower] = session
        gauge = self._parts.metrics.sockets.labels(kind)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()
            del self._sessions[session.follower]
            for subject in list(session.shut_out):
                self._drop_shut_out(session, subject)
            session.close()

    def assert_room(self) -> None:
        """Raises Unavailable when there are as many connections as this process takes, or it shuts down."""
        if self.draining:
            raise Unavailable("this process is shutting down; connect again")
        if not self.watching:
            raise Unavailable("this process does not follow the log yet; try again")
        if len(self._sessions) >= self._parts.settings.sockets_max:
            raise Unavailable("this process has no room for another socket; try again soon")

    async def _obey_the_log(self, group: asyncio.TaskGroup) -> None:
        async for facts in self._parts.rights.follow():
            self.watching = True
            for fact in facts:
                self._obey(fact, group)

    def _obey(self, fact: Recorded, group: asyncio.TaskGroup) -> None:
        match fact.body:
            case Subscription.Event() as event:
                self._obey_subscription(event, fact.position, group)
            case Thread.Event() as event:
                self._obey_thread(event, fact.position, group)
            case Contact.Erased() as event:
                for session in self._on(contact_subject(event.originator_id)):
                    session.end(REVOKED, "the contact was erased")
            case _:
                pass

    def _obey_subscription(self, event: Subscription.Event, position: int, group: asyncio.TaskGroup) -> None:
        match event:
            case Subscription.Ended():
                subject = thread_subject(event.thread)
                for session in self._on(subject):
                    if session.follower.contact == event.contact:
                        session.revoke(subject)
                for session in self._on(contact_subject(event.contact)):
                    self._drop_shut_out(session, subject)
            case Subscription.Granted():
                subject = thread_subject(event.thread)
                for session in self._on(contact_subject(event.contact)):
                    session.grant(subject)
                    self._let_in(session, subject, Settings(), position, group)
            case Subscription.Started() | Subscription.Resumed():
                for session in self._on(contact_subject(event.contact)):
                    if session.follows_all:
                        wanted = Wanted(event.tid, event.thread, bool(event.granted))
                        group.create_task(self._follow_too(session, wanted, position))
            case _:
                pass

    def _obey_thread(self, event: Thread.Event, position: int, group: asyncio.TaskGroup) -> None:
        subject = thread_subject(event.originator_id)
        match event:
            case Thread.Changed(settings=settings):
                for session in list(self._shut_out.get(subject, ())):
                    self._let_in(session, subject, settings, position, group)
                for session in self._on(subject):
                    if one := session.reconsider(subject, settings):
                        self._note_shut_out(session, subject, one)
            case Thread.Closed():
                for session in list(self._shut_out.get(subject, ())):
                    self._drop_shut_out(session, subject)
                for session in self._on(subject):
                    session.revoke(subject)
            case _:
                pass

    def _let_in(
        self, session: Session, subject: str, settings: Settings, position: int, group: asyncio.TaskGroup
    ) -> None:
        """Follow again what was let go of for the thread's settings, from where they forbid it no more."""
        left = session.shut_out.get(subject)
        if left is None:
            return
        if not session.may(left.one, settings):
            left.since = None
        elif left.since is None:
            left.since = position
            if not left.is_tried:
                left.is_tried = True
                group.create_task(self._follow_again(session, subject, left))

    def _note_shut_out(self, session: Session, subject: str, one: Wanted) -> None:
        if session.follower in self._sessions:
            session.shut_out.setdefault(subject, ShutOut(one)).since = None
            self._shut_out.setdefault(subject, set()).add(session)

    def _drop_shut_out(self, session: Session, subject: str) -> None:
        if session.shut_out.pop(subject, None) is not None:
            waiting = self._shut_out[subject]
            waiting.discard(session)
            if not waiting:
                del self._shut_out[subject]

    def _on(self, subject: str) -> list[Session]:
        followers = self.hub.followers_of(subject)
        return [self._sessions[one] for one in followers if one in self._sessions]

    async def _follow_too(self, session: Session, wanted: Wanted, begun: int) -> None:
        with _ended_at_need(session):
            await session.follow_since(wanted, begun)
            subject = thread_subject(wanted.thread)
            if subject not in session.threads:
                # Shut, or left, while it was on its way: which of both is asked when it is opened again.
                self._note_shut_out(session, subject, wanted)

    async def _follow_again(self, session: Session, subject: str, left: ShutOut) -> None:
        """Until it is followed, or not to be: its settings may change as often meanwhile."""
        async with self._again:
            with _ended_at_need(session):
                while (since := left.since) is not None and session.shut_out.get(subject) is left:
                    await session.follow_again(left.one, since)
                    if subject in session.threads:
                        self._drop_shut_out(session, subject)
                    elif left.since == since:
                        # Shut again, or left, as we are about to hear.
                        left.since = None
        left.is_tried = False

    async def _obey_the_keys(self) -> None:
        verifier = self._parts.verifier
        known = verifier.generation
        while True:
            await asyncio.sleep(KEYS_LOOK_S)
            if verifier.generation is not known:
                known = verifier.generation
                await self._verify_again(verifier)

    async def _verify_again(self, verifier: Verifier) -> None:
        for number, session in enumerate(list(self._sessions.values()), 1):
            try:
                if session.token:
                    verifier.verify(session.token)
            except Unauthenticated:
                session.end(TOKEN_ENDED, "token not valid any more")
            if number % SESSIONS_PER_TURN == 0:
                await asyncio.sleep(0)


@contextmanager
def _ended_at_need(session: Session) -> Iterator[None]:
    """What a connection would miss is in the log: it comes back with its position."""
    try:
        yield
    except Closed:
        return
    except MsgxcError:
        session.end(TRY_AGAIN, "the log does not answer")
