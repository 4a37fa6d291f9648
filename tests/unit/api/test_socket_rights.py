"""What ends a right to a thread ends on open sockets too, and on those that come back."""

from __future__ import annotations

from processes.feed import thread_subject
from tests.memory.site import said, say, site, token
from tests.memory.world import StoredThreads
from tests.unit.api.sockets import OPEN, publish, subscribed, texts


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
