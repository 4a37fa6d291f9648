"""A shop live: server-sent events and sockets, resumed, filtered, beaten, cut off."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from api.ezout import hub
from api.ezout.parts import Pace
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.fixtures.tills import SESSION
from tests.integration.ezout.market import LIVELY, Market, bearing, market, market_on, some_shop
from tests.memory.site import PATIENCE_S, eventually


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fair(nats_server: NatsServer) -> AsyncIterator[Market]:
    """One market for all tests of this module; each has a shop of its own."""
    async with market_on(nats_server, pace=LIVELY) as made:
        yield made


async def heard(socket: ClientConnection) -> dict[str, Any]:
    """The next frame that is no beat."""
    async with asyncio.timeout(PATIENCE_S):
        while (frame := json.loads(await socket.recv()))["type"] == "beat":
            pass
    found: dict[str, Any] = frame
    return found


async def products(socket: ClientConnection, count: int) -> list[int]:
    """product_id of the next updates."""
    return [(await heard(socket))["data"]["product_id"] for _ in range(count)]


async def test_a_socket_shows_updates_as_they_come(fair: Market) -> None:
    """The first frame says where the stream stands; then each update comes, as it is on NATS, with its id."""
    shop = some_shop()
    async with fair.socket(shop) as page:
        assert (await heard(page))["type"] == "open"
        await fair.sent(1, shop=shop)
        frame = await heard(page)
    assert (frame["type"], frame["data"]["UPC"], frame["data"]["product_price"]) == (
        "update",
        "0012345678905",
        3.5,
    )
    assert frame["data"]["create_time"] == "2023-12-18 10:30:00+00:00"
    assert frame["id"]


async def test_an_event_stream_shows_updates_and_messages(fair: Market) -> None:
    """Updates are `update` events, addressed messages `message` events, in the order they were published."""
    shop = some_shop()
    async with fair.events(shop) as page:
        assert (await page.next())[0] == "open"
        await fair.sent(1, shop=shop)
        await fair.client.post("/send", json={"shop_id": str(shop), "data": "line 1\nline 2"})
        kinds = [await page.next(), await page.next()]
    assert [kind for kind, _ in kinds] == ["update", "message"]
    assert kinds[1][1] == {"shop_id": str(shop), "data": "line 1\nline 2"}


async def test_other_shops_updates_do_not_show(fair: Market) -> None:
    """A page sees its shop alone."""
    shop, other = some_shop(), some_shop()
    async with fair.events(shop) as page:
        await page.next()
        await fair.sent(3, shop=other, start=900)
        await fair.sent(1, shop=shop, start=1)
        assert await page.products(1) == [1]


async def test_a_stream_resumes_from_any_message_without_gap_or_repeat(fair: Market) -> None:
    """Last-Event-ID of any message brings exactly what came after it, though more comes meanwhile."""
    shop = some_shop()
    await fair.sent(12, shop=shop)
    ids: list[str] = []
    async with fair.events(shop, after="first") as page:
        for number in range(12):
            assert await page.products(1) == [number]
            ids.append(page.last_id)
    for number, last_id in enumerate(ids):
        async with asyncio.TaskGroup() as group, fair.events(shop, last_id=last_id) as page:
            group.create_task(fair.sent(1, shop=shop, start=12 + number))
            assert await page.products(12) == list(range(number + 1, number + 13))


async def test_a_socket_resumes_from_the_id_it_had(fair: Market) -> None:
    """`after` with a frame's id brings what was missed, in order, none twice; the same ids serve both transports."""
    shop = some_shop()
    async with fair.events(shop) as page:
        await page.next()
        await fair.sent(2, shop=shop)
        assert await page.products(2) == [0, 1]
    await fair.sent(3, shop=shop, start=2)
    async with fair.socket(shop, after=page.last_id) as again:
        await heard(again)
        await fair.sent(1, shop=shop, start=5)
        assert await products(again, 4) == [2, 3, 4, 5]


async def test_streams_that_come_and_go_under_load_miss_nothing(fair: Market) -> None:
    """Readers that reconnect at random while updates pour in see every one once and in order."""
    shop, count = some_shop(), 400
    chance = random.Random(5)

    async def reader() -> list[int]:
        seen: list[int] = []
        last_id = ""
        while len(seen) < count:
            query = {} if last_id else {"after": "first"}
            async with fair.events(shop, last_id=last_id, **query) as page:
                seen += await page.products(min(chance.randint(1, 60), count - len(seen)))
                last_id = page.last_id
        return seen

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(reader()) for _ in range(4)]
        group.create_task(fair.sent(count, shop=shop))
    for each in readers:
        assert each.result() == list(range(count))


async def test_a_long_archive_is_shown_whole(fair: Market) -> None:
    """More than one page of the archive comes through, in order, and the stream goes on live."""
    shop, count = some_shop(), hub.PAGE * 2 + 7
    body = b'{"action":"ADD","product_id":%d}'
    for number in range(count):
        await fair.log.js.connection.tell(f"updates.store.{shop}", body % number)
    async with fair.events(shop, after="first") as page:
        assert await page.products(count) == list(range(count))
        await fair.sent(1, shop=shop, start=count)
        assert await page.products(1) == [count]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"action": "REMOVE"}, [2]),
        ({"session": str(SESSION)}, [1, 2]),
        ({"product": 3}, [3]),
        ({"action": "ADD", "session": str(SESSION)}, [1]),
    ],
)
async def test_filters_show_what_was_asked_for(fair: Market, query: dict[str, Any], shown: list[int]) -> None:
    """By action, session and product, in the archive and live, and together."""
    shop, other = some_shop(), str(some_shop())
    for start in (0, 0):
        async with fair.events(shop, after="first", **query) as page:
            await page.next()
            await fair.sent(1, shop=shop, start=1)
            await fair.sent(1, shop=shop, start=2, action="REMOVE")
            await fair.sent(1, shop=shop, start=3, session_id=other)
            assert await page.products(len(shown)) == shown
        shown = shown * 2 if start == 0 else shown


PAST_US = [
    (b'{"hello":\n "there"}', {"hello": "there"}),
    (b'{"hello":\r\n "there"}', {"hello": "there"}),
    (b'{"action":5}', {"action": 5}),
    (b'{"action":"\xff"}', '{"action":"\ufffd"}'),
    (b'{"x":"\xff"}', '{"x":"\ufffd"}'),
    (b"hello\nthere", "hello\nthere"),
    (b"", ""),
    (b'{"x":' * 3_000, '{"x":' * 3_000),
]
"""What services publish straight to NATS, and what is seen of it: its value if it is JSON, else its text."""


async def test_what_was_published_past_us_shows_too(fair: Market) -> None:
    """A service that publishes straight to NATS is seen, even if it does not keep the contract, and stops nobody.

    In every form of the stream and of the export it is JSON, one line each.
    """
    shop = some_shop()
    async with fair.events(shop) as page, fair.socket(shop) as other:
        await page.next()
        await heard(other)
        for body, seen in PAST_US:
            await fair.log.js.connection.tell(f"updates.store.{shop}", body)
            assert await page.next() == ("message", seen)
            frame = await heard(other)
            assert (frame["type"], frame["data"]) == ("message", seen)
    lines = (await fair.client.get(f"/shops/{shop}/updates/export")).text.split("\n")
    assert [json.loads(line)["data"] for line in lines if line] == [seen for _, seen in PAST_US]


@pytest.mark.parametrize("position", ["", "x", "²", "9" * 5_000])
async def test_what_the_server_has_not_published_again_is_not_shown(fair: Market, position: str) -> None:
    """Somebody else's message on the subject that streams follow neither shows nor costs us the connection."""
    lines = f"Nats-Sequence: {position}\r\nNats-Last-Sequence: 1\r\n".encode() if position else b""
    shop = some_shop()
    generation = fair.log.js.connection.generation
    async with fair.events(shop) as page:
        await fair.sent(1, shop=shop)
        assert await page.products(1) == [0]
        await eventually(lambda: shop in fair.hub._shops)
        await fair.log.js.connection.tell(f"live.updates.store.{shop}", b'{"forged":1}', lines=lines)
        await fair.sent(1, shop=shop, start=7)
        assert await page.products(1) == [7]
    assert fair.log.js.connection.generation == generation


async def test_a_long_way_back_is_not_silent(own_server: NatsServer) -> None:
    """A reader that goes through a long archive and finds nothing to show beats from where it is: it can go on there.

    What else is looked at all the time, such as the end of its token, is looked at then, too.
    """
    shop, count = some_shop(), hub.PAGE * 2 + 1
    async with (
        open_log(log_config(own_server), master_key=MASTER_KEY) as log,
        market(log, pace=Pace(beat_s=0.0, tick_s=PATIENCE_S)) as fair,
    ):
        for number in range(count):
            await fair.log.js.connection.tell(f"updates.store.{shop}", b'{"product_id":%d}' % number)
        async with fair.socket(shop, action="NONE", after="first") as page:
            beats = [json.loads(await page.recv())["id"] for _ in range(3)]
    take = fair.hub.stream_ids(shop).take
    assert [take(id, field="id") for id in beats] == [0, hub.PAGE, 2 * hub.PAGE]


@pytest.mark.parametrize("last_id", ["nonsense", "1", "-1", "a.b"])
async def test_an_id_that_is_not_ours_is_refused(fair: Market, last_id: str) -> None:
    """Made-up ids get 422, and a socket 4422: a browser then stops asking."""
    shop = some_shop()
    answer = await fair.client.get(f"/shops/{shop}/stream", headers={"Last-Event-ID": last_id})
    assert (answer.status_code, answer.json()["field"]) == (422, "after")
    async with fair.socket(shop, after=last_id) as page:
        with pytest.raises(ConnectionClosed):
            await page.recv()
        assert page.close_code == 4422


async def test_an_id_of_another_shop_or_another_log_is_refused(fair: Market) -> None:
    """An id is good for one shop of one log; a position beyond the end means that this is another log."""
    shop, other = some_shop(), some_shop()
    ids = fair.hub.stream_ids(other)
    beyond = fair.hub.stream_ids(shop).give(10**9)
    for last_id in (ids.give(1), beyond):
        answer = await fair.client.get(f"/shops/{shop}/stream", params={"after": last_id})
        assert answer.status_code == 422


async def test_a_silent_stream_beats(fair: Market) -> None:
    """A stream with nothing to show says so, with an id to resume from."""
    shop = some_shop()
    async with fair.socket(shop, action="NONE") as page:
        opened = await heard(page)
        await fair.sent(1, shop=shop)
        beat = opened
        async with asyncio.timeout(PATIENCE_S):
            while beat["id"] == opened["id"]:
                beat = json.loads(await page.recv())
    assert beat["type"] == "beat"
    async with fair.socket(shop, after=beat["id"]) as page:
        await heard(page)
        await fair.sent(1, shop=shop, start=1)
        assert await products(page, 1) == [1]


async def test_nobody_left_means_no_subscription(fair: Market) -> None:
    """When the last page of a shop goes, this process follows the shop no more."""
    shop = some_shop()
    async with fair.events(shop) as one, fair.events(shop) as two:
        await one.next()
        await two.next()
        await eventually(lambda: fair.hub.readers == 2)
        assert shop in fair.hub._shops
    await eventually(lambda: shop not in fair.hub._shops)


async def test_messages_lost_with_the_connection_are_read_from_the_archive(own_server: NatsServer) -> None:
    """The log goes away and comes back: what was published meanwhile, by others, shows all the same."""
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log, market(log) as fair:
        shop = some_shop()
        async with fair.events(shop) as page:
            await page.next()
            await fair.sent(1, shop=shop)
            assert await page.products(1) == [0]
            await own_server.kill()
            await own_server.start()
            async with open_log(log_config(own_server), master_key=MASTER_KEY) as till:
                await till.js.connection.ask(f"updates.store.{shop}", b'{"action":"ADD","product_id":1}')
            assert await page.products(1) == [1]


async def test_a_process_that_shuts_down_says_so(fair: Market) -> None:
    """Open pages are told to go on elsewhere; new ones are refused for now."""
    shop = some_shop()
    try:
        async with fair.socket(shop) as page:
            await heard(page)
            fair.hub.drain()
            with pytest.raises(ConnectionClosed):
                await page.recv()
            assert page.close_code == 1001
        answer = await fair.client.get(f"/shops/{shop}/stream")
        assert answer.status_code == 503
    finally:
        fair.hub.is_draining = False


async def test_a_browser_that_cannot_be_served_now_comes_back(fair: Market) -> None:
    """An EventSource gives up for good at any error's status: it is told to come back later, and where it was."""
    shop = some_shop()
    asks = {"Accept": "text/event-stream"}
    fair.hub.drain()
    try:
        answer = await fair.client.get(f"/shops/{shop}/stream", headers=asks)
    finally:
        fair.hub.is_draining = False
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    retry, event, data, *_ = answer.text.splitlines()
    assert (retry, event) == ("retry: 3000", "event: close")
    assert json.loads(data.removeprefix("data: "))["code"] == 1013
    wrong = await fair.client.get("/shops/x/stream", headers=asks)
    assert wrong.status_code == 422


async def test_a_stream_is_for_get_alone(fair: Market) -> None:
    """Other methods get 405."""
    answer: httpx.Response = await fair.client.post(f"/shops/{some_shop()}/stream", headers=bearing(None))
    assert answer.status_code == 405
