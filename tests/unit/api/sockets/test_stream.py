"""The feed as server-sent events, over a real uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from starlette.types import Message

from api.http.hanging_up import EXTENSION
from api.msgxc import stream
from api.parts import Settings
from commands.threads import Subscribe, Unsubscribe
from tests.memory.site import PATIENCE_S, Site, eventually, site, token

OPEN = {"tid": "news", "name": "News", "opens": True}


class Event(NamedTuple):
    kind: str
    id: str
    data: Any


class Stream:
    """What comes, event by event, as EventSource would have it."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> Event:
        async with asyncio.timeout(PATIENCE_S):
            fields: dict[str, str] = {}
            async for line in self._lines:
                if not line and fields.get("data"):
                    break
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
        return Event(
            fields.get("event", "message"), fields.get("id", ""), msgspec.json.decode(fields["data"])
        )

    async def texts(self, count: int) -> list[str]:
        return [(await self.next()).data["msg"] for _ in range(count)]


@asynccontextmanager
async def opened(it: Site, uid: str = "ann", query: str = "", **headers: str) -> AsyncIterator[Stream]:
    sent = {"Authorization": f"Bearer {token(uid)}", **headers}
    address = f"http://127.0.0.1:{it.port}/api/v2/stream{query}"
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
        client.stream("GET", address, headers=sent) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response)


async def publish(it: Site, text: str) -> None:
    await it.ok("POST", "/api/v2/publish", {"tid": "news", "msg": text}, by="olga")
    await it.settled()


async def test_the_stream_shows_all_one_is_subscribed_to() -> None:
    """Threads, messages by name and to everyone; a thread that is joined meanwhile comes too, one that is left goes."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.admin("PUT", "/api/v2/contacts/ann", {})
        async with opened(it) as stream:
            assert (await stream.next()).kind == "open"
            await publish(it, "not yet subscribed")
            await it.admin("POST", "/api/v2/send", {"uid": "ann", "msg": "to you"})
            assert await stream.texts(1) == ["to you"]
            await it.admin("POST", "/api/v2/broadcast", {"msg": "to all"})
            assert await stream.texts(1) == ["to all"]
            await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
            await eventually(lambda: len(it.feed.followed) == 3)
            await publish(it, "one")
            event = await stream.next()
            assert (event.data["msg"], event.id) == ("one", event.data["position"])
            await it.ok("POST", "/api/v2/unsubscribe", {"tid": "news"}, by="ann")
            assert (await stream.next()).kind == "unsubscribed"
        await eventually(lambda: not it.feed.followed)


async def test_last_event_id_brings_what_was_missed() -> None:
    """From the last event on, in order and once; the first event of a stream is one to go on from, too."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
        async with opened(it) as stream:
            start = (await stream.next()).id
        for number in range(600):
            await it.feed_frame("news", f"{number}")
        async with opened(it, **{"Last-Event-ID": start}) as stream:
            assert (await stream.next()).id == start
            assert await stream.texts(600) == [str(number) for number in range(600)]
            await publish(it, "live")
            assert await stream.texts(1) == ["live"]
        async with opened(it, query=f"?position={start}&tid=news") as stream:
            await stream.next()
            assert await stream.texts(1) == ["0"]
            later = (await stream.next()).id
        # As polyfills of EventSource come back.
        async with opened(it, query=f"?position={start}&tid=news&lastEventId={later}") as stream:
            await stream.next()
            assert await stream.texts(1) == ["2"]


async def test_a_stream_that_comes_back_does_not_bring_back_a_withdrawn_right() -> None:
    """After the thread was shut, a stream shows nothing of it from any position on, and can't be asked for it."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.admin("PUT", "/api/v2/contacts/ann", {})
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
        async with opened(it) as stream:
            start = (await stream.next()).id
            await it.ok("PUT", "/api/v2/threads/news", {"name": "Private"}, by="olga")
            assert (await stream.next()).kind == "unsubscribed"
        await publish(it, "inside")
        async with opened(it, **{"Last-Event-ID": start}) as stream:
            await stream.next()
            await it.admin("POST", "/api/v2/send", {"uid": "ann", "msg": "to you"})
            assert await stream.texts(1) == ["to you"]
        assert (await it.call("GET", "/api/v2/stream?tid=news", by="ann")).status_code == 404
        assert (await it.call("GET", "/api/v2/threads/news", by="ann")).status_code == 404
        assert (await it.ok("GET", "/api/v2/threads", by="ann"))["items"] == []
        assert (await it.ok("GET", "/api/v2/threads/news/subscribers", by="olga"))["items"] == []


async def test_a_thread_that_is_opened_again_goes_on() -> None:
    """The stream says so, and shows what is published from then on; nothing that was while the thread was shut."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
        async with opened(it) as stream:
            assert (await stream.next()).kind == "open"
            await it.ok("PUT", "/api/v2/threads/news", {"name": "Private"}, by="olga")
            assert (await stream.next()).kind == "unsubscribed"
            await publish(it, "inside")
            await it.ok("PUT", "/api/v2/threads/news", {"opens": True}, by="olga")
            await publish(it, "again")
            told = await stream.next()
            assert (told.kind, told.data["slug"]) == ("subscribed", "/thread/news")
            assert await stream.texts(1) == ["again"]


async def test_a_thread_shut_before_it_was_followed_goes_on_when_it_is_opened() -> None:
    """Joined and shut within a moment: the stream follows it as if it had done so in between."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with opened(it) as stream:
            assert (await stream.next()).kind == "open"
            [session] = it.live._sessions.values()
            async with session.follower.lock:
                await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
                await eventually(lambda: session.threads)
                await it.ok("PUT", "/api/v2/threads/news", {"name": "Private"}, by="olga")
                await it.settled()
            assert (await stream.next()).kind == "unsubscribed"
            await it.ok("PUT", "/api/v2/threads/news", {"opens": True}, by="olga")
            assert (await stream.next()).kind == "subscribed"
            await publish(it, "again")
            assert await stream.texts(1) == ["again"]


async def test_a_thread_left_before_is_let_go_of() -> None:
    """The rows that a stream began with knew nothing of the end yet, and the watch had passed it."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
        await it.settled()
        [projector] = [one for one in it.world.running if one.role == "project-events"]
        await it.world.stop(projector)
        await it.world.do(Unsubscribe(tid="news", uid="ann"))
        async with opened(it) as stream:
            assert (await stream.next()).kind == "open"
            it.world.start("project-events")
            assert (await stream.next()).kind == "unsubscribed"
            assert len(it.feed.followed) == 2


async def test_a_thread_joined_before_is_followed_though_the_rows_did_not_say() -> None:
    """The rows that a stream began with knew nothing of the beginning yet, and the watch had passed it."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.settled()
        [projector] = [one for one in it.world.running if one.role == "project-events"]
        await it.world.stop(projector)
        await it.world.do(Subscribe(tid="news", uid="ann"))
        async with opened(it) as stream:
            assert (await stream.next()).kind == "open"
            await it.feed_frame("news", "shown since")
            it.world.start("project-events")
            assert await stream.texts(1) == ["shown since"]
            await publish(it, "live")
            assert await stream.texts(1) == ["live"]


async def test_a_thread_left_before_it_is_followed_is_not_shown() -> None:
    """The end of a membership is heard while following it still waits for what the stream has missed."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.admin("PUT", "/api/v2/contacts/ann", {})
        async with opened(it) as stream:
            assert (await stream.next()).kind == "open"
            [session] = it.live._sessions.values()
            async with session.follower.lock:
                await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
                await eventually(lambda: session.threads)
                await it.ok("POST", "/api/v2/unsubscribe", {"tid": "news"}, by="ann")
                await it.settled()
            assert (await stream.next()).kind == "unsubscribed"
            await eventually(lambda: len(it.feed.followed) == 2)
            await publish(it, "inside")
            await it.admin("POST", "/api/v2/send", {"uid": "ann", "msg": "to you"})
            assert await stream.texts(1) == ["to you"]


async def test_what_is_published_right_after_joining_is_shown() -> None:
    """However late the stream hears of the membership: not what was before it, all that came since."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with opened(it) as stream:
            assert (await stream.next()).kind == "open"
            await publish(it, "before")
            [session] = it.live._sessions.values()
            async with session.follower.lock:
                await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
                await publish(it, "one")
                await publish(it, "two")
            assert await stream.texts(2) == ["one", "two"]
            await publish(it, "three")
            assert await stream.texts(1) == ["three"]


async def test_what_cannot_be_streamed_is_a_problem() -> None:
    """No token, a bad position, a thread one is not subscribed to or may not see, no room: said before it begins."""
    async with site(settings=Settings(sockets_max=0)) as it:
        assert (await it.call("GET", "/api/v2/stream")).status_code == 503
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        assert (await it.call("GET", "/api/v2/stream", by=None)).status_code == 401
        bad = await it.call("GET", "/api/v2/stream", headers={"Last-Event-ID": "7"})
        assert (bad.status_code, bad.json()["field"]) == (422, "position")
        assert (await it.call("GET", "/api/v2/stream?tid=news")).status_code == 403
        assert (await it.call("GET", "/api/v2/stream?tid=nowhere")).status_code == 404


@pytest.mark.parametrize("settings", [Settings(sockets_max=0), Settings(rate_quota=0)])
async def test_a_browser_that_cannot_be_served_now_comes_back(settings: Settings) -> None:
    """An EventSource gives up for good at any error's status: it is told when to come back, where that may help."""
    asks = {"Accept": "text/event-stream"}
    async with site(settings=settings) as it:
        refused = await it.call("GET", "/api/v2/stream")
        assert refused.status_code in {429, 503}
        answer = await it.call("GET", "/api/v2/stream", headers=asks)
        assert (answer.status_code, answer.headers["content-type"]) == (
            200,
            "text/event-stream; charset=utf-8",
        )
        retry, event, data, *_ = answer.text.splitlines()
        assert int(retry.removeprefix("retry: ")) >= 1_000
        assert (event, msgspec.json.decode(data.removeprefix("data: "))["code"]) == ("event: close", 1013)
    async with site() as it:
        assert (await it.call("GET", "/api/v2/stream", by=None, headers=asks)).status_code == 401


async def test_draining_ends_a_stream_with_its_position() -> None:
    """The last event says why, and where to go on."""
    async with site(served=True) as it, opened(it) as stream:
        await stream.next()
        it.live.drain()
        event = await stream.next()
        assert (event.kind, event.data["code"]) == ("close", 1001)
        assert "resume at" in event.data["reason"]


async def test_a_peer_that_does_not_take_the_close_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that has ended keeps neither its connection nor what waits for it, whatever its reader does."""
    monkeypatch.setattr(stream, "CLOSE_S_MAX", 0.01)
    dropped = asyncio.Event()

    async def receive() -> Message:
        await dropped.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await dropped.wait()

    async with site() as it, asyncio.timeout(PATIENCE_S):
        scope = {
            "type": "http",
            "method": "GET",
            "path": stream.PATH,
            "raw_path": stream.PATH.encode(),
            "query_string": b"",
            "headers": [(b"host", b"here"), (b"authorization", f"Bearer {token('ann')}".encode())],
            "extensions": {EXTENSION: dropped.set},
        }
        streaming = asyncio.create_task(it.app(scope, receive, send))
        await eventually(lambda: it.live._sessions)
        it.live.drain()
        await streaming
    assert dropped.is_set()


async def test_a_stream_ends_with_its_token() -> None:
    """At exp the stream is closed, as a socket is."""
    async with site(served=True) as it, opened(it, Authorization=f"Bearer {token('ann', ttl_s=2)}") as stream:
        await stream.next()
        assert (await stream.next()).data["code"] == 4401
