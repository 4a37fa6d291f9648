"""One exchange, many clients at once: sockets and streams that come back, subscribers a moment old, twins."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid1, uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.fixtures.served import Served, served

PATIENCE_S = 10.0
FRESH = 50
TWINS = 20
RACERS = 25


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("live")) as running:
        yield running


def thread(exchange: Served) -> str:
    """A new one, open to subscribers; its tid."""
    tid = f"live-{uuid4().hex[:8]}"
    answer = exchange.call("POST", "/api/v2/threads", {"tid": tid, "name": tid, "opens": True})
    assert answer.status_code in {200, 201}, answer.text
    return tid


@asynccontextmanager
async def caller(exchange: Served, uid: str, role: str = "") -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {exchange.token(uid, *([role] if role else []))}"}
    async with httpx.AsyncClient(base_url=str(exchange.http.base_url), headers=headers, timeout=20) as client:
        yield client


async def publish(client: httpx.AsyncClient, tid: str, text: str, **headers: str) -> str:
    """The message's id."""
    answer = await client.post("/api/v2/publish", json={"tid": tid, "msg": text}, headers=headers)
    assert (answer.status_code, answer.json()) == (200, True), answer.text
    return answer.headers["location"].rpartition("/")[2]


def socket(exchange: Served) -> connect:
    """As the original's client does: a visitor's id, a session's id, nothing else."""
    return connect(f"ws://127.0.0.1:{exchange.port}/api/v2/connect/{uuid4()}/{uuid1()}")


async def say(connection: ClientConnection, **frame: Any) -> None:
    await connection.send(json.dumps(frame))


async def said(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        frame: dict[str, Any] = json.loads(await connection.recv())
    return frame


async def until_said(connection: ClientConnection, slug: str) -> list[dict[str, Any]]:
    """All frames up to the one with this slug, which is the last."""
    frames = [await said(connection)]
    while frames[-1].get("slug") != slug:
        frames.append(await said(connection))
    return frames


async def subscribe(connection: ClientConnection, exchange: Served, tid: str, uid: str) -> dict[str, Any]:
    await say(connection, slug="/api/v2/subscribe/thread", tid=tid, jwt=exchange.token(uid))
    frame = await said(connection)
    assert frame["ok"] is True, frame
    return frame


async def test_a_socket_that_comes_back_gets_what_it_missed(exchange: Served) -> None:
    """Subscribe, receive with a position, disconnect, miss messages, resume: in order, none twice, then live ones."""
    tid = thread(exchange)
    async with caller(exchange, "ops", "admin") as ops, socket(exchange) as stays:
        await subscribe(stays, exchange, tid, "bob")
        async with socket(exchange) as first:
            await subscribe(first, exchange, tid, "ann")
            await publish(ops, tid, "seen")
            frame = await said(first)
            assert (frame["msg"], frame["slug"]) == ("seen", f"/thread/{tid}")
        missed_texts = [f"missed {number}" for number in range(20)]
        for text in missed_texts:
            await publish(ops, tid, text)
        assert [(await said(stays))["msg"] for _ in range(21)] == ["seen", *missed_texts]
        async with socket(exchange) as second:
            await say(second, slug="/ping", jwt=exchange.token("ann"))
            await said(second)
            await say(second, slug="/api/v2/resume", position=frame["position"])
            *missed, answer = await until_said(second, "/api/v2/resume")
            assert answer["data"]["complete"] is True
            assert [each["msg"] for each in missed] == missed_texts
            positions = [each["position"] for each in missed]
            assert sorted(set(positions)) == positions
            await publish(ops, tid, "live")
            assert (await said(second))["msg"] == "live"


async def settled(exchange: Served, mid: str) -> None:
    """Until it is decided who gets it."""
    async with asyncio.timeout(PATIENCE_S):
        while (await asyncio.to_thread(exchange.message, mid))["state"] not in {"dispatched", "settled"}:
            await asyncio.sleep(0.02)


async def test_a_resume_amid_a_stream_of_messages_misses_none(exchange: Served) -> None:
    """While others publish, a socket is cut again and again; put together it has each message once."""
    tid, total = thread(exchange), 120
    async with caller(exchange, "ops", "admin") as ops:
        seen: list[str] = []
        async with socket(exchange) as connection:
            position = (await subscribe(connection, exchange, tid, "cutter"))["position"]
        publishing = asyncio.create_task(_publish_many(ops, tid, total))
        async with asyncio.timeout(40):
            while len(seen) < total:
                async with socket(exchange) as connection:
                    await say(connection, slug="/ping", jwt=exchange.token("cutter"))
                    await say(connection, slug="/api/v2/resume", position=position)
                    until = len(seen) + 25
                    while len(seen) < min(until, total):
                        frame = await said(connection)
                        if "msg" in frame:
                            seen.append(frame["msg"])
                            position = frame["position"]
        await publishing
        assert sorted(seen) == sorted(f"m{number}" for number in range(total))


async def _publish_many(ops: httpx.AsyncClient, tid: str, total: int) -> None:
    for number in range(total):
        await publish(ops, tid, f"m{number}")


async def test_server_sent_events_go_on_after_the_last_id(exchange: Served) -> None:
    """Last-Event-ID brings what was missed, once; a first stream says an id before any message."""
    tid = thread(exchange)
    async with caller(exchange, "ops", "admin") as ops, caller(exchange, "sse") as reader:
        assert (await reader.post("/api/v2/subscribe", json={"tid": tid})).status_code == 200
        last, _ = await _read_events(reader, "", 0)
        for text in ("one", "two", "three"):
            await publish(ops, tid, text)
        last, texts = await _read_events(reader, last, 2)
        assert texts == ["one", "two"]
        _, texts = await _read_events(reader, last, 1)
        assert texts == ["three"]


async def _read_events(reader: httpx.AsyncClient, last: str, count: int) -> tuple[str, list[str]]:
    """(the last id, the texts of `count` messages)."""
    headers = {"last-event-id": last} if last else {}
    texts: list[str] = []
    async with asyncio.timeout(PATIENCE_S), reader.stream("GET", "/api/v2/stream", headers=headers) as stream:
        assert stream.status_code == 200
        async for line in stream.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                last = value
            elif name == "data" and "msg" in json.loads(value):
                texts.append(json.loads(value)["msg"])
            if not line and last and len(texts) == count:
                return last, texts
    raise AssertionError("the stream ended")


async def test_a_revoked_subscriber_hears_nothing_more(exchange: Served) -> None:
    """Within a second its open socket says so and stops; the others go on."""
    tid = thread(exchange)
    async with (
        caller(exchange, "ops", "admin") as ops,
        socket(exchange) as out,
        socket(exchange) as stays,
    ):
        await subscribe(out, exchange, tid, "bob")
        await subscribe(stays, exchange, tid, "carl")
        await publish(ops, tid, "both")
        assert [(await said(out))["msg"], (await said(stays))["msg"]] == ["both", "both"]
        gone = await ops.post("/api/v2/unsubscribe", json={"tid": tid, "uid": "bob"})
        revoked_s = time.monotonic()
        assert gone.status_code == 200, gone.text
        notice = await said(out)
        assert notice["data"]["action"] == "unsubscribed", notice
        assert time.monotonic() - revoked_s < 1.0
        await publish(ops, tid, "the rest")
        assert (await said(stays))["msg"] == "the rest"
        await say(out, slug="/ping")
        assert (await said(out))["slug"] == "/ping"


async def test_a_withdrawn_right_does_not_come_back_by_a_reconnect(exchange: Served) -> None:
    """A second after the thread was shut, who came by its openness gets its messages on no channel, however it asks."""
    tid = thread(exchange)
    async with caller(exchange, "ops", "admin") as ops, caller(exchange, "dora") as dora:
        opened = await ops.put(f"/api/v2/threads/{tid}", json={"opens": True})
        assert opened.status_code in (200, 201), opened.text
        mail = await ops.put("/api/v2/contacts/dora", json={"email": "dora@example.org"})
        assert mail.status_code == 201, mail.text
        async with socket(exchange) as out:
            position = (await subscribe(out, exchange, tid, "dora"))["position"]
            await publish(ops, tid, "open")
            assert (await said(out))["msg"] == "open"
            shut = await ops.put(f"/api/v2/threads/{tid}", json={})
            assert shut.status_code == 200, shut.text
            assert (await said(out))["data"]["action"] == "unsubscribed"
        mid = await publish(ops, tid, "inside")
        async with socket(exchange) as again:
            jwt = exchange.token("dora")
            await say(again, slug="/api/v2/resume", position=position, jwt=jwt)
            assert (await said(again))["slug"] == "/api/v2/resume"
            await say(again, slug="/api/v2/subscribe/thread", tid=tid, jwt=jwt)
            assert (await said(again))["error"].startswith("404 ")
        assert (await dora.get(f"/api/v2/stream?tid={tid}")).status_code == 404
        await settled(exchange, mid)
        listed = await ops.get(f"/api/v2/messages/{mid}/deliveries")
        assert listed.json()["items"] == []


async def test_many_changes_of_one_contact_at_once_are_all_made(exchange: Served) -> None:
    """Each is answered as if it had come alone."""
    async with caller(exchange, "ops", "admin") as ops:
        mails = [f"race{number}@example.org" for number in range(RACERS)]
        answers = await asyncio.gather(
            *(ops.put("/api/v2/contacts/race", json={"email": mail}) for mail in mails)
        )
        assert sorted(each.status_code for each in answers) == [200] * (RACERS - 1) + [201]
        erased = await ops.delete("/api/v2/contacts/race")
        assert erased.status_code == 200, erased.text


async def test_who_subscribes_and_then_publishes_is_always_reached(exchange: Served) -> None:
    """Fifty new people, each published to right after the subscription: each has every later message, too."""
    tid = thread(exchange)
    mids: list[str] = []
    async with caller(exchange, "ops", "admin") as ops:
        for number in range(FRESH):
            async with caller(exchange, f"fresh{number}") as fresh:
                assert (await fresh.post("/api/v2/subscribe", json={"tid": tid})).status_code == 200
            mids.append(await publish(ops, tid, f"for {number + 1}"))
        for number, mid in enumerate(mids):
            await settled(exchange, mid)
            totals = exchange.message(mid)["totals"]
            assert totals["contacts"] == number + 1, totals


async def test_who_enlists_and_then_publishes_is_always_reached(exchange: Served) -> None:
    """A phone enlisted a moment ago rings."""
    tid = thread(exchange)
    uids = [f"phone{number}" for number in range(FRESH // 5)]
    async with caller(exchange, "ops", "admin") as ops:
        mids = []
        for number, uid in enumerate(uids):
            async with caller(exchange, uid) as phone:
                token = f"{number:02x}" * 32
                assert (await phone.post("/api/v2/subscribe", json={"tid": tid})).status_code == 200
                enlisted = await phone.post("/api/v2/enlist", json={"os": "ios", "token": token})
                assert enlisted.status_code == 200, enlisted.text
            mids.append(await publish(ops, tid, f"ring {uid}"))
        for number, mid in enumerate(mids):
            await asyncio.to_thread(
                exchange.until, lambda mid=mid: exchange.message(mid)["state"] == "settled", PATIENCE_S
            )
            reached = {row["contact"] for row in exchange.deliveries(mid) if row["channel"] == "apns"}
            assert reached == set(uids[: number + 1])


async def test_twins_make_one_message(exchange: Served) -> None:
    """Twenty of one publish at once under one key: all are told the same message; another text is refused."""
    tid = thread(exchange)
    key = f"twin-{uuid4().hex}"
    async with caller(exchange, "ops", "admin") as ops:
        mids = await asyncio.gather(
            *(publish(ops, tid, "once", **{"Idempotency-Key": key}) for _ in range(TWINS))
        )
        assert len(set(mids)) == 1
        other = await ops.post(
            "/api/v2/publish", json={"tid": tid, "msg": "twice"}, headers={"Idempotency-Key": key}
        )
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")
        await settled(exchange, mids[0])
        page = (await ops.get(f"/api/v2/threads/{tid}/messages")).json()
        assert [UUID(item["mid"]) for item in page["items"]] == [UUID(mids[0])]
