"""The web socket as the original speaks it, over a real uvicorn."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid1, uuid4

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.access.keys import Key, KeySet
from api.parts import Settings
from tests.memory.site import EVER_S, PATIENCE_S, eventually, said, say, site, token
from tests.unit.api.sockets.speaking import OPEN, publish, subscribed, texts


async def closing(socket: ClientConnection, reason: str = "") -> int:
    """The code with which the server closes."""
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert reason in closed.value.rcvd.reason
    return closed.value.rcvd.code


async def test_a_subscribed_socket_gets_each_message_with_its_position() -> None:
    """The answer and the frames have the original's form; each frame adds a position, and they grow."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as socket:
            answer = await subscribed(it, socket)
            assert answer["slug"] == "/api/v2/subscribe/thread"
            assert answer["data"] == {"slug": "/thread/news", "action": "subscribed", "ok": True}
            assert answer["ok"] is True
            await publish(it, "one")
            await publish(it, "two")
            first, second = await said(socket), await said(socket)
            assert (first["msg"], first["slug"], first["ok"]) == ("one", "/thread/news", True)
            assert first["sender"]["uid"] == "olga"
            assert UUID(first["mid"])
            assert answer["position"] <= first["position"] < second["position"]
        page = await it.ok("GET", "/api/v2/threads/news/subscribers", by="olga")
        assert [item["uid"] for item in page["items"]] == ["ann"]


async def test_frames_are_answered_as_the_original_answers_them() -> None:
    """ping, unknown slugs, none, what only REST does, bad JSON, and a frame that needs a token."""
    async with site(served=True) as it, it.socket() as socket:
        await say(socket, slug="/ping")
        answer = await said(socket)
        assert int(answer.pop("position").partition(".")[0]) == 0
        assert answer == {"slug": "/ping", "data": "pong"}
        await say(socket)
        assert (await said(socket))["error"].startswith("404 ")
        for slug in ("/api/v2/publish", "/api/v2/unsubscribe/thread", "/api/v2/subscribe/public-ephemeral-x"):
            await say(socket, slug=slug)
            answer = await said(socket)
            assert (answer["slug"], answer["error"][:4]) == (slug, "501 ")
        await socket.send("{")
        assert (await said(socket))["problem"]["status"] == 422
        await socket.send(b"\xff\xfe")
        assert (await said(socket))["problem"]["status"] == 422
        await say(socket, slug=1)
        assert (await said(socket))["problem"]["field"] == "slug"
        wrongs: tuple[dict[str, Any], ...] = ({"tid": 7}, {"jwt": []}, {"position": {}}, {"mid": "x"})
        for wrong in wrongs:
            await say(socket, slug="/api/v2/receipt", **wrong)
            answer = await said(socket)
            assert (answer["slug"], answer["error"][:4]) == ("/api/v2/receipt", "422 ")
            assert [answer["problem"]["field"]] == list(wrong)
        await say(socket, slug="/api/v2/subscribe/thread", tid="news")
        assert (await said(socket))["error"].startswith("401 ")
        await say(socket, slug="/api/v2/subscribe/thread", tid="nowhere", jwt=token("ann"))
        assert (await said(socket))["error"].startswith("404 ")


@pytest.mark.parametrize(
    ("vid", "sid", "field"),
    [
        ("x", str(uuid1()), "vid"),
        (str(uuid4()), str(uuid4()), "sid"),
        (str(uuid4()), "x", "sid"),
        (str(uuid4()), str(UUID("13814000-1dd2-11b2-8000-000000000000")), "sid"),
    ],
    ids=["vid is no uuid", "sid is of no time", "sid is no uuid", "sid is too old"],
)
async def test_a_bad_address_gets_an_error_frame_and_a_close(vid: str, sid: str, field: str) -> None:
    """The vid is a UUID, the sid one of version 1 and not older than 48 hours."""
    async with site(served=True) as it:
        address = f"ws://127.0.0.1:{it.port}/api/v2/connect/{vid}/{sid}"
        async with connect(address) as socket:
            frame = await said(socket)
            assert (frame["problem"]["field"], "position" in frame) == (field, True)
            assert await closing(socket) == 1008


async def test_resume_brings_what_was_missed_in_order_and_once() -> None:
    """After a reconnect the frames since a position come first, in order, none twice, then the live ones."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as socket:
            await subscribed(it, socket)
            await publish(it, "one")
            position = (await said(socket))["position"]
        for text in ("two", "three"):
            await publish(it, text)
        await it.settled()
        async with it.socket() as socket:
            await subscribed(it, socket)
            await say(socket, slug="/api/v2/resume", position=position)
            assert await texts(socket, 2) == ["two", "three"]
            answer = await said(socket)
            assert (answer["slug"], answer["data"]["complete"]) == ("/api/v2/resume", True)
            await say(socket, slug="/api/v2/resume", position=position)
            assert (await said(socket))["slug"] == "/api/v2/resume"
            await publish(it, "four")
            assert await texts(socket, 1) == ["four"]


async def test_every_frame_carries_the_position_to_go_on_from() -> None:
    """Answers, errors and notices as well as messages: resumed from any of them, what came later comes, and no more."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await publish(it, "before")
        async with it.socket() as ann, it.socket() as bob:
            await say(ann, slug="/ping")
            frames = [await said(ann), await subscribed(it, ann)]
            await subscribed(it, bob, "bob")
            await publish(it, "one")
            frames.append(await said(ann))
            for sent in ("/ping", "/nowhere", "/api/v2/publish", "/api/v2/receipt"):
                await say(ann, slug=sent)
                frames.append(await said(ann))
            await say(ann, slug="/api/v2/resume", position=frames[-1]["position"])
            frames.append(await said(ann))
            await it.ok("POST", "/api/v2/unsubscribe", {"tid": "news"}, by="ann")
            frames.append(await said(ann))
            positions = [frame["position"] for frame in frames]
            assert sorted(positions) == positions
            assert (await said(bob))["msg"] == "one"
        for number, frame in enumerate(frames):
            async with it.socket() as bob:
                await say(bob, slug="/api/v2/resume", position=frame["position"], jwt=token("bob"))
                wanted = ["one"] if number < 2 else []
                assert await texts(bob, len(wanted)) == wanted, frame
                answer = await said(bob)
                assert answer["slug"] == "/api/v2/resume"
                assert answer["position"] == positions[-1]


async def test_a_frame_without_a_log_has_no_position() -> None:
    """Nobody knows one; once the log answers, frames carry it."""
    async with site(served=True) as it, it.socket() as socket:
        it.feed.down = True
        await say(socket, slug="/ping")
        assert await said(socket) == {"slug": "/ping", "data": "pong"}
        it.feed.down = False
        await say(socket, slug="/ping")
        assert "position" in await said(socket)


async def test_resume_alone_follows_all_ones_threads() -> None:
    """A resume with a token, as the first frame, goes on with everything one is subscribed to."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
        async with it.socket() as socket:
            await say(socket, slug="/ping", jwt=token("ann"))
            await said(socket)
            start = (await subscribed(it, socket))["position"]
        await publish(it, "missed")
        await it.settled()
        await it.admin("POST", "/api/v2/send", {"uid": "ann", "msg": "to you"})
        await it.settled()
        async with it.socket() as socket:
            await say(socket, slug="/api/v2/resume", position=start, jwt=token("ann"))
            assert await texts(socket, 2) == ["missed", "to you"]


async def test_subscribe_with_a_position_fills_before_it_is_live() -> None:
    """The answer comes first, then what was missed, then what comes."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as socket:
            start = (await subscribed(it, socket))["position"]
        await publish(it, "one")
        await it.settled()
        async with it.socket() as socket:
            assert (await subscribed(it, socket, position=start))["ok"] is True
            await publish(it, "two")
            assert await texts(socket, 2) == ["one", "two"]


@pytest.mark.parametrize("position", ["x", 7, "0000000000000001.deadbeef", None])
async def test_a_position_that_is_none_of_this_log_is_refused(position: object) -> None:
    """What is no position, or one of another log, gets an error frame that names the field."""
    async with site(served=True) as it, it.socket() as socket:
        await say(socket, slug="/api/v2/resume", position=position, jwt=token("ann"))
        assert (await said(socket))["problem"]["field"] == "position"


async def test_a_position_beyond_the_end_is_refused() -> None:
    """A log that lost its tail would give positions out again: such a resume is not answered with silence."""
    async with site(served=True) as it:
        positions = await it.live.hub.positions()
        async with it.socket() as socket:
            await say(socket, slug="/api/v2/resume", position=positions.give(99), jwt=token("ann"))
            assert "not been reached" in (await said(socket))["error"]


async def test_messages_by_name_and_to_everyone_reach_an_identified_socket() -> None:
    """What send and broadcast send comes to a socket that has shown a token, whatever it subscribed to."""
    async with site(served=True) as it, it.socket(Authorization=f"Bearer {token('ann')}") as socket:
        # The first frame is the answer to the first one sent: nothing comes unasked.
        await say(socket, slug="/api/v2/resume", position=(await it.live.hub.positions()).give(0))
        assert (await said(socket))["slug"] == "/api/v2/resume"
        await it.admin("PUT", "/api/v2/contacts/ann", {})
        await it.admin("POST", "/api/v2/send", {"uid": "ann", "msg": "to you"})
        await it.settled()
        await it.admin("POST", "/api/v2/broadcast", {"msg": "to all"})
        assert await texts(socket, 2) == ["to you", "to all"]


async def test_a_socket_ends_with_its_token() -> None:
    """At exp the socket is closed with 4401 and its position; one that has shown a later token goes on."""
    async with site(served=True) as it, it.socket() as lasting, it.socket() as ending:
        for socket in (lasting, ending):
            await say(socket, slug="/ping", jwt=token("ann", ttl_s=2))
            assert (await said(socket))["data"] == "pong"
        await say(lasting, slug="/ping", jwt=token("ann"))
        assert (await said(lasting))["data"] == "pong"
        assert await closing(ending) == 4401
        await say(lasting, slug="/ping")
        assert (await said(lasting))["data"] == "pong"


async def test_a_removed_key_ends_its_sockets() -> None:
    """Tokens of a key that was taken away are not valid on open sockets either."""
    async with site(served=True) as it, it.socket() as socket:
        await say(socket, slug="/ping", jwt=token("ann"))
        await said(socket)
        it.keys.keys = KeySet((Key("k1", "HS256", b"another secret of thirty-two bytes"),))
        assert await closing(socket) == 4401


async def test_a_socket_belongs_to_one_contact() -> None:
    """Another contact's token on the same socket is refused, and changes nothing."""
    async with site(served=True) as it, it.socket() as socket:
        await say(socket, slug="/ping", jwt=token("ann"))
        await said(socket)
        await say(socket, slug="/ping", jwt=token("bob"))
        assert (await said(socket))["error"].startswith("403 ")
        await say(socket, slug="/ping", jwt="nonsense")
        assert (await said(socket))["error"].startswith("401 ")


async def test_an_erased_contacts_sockets_are_closed() -> None:
    """Erasing the contact closes what it has open."""
    async with site(served=True) as it, it.socket() as socket:
        await it.admin("PUT", "/api/v2/contacts/ann", {})
        await say(socket, slug="/ping", jwt=token("ann"))
        await said(socket)
        await it.admin("DELETE", "/api/v2/contacts/ann")
        assert await closing(socket) == 4403


async def test_a_receipt_frame_reaches_the_delivery() -> None:
    """What a socket says it has read is read."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as socket:
            await subscribed(it, socket)
            await publish(it, "one")
            frame = await said(socket)
            mid, position = frame["mid"], frame["position"]
            await say(socket, slug="/api/v2/receipt", mid=mid, kind="read")
            answer = await said(socket)
            assert answer.pop("position") == position
            assert answer == {"slug": "/api/v2/receipt", "mid": mid, "ok": True}
            await say(socket, slug="/api/v2/receipt", mid=mid, kind="eaten")
            assert (await said(socket))["problem"]["field"] == "kind"
        await it.settled()
        page = await it.ok("GET", f"/api/v2/messages/{mid}/deliveries", by="olga")
        assert [item["state"] for item in page["items"]] == ["read"]


async def test_a_full_or_closing_process_refuses_sockets_with_a_problem() -> None:
    """Over the limit, or while it shuts down, the upgrade is answered 503; a bad token 401."""
    async with site(served=True, settings=Settings(sockets_max=1)) as it, it.socket():
        with pytest.raises(InvalidStatus) as refused:
            await it.socket().__aenter__()
        assert refused.value.response.status_code == 503
        with pytest.raises(InvalidStatus) as unknown:
            await it.socket(Authorization="Bearer x").__aenter__()
        assert unknown.value.response.status_code in (401, 503)


async def test_frames_count_against_the_tokens_rate() -> None:
    """More frames than the token's rate allows are refused with 429, and the socket stays open."""
    async with (
        site(served=True, settings=Settings(rate_quota=3, rate_window_s=EVER_S)) as it,
        it.socket() as socket,
    ):
        for _ in range(5):
            await say(socket, slug="/ping")
        answers = [await said(socket) for _ in range(5)]
        assert [answer.get("data") for answer in answers[:3]] == ["pong"] * 3
        assert answers[4]["problem"]["status"] == 429


async def test_a_frame_over_the_limit_closes_the_socket() -> None:
    """A client's frame is at most 64 KiB."""
    async with site(served=True) as it, it.socket() as socket:
        await socket.send("x" * 70_000)
        assert await closing(socket) == 1009


async def test_draining_tells_every_socket_where_to_go_on() -> None:
    """At shutdown a socket is closed with 1001 and its position, and feeds are let go."""
    async with site(served=True) as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        async with it.socket() as socket:
            await subscribed(it, socket)
            await publish(it, "one")
            position = (await said(socket))["position"]
            it.live.drain()
            assert await closing(socket, "resume at " + position) == 1001
        await eventually(lambda: not it.feed.followed)
        assert (await it.call("GET", "/readyz")).status_code == 503
