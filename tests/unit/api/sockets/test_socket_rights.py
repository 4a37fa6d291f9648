"""What ends a right to a thread ends on open sockets too, and on those that come back."""

from __future__ import annotations

import asyncio

from processes.feeding.feed import thread_subject
from tests.memory.site import eventually, said, say, site, token
from tests.memory.world import StoredThreads
from tests.unit.api.sockets.speaking import OPEN, publish, subscribed, texts

SHUT, AGAIN = {"name": "Private"}, {"name": "News", "opens": True}


async def test_ending_a_subscription_silences_open_sockets() -> None:
    """After unsubscribe by REST nothing more comes; the socket is told so, and others go on."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann, it.socket() as bob:
            await subscribed(it, ann)
            await subscribed(it, bob, "bob")
            await it.ok("POST", "/api/v2/unsubscribe", {"tid": "news"}, by="ann")
            assert (await said(ann))["data"]["action"] == "unsubscribed"
            await publish(it, "later")
            assert await texts(bob, 1) == ["later"]
            await say(ann, slug="/ping")
            assert (await said(ann))["data"] == "pong"


async def test_closing_a_thread_or_its_doors_silences_open_sockets() -> None:
    """A thread that is no longer open loses those who came by that right; a closed one loses all."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann, it.socket() as olga:
            await subscribed(it, ann)
            await subscribed(it, olga, "olga")
            await it.ok("PUT", "/api/v2/threads/news", {"name": "Private"}, by="olga")
            assert (await said(ann))["data"]["action"] == "unsubscribed"
            await publish(it, "inside")
            assert await texts(olga, 1) == ["inside"]
            await it.ok("DELETE", "/api/v2/threads/news", by="olga")
            assert (await said(olga))["data"]["action"] == "unsubscribed"


async def test_a_reconnect_does_not_bring_back_a_withdrawn_right() -> None:
    """A thread was shut: neither resume nor subscribe lets in who came by its openness; a granted member stays."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann:
            position = (await subscribed(it, ann))["position"]
            await it.admin("POST", "/api/v2/subscribe", {"tid": "news", "uid": "bob"})
            await it.ok("PUT", "/api/v2/threads/news", {"name": "Private"}, by="olga")
            assert (await said(ann))["data"]["action"] == "unsubscribed"
        await publish(it, "inside")
        await it.settled()
        async with it.socket() as ann, it.socket() as bob:
            await say(ann, slug="/api/v2/resume", position=position, jwt=token("ann"))
            assert (await said(ann))["slug"] == "/api/v2/resume"
            await say(ann, slug="/api/v2/subscribe/thread", tid="news", jwt=token("ann"))
            assert (await said(ann))["error"].startswith("404 ")
            await say(bob, slug="/api/v2/resume", position=position, jwt=token("bob"))
            assert await texts(bob, 1) == ["inside"]
            await publish(it, "more")
            assert (await said(bob))["slug"] == "/api/v2/resume"
            assert await texts(bob, 1) == ["more"]
            await say(ann, slug="/ping")
            assert (await said(ann))["data"] == "pong"


async def test_a_thread_that_is_opened_again_goes_on_on_open_sockets() -> None:
    """They are told so, and shown what is published from then on, and nothing that was while it was shut."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann:
            await subscribed(it, ann)
            for _ in range(2):
                await it.ok("PUT", "/api/v2/threads/news", SHUT, by="olga")
                assert (await said(ann))["data"]["action"] == "unsubscribed"
                await publish(it, "inside")
                await it.ok("PUT", "/api/v2/threads/news", AGAIN, by="olga")
                await publish(it, "again")
                told = await said(ann)
                assert (told["slug"], told["data"]["slug"]) == ("/api/v2/subscribe/thread", "/thread/news")
                assert told["data"]["action"] == "subscribed"
                assert await texts(ann, 1) == ["again"]


async def test_a_right_that_ended_while_a_thread_was_shut_stays_ended() -> None:
    """Who left it then, or it was closed for good, is shown nothing more, nor told anything."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann, it.socket() as bob:
            for socket, uid in ((ann, "ann"), (bob, "bob")):
                await subscribed(it, socket, uid)
            await it.ok("PUT", "/api/v2/threads/news", SHUT, by="olga")
            for socket in (ann, bob):
                assert (await said(socket))["data"]["action"] == "unsubscribed"
            await it.ok("POST", "/api/v2/unsubscribe", {"tid": "news"}, by="ann")
            await it.ok("PUT", "/api/v2/threads/news", AGAIN, by="olga")
            await publish(it, "again")
            assert (await said(bob))["data"]["action"] == "subscribed"
            assert await texts(bob, 1) == ["again"]
            await it.ok("PUT", "/api/v2/threads/news", SHUT, by="olga")
            assert (await said(bob))["data"]["action"] == "unsubscribed"
            await it.ok("DELETE", "/api/v2/threads/news", by="olga")
            await eventually(lambda: not it.live._shut_out)
            for socket in (ann, bob):
                await say(socket, slug="/ping")
                assert (await said(socket))["data"] == "pong"


async def test_whom_an_admin_confirms_while_a_thread_is_shut_goes_on() -> None:
    """The thread's settings don't matter any more, neither then nor later."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann:
            await subscribed(it, ann)
            await it.ok("PUT", "/api/v2/threads/news", SHUT, by="olga")
            assert (await said(ann))["data"]["action"] == "unsubscribed"
            await it.admin("POST", "/api/v2/subscribe", {"tid": "news", "uid": "ann"})
            assert (await said(ann))["data"]["action"] == "subscribed"
            await it.ok("PUT", "/api/v2/threads/news", {"name": "Other"}, by="olga")
            await publish(it, "inside")
            assert await texts(ann, 1) == ["inside"]


async def test_what_was_published_while_a_thread_was_shut_is_shown_to_no_socket_that_waits() -> None:
    """It was opened, shut and opened again before the socket's turn came: it goes on from the last opening."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann:
            await subscribed(it, ann)
            it.live._again = asyncio.Semaphore(0)
            for _ in range(2):
                await it.ok("PUT", "/api/v2/threads/news", SHUT, by="olga")
                await publish(it, "inside")
                await it.ok("PUT", "/api/v2/threads/news", AGAIN, by="olga")
                await it.settled()
            it.live._again.release()
            assert [(await said(ann))["data"]["action"] for _ in range(2)] == ["unsubscribed", "subscribed"]
            await publish(it, "again")
            assert await texts(ann, 1) == ["again"]


async def test_whom_an_admin_confirms_before_a_socket_goes_on_stays() -> None:
    """The confirmation is heard while the socket waits for its turn: shutting the thread later does not end it."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann:
            await subscribed(it, ann)
            it.live._again = asyncio.Semaphore(0)
            for settings in (SHUT, AGAIN):
                await it.ok("PUT", "/api/v2/threads/news", settings, by="olga")
            await it.admin("POST", "/api/v2/subscribe", {"tid": "news", "uid": "ann"})
            await it.settled()
            it.live._again.release()
            assert [(await said(ann))["data"]["action"] for _ in range(2)] == ["unsubscribed", "subscribed"]
            await it.ok("PUT", "/api/v2/threads/news", SHUT, by="olga")
            await publish(it, "inside")
            assert await texts(ann, 1) == ["inside"]


async def test_nothing_is_kept_of_a_socket_that_goes_while_a_thread_is_shut() -> None:
    """However many threads it was shut out of."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann:
            await subscribed(it, ann)
            await it.ok("PUT", "/api/v2/threads/news", SHUT, by="olga")
            assert (await said(ann))["data"]["action"] == "unsubscribed"
            assert len(it.live._shut_out) == 1
        await eventually(lambda: not it.live._shut_out)


async def test_a_thread_shut_again_before_a_socket_followed_it_is_let_go_of() -> None:
    """It waits for the next opening then."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann:
            await subscribed(it, ann)
            [session] = it.live._sessions.values()
            await it.ok("PUT", "/api/v2/threads/news", SHUT, by="olga")
            assert (await said(ann))["data"]["action"] == "unsubscribed"
            async with session.follower.lock:
                await it.ok("PUT", "/api/v2/threads/news", AGAIN, by="olga")
                await eventually(lambda: session.threads)
                await it.ok("PUT", "/api/v2/threads/news", SHUT, by="olga")
                await it.settled()
            assert [(await said(ann))["data"]["action"] for _ in range(2)] == ["subscribed", "unsubscribed"]
            await eventually(lambda: it.live._shut_out)
            await it.ok("PUT", "/api/v2/threads/news", AGAIN, by="olga")
            await publish(it, "again")
            assert (await said(ann))["data"]["action"] == "subscribed"
            assert await texts(ann, 1) == ["again"]


async def test_a_thread_shut_before_a_socket_followed_it_is_let_go_of() -> None:
    """The watch had passed the change, and what this process remembers of the thread had not heard of it."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann:
            await subscribed(it, ann)
            [session] = it.live._sessions.values()
            [one] = session.threads.values()
            session.revoke(thread_subject(one.thread))
            assert (await said(ann))["data"]["action"] == "unsubscribed"
            directory = it.parts.bus.threads
            assert isinstance(directory, StoredThreads)
            before = await directory.thread(one.thread)
            assert before is not None
            directory.behind[one.thread] = before
            await it.ok("PUT", "/api/v2/threads/news", {"name": "Private"}, by="olga")
            await session.follow(one)
            assert (await said(ann))["data"]["action"] == "unsubscribed"
            assert not session.threads


async def test_a_thread_left_before_a_socket_followed_it_is_let_go_of() -> None:
    """The watch had passed the end of the membership; nothing that comes later would have told."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as ann:
            await subscribed(it, ann)
            [session] = it.live._sessions.values()
            [one] = session.threads.values()
            await it.ok("POST", "/api/v2/unsubscribe", {"tid": "news"}, by="ann")
            assert (await said(ann))["data"]["action"] == "unsubscribed"
            await session.follow(one)
            assert (await said(ann))["data"]["action"] == "unsubscribed"
            assert not session.threads
            assert thread_subject(one.thread) not in session.follower.following


async def test_a_thread_opened_just_now_is_followed() -> None:
    """Though what this process remembers of the thread has not heard of it."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "news"}, by="olga")
        directory = it.parts.bus.threads
        assert isinstance(directory, StoredThreads)
        thread = it.parts.ids.thread("main", "news")
        before = await directory.thread(thread)
        assert before is not None
        directory.behind[thread] = before
        await it.ok("PUT", "/api/v2/threads/news", {"opens": True}, by="olga")
        async with it.socket() as ann:
            assert (await subscribed(it, ann))["ok"] is True
            del directory.behind[thread]
            await publish(it, "one")
            assert await texts(ann, 1) == ["one"]
