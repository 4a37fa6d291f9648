"""The RES service: the protocol's own messages over NATS, and a stock Resgate with its stock client where they are."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.log.opened import open_log
from infra.nats.server import NatsServer
from infra.nats.wire.frames import Frame, publish_frame
from processes.res.rings import LAST
from processes.res.service import ResService
from tests.fixtures.nats import MASTER_KEY, log_config, wipe
from tests.fixtures.tills import update
from tests.integration.ezout.market import Market, market, merchant, some_shop
from tests.integration.ezout.res_sides import Gateway, gateway, serving
from tests.memory.site import eventually, token

CLIENT = Path(__file__).with_name("res_client.js")


@dataclass(slots=True)
class Scene:
    fair: Market
    service: ResService
    gateway: Gateway


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def whole(nats_server: NatsServer) -> AsyncIterator[Scene]:
    await wipe(nats_server)
    async with (
        open_log(log_config(nats_server), master_key=MASTER_KEY) as log,
        market(log) as fair,
        gateway(nats_server) as heard,
        serving(fair) as service,
    ):
        assert await heard.event() == (
            "system.reset",
            {"resources": ["updates.store.>"], "access": ["updates.store.>"]},
        )
        yield Scene(fair, service, heard)


@pytest.fixture
def scene(whole: Scene) -> Scene:
    """Nothing heard yet."""
    while not whole.gateway.events.empty():
        whole.gateway.events.get_nowait()
    return whole


@pytest.mark.parametrize(
    "request_", [b'{"cid":"\xff"}', b'{"params":' + b"[" * 9_000 + b"]" * 9_000 + b"}", b"{", b"[]"]
)
async def test_a_request_that_cannot_be_read_harms_nobody(request_: bytes, scene: Scene) -> None:
    """It is refused, and the next one is answered."""
    subject = f"access.updates.store.{some_shop()}"
    frame = await scene.gateway.connection.ask(subject, request_)
    assert json.loads(frame.data)["error"]["code"] == "system.invalidParams"
    assert (await scene.gateway.ask(subject))["error"]["code"] == "system.accessDenied"


async def test_a_collection_is_the_last_updates_in_order(scene: Scene) -> None:
    """A get answers a collection of data values, the newest last, each as it was published."""
    shop = some_shop()
    await scene.fair.sent(3, shop=shop)
    answer = await scene.gateway.ask(f"get.updates.store.{shop}")
    values = answer["result"]["collection"]
    assert [value["data"]["product_id"] for value in values] == [0, 1, 2]
    assert values[0]["data"] == update(
        shop_id=str(shop), product_id=0, create_time="2023-12-18 10:30:00+00:00"
    )


async def test_new_updates_are_added_at_the_end_and_the_oldest_removed(scene: Scene) -> None:
    """After a get, every update is an add event; a full collection loses its first value."""
    shop = some_shop()
    await scene.fair.sent(LAST - 1, shop=shop)
    mirror = await scene.gateway.collection(shop)
    await scene.fair.sent(3, shop=shop, start=LAST - 1)
    for _ in range(5):
        subject, payload = await scene.gateway.event()
        if subject == f"event.updates.store.{shop}.add":
            mirror.insert(payload["idx"], payload["value"]["data"]["product_id"])
        else:
            assert subject == f"event.updates.store.{shop}.remove"
            del mirror[payload["idx"]]
    assert mirror == list(range(2, LAST + 2))
    assert mirror == await scene.gateway.collection(shop)


async def test_a_late_update_of_an_earlier_time_stands_where_it_belongs(scene: Scene) -> None:
    """A till that was offline adds in the past: the event's idx says where."""
    shop = some_shop()
    await scene.fair.sent(2, shop=shop)
    assert await scene.gateway.collection(shop) == [0, 1]
    await scene.fair.sent(1, shop=shop, start=9, create_time="2020-01-01T00:00:00Z")
    assert (await scene.gateway.event())[1]["idx"] == 0
    assert await scene.gateway.collection(shop) == [9, 0, 1]


async def test_a_till_whose_clock_runs_ahead_keeps_nothing_else_from_being_shown(scene: Scene) -> None:
    """However many of its updates there are: what is published after them comes behind them, live and when asked."""
    shop = some_shop()
    await scene.fair.sent(LAST, shop=shop, create_time="9000-01-01T00:00:00Z")
    assert await scene.gateway.collection(shop) == list(range(LAST))
    now = datetime.now(UTC).isoformat()
    await scene.fair.sent(1, shop=shop, start=LAST, create_time=now)
    subject, event = await scene.gateway.event()
    assert (subject, event["idx"]) == (f"event.updates.store.{shop}.add", LAST)
    assert await scene.gateway.collection(shop) == list(range(1, LAST + 1))


async def test_answers_and_events_build_on_each_other(scene: Scene) -> None:
    """Whoever gets while updates pour in and then applies the events has what is there, however they interleave."""
    shop = some_shop()
    await scene.fair.sent(1, shop=shop)
    order: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    connection = scene.gateway.connection

    def on_frame(frame: Frame) -> None:
        order.put_nowait((frame.subject.decode(), json.loads(frame.data)))

    mine = [
        await connection.route_surely(subject, on_frame)
        for subject in (f"event.updates.store.{shop}.*", "answers")
    ]
    async with asyncio.TaskGroup() as group:
        group.create_task(scene.fair.sent(30, shop=shop, start=1))
        for _ in range(10):
            await connection.send(publish_frame(f"get.updates.store.{shop}", b"", reply="answers"))
            await asyncio.sleep(0.003)
    await eventually(lambda: order.qsize() >= 10)
    await scene.gateway.collection(shop)
    mirror: list[int] | None = None
    while not order.empty():
        subject, payload = order.get_nowait()
        if subject == "answers":
            seen = [value["data"]["product_id"] for value in payload["result"]["collection"]]
            assert mirror is None or mirror == seen
            mirror = seen
        elif mirror is not None:
            mirror.insert(payload["idx"], payload["value"]["data"]["product_id"])
    assert mirror == list(range(31))
    for subscription in mine:
        await connection.unroute(subscription)


async def test_a_shop_nobody_knows_is_an_empty_collection(scene: Scene) -> None:
    """A merchant's page may be opened before the first update."""
    assert await scene.gateway.collection(some_shop()) == []


@pytest.mark.parametrize("name", ["7", "nonsense", "7F6C2B8E-1D7A-4A55-9A3B-0C9F3C1D2E4F"])
async def test_what_is_no_shop_is_not_found(scene: Scene, name: str) -> None:
    """Only UUIDs as they are written on subjects are resources."""
    for kind in ("get", "access"):
        answer = await scene.gateway.ask(f"{kind}.updates.store.{name}")
        assert answer["error"]["code"] == "system.notFound"


async def test_a_query_is_refused(scene: Scene) -> None:
    """Collections take no query."""
    answer = await scene.gateway.ask(f"get.updates.store.{some_shop()}", query="a=b")
    assert answer["error"]["code"] == "system.invalidQuery"


async def test_access_is_by_the_connections_token(scene: Scene) -> None:
    """Who may get, who may call, who neither; without a token nobody may do anything."""
    shop, other = some_shop(), some_shop()
    cases: list[tuple[str | None, Any]] = [
        (None, None),
        ("x.y.z", None),
        (merchant(other), None),
        (token(), None),
        (merchant(shop), {"get": True, "call": "publish,send"}),
        (merchant(shop, role="merchant"), {"get": True}),
        (merchant(shop, role="till"), {"call": "publish,send"}),
        (token(role="admin"), {"get": True, "call": "publish,send"}),
        (merchant(shop, realm="other"), None),
    ]
    for jwt, result in cases:
        request: dict[str, Any] = {"cid": "c1"} | ({"token": {"jwt": jwt}} if jwt else {})
        answer = await scene.gateway.ask(f"access.updates.store.{shop}", **request)
        if result is None:
            assert answer["error"]["code"] == "system.accessDenied"
        else:
            assert answer == {"result": result}


async def test_a_connection_signs_in_and_its_token_ends(scene: Scene) -> None:
    """auth.updates.login hands the connection its token before it answers, and takes it back when it expires."""
    brief = merchant(some_shop(), exp=int(time.time()) + 2)
    answer = await scene.gateway.ask("auth.updates.login", cid="c2", params={"token": brief})
    assert answer == {"result": None}
    assert await scene.gateway.event() == ("conn.c2.token", {"token": {"jwt": brief}})
    assert await scene.gateway.event() == ("conn.c2.token", {"token": None})
    header = {"Authorization": [f"Bearer {merchant(some_shop())}"]}
    assert await scene.gateway.ask("auth.updates.login", cid="c3", header=header) == {"result": None}
    for request in ({"cid": "c4"}, {"cid": "c4", "params": {"token": "x"}}):
        refused = await scene.gateway.ask("auth.updates.login", **request)
        assert refused["error"]["code"] == "system.accessDenied"
    for cid in ("", "a.b", "*"):
        refused = await scene.gateway.ask("auth.updates.login", cid=cid, params={"token": brief})
        assert refused["error"]["code"] == "system.invalidParams"


async def test_calls_publish_as_the_api_does(scene: Scene) -> None:
    """Call ... publish and send: stored and acknowledged, with the same checks and errors that name the field."""
    shop, other = some_shop(), some_shop()
    subject = f"call.updates.store.{shop}"
    by = {"token": {"jwt": merchant(shop)}}
    answer = await scene.gateway.ask(f"{subject}.publish", **by, params=update(shop_id=str(shop)))
    assert answer == {"result": {"status": f"Message sent to shop ID {shop}"}}
    answer = await scene.gateway.ask(f"{subject}.send", **by, params={"shop_id": str(shop), "data": 1})
    assert answer == {"result": {"status": f"Message sent to shop ID {shop}"}}
    assert len(await scene.fair.shops.since(shop, 0, 10)) == 2
    cases = [
        ("publish", by, update(shop_id=str(shop), product_price=-1), "system.invalidParams"),
        ("publish", by, update(shop_id=str(other)), "system.invalidParams"),
        ("publish", by, None, "system.invalidParams"),
        ("publish", {}, update(shop_id=str(shop)), "system.accessDenied"),
        ("publish", {"token": {"jwt": merchant(other)}}, update(shop_id=str(shop)), "system.accessDenied"),
        ("send", by, {"shop_id": str(shop), "data": "x" * 70_000}, "system.invalidParams"),
        ("delete", by, {}, "system.methodNotFound"),
    ]
    for method, who, params, code in cases:
        refused = await scene.gateway.ask(f"{subject}.{method}", **who, params=params)
        assert refused["error"]["code"] == code, refused
    assert len(await scene.fair.shops.since(shop, 0, 10)) == 2


async def test_a_call_that_says_something_twice_is_refused(scene: Scene) -> None:
    """As the API refuses it, by the field's name; its own key counts, too."""
    shop = some_shop()
    said = json.dumps({**update(shop_id=str(shop)), "idempotency_key": "k"}).removeprefix("{")
    for field, value in (("product_price", 1), ("idempotency_key", "null")):
        request = f'{{"token": {{"jwt": "{merchant(shop)}"}}, "params": {{"{field}": {value}, {said}}}'
        frame = await scene.gateway.connection.ask(f"call.updates.store.{shop}.publish", request.encode())
        error = json.loads(frame.data)["error"]
        assert (error["code"], error["data"]) == ("system.invalidParams", {"field": field})
    assert await scene.fair.shops.since(shop, 0, 10) == []


async def test_requests_that_are_no_json_are_answered(scene: Scene) -> None:
    """A broken request gets an error, and the service goes on."""
    frame = await scene.gateway.connection.ask(f"access.updates.store.{some_shop()}", b"{")
    assert json.loads(frame.data)["error"]["code"] == "system.invalidParams"
    assert await scene.gateway.collection(some_shop()) == []


async def test_a_call_with_a_key_is_carried_out_once(scene: Scene) -> None:
    """Repeated, it is one update, without the key in it; another message under the same key is refused."""
    shop = some_shop()
    by = {"token": {"jwt": merchant(shop)}}
    said = update(shop_id=str(shop))
    for params in (said, said):
        answer = await scene.gateway.ask(
            f"call.updates.store.{shop}.publish", **by, params={**params, "idempotency_key": "k-1"}
        )
        assert "result" in answer, answer
    stored = await scene.fair.shops.since(shop, 0, 10)
    assert len(stored) == 1
    assert b"idempotency" not in stored[0][1]
    for key, params in (("k-1", {**said, "product_id": 9}), ("a key", said), ("k" * 256, said)):
        refused = await scene.gateway.ask(
            f"call.updates.store.{shop}.publish", **by, params={**params, "idempotency_key": key}
        )
        assert refused["error"]["code"] == "system.invalidParams", refused
    assert len(await scene.fair.shops.since(shop, 0, 10)) == 1


def _stock() -> tuple[str, str, str]:
    """Resgate, node, and the folder with resclient and ws in it."""
    resgate = os.environ.get("MSGXC_TEST_RESGATE") or shutil.which("resgate")
    modules = os.environ.get("MSGXC_TEST_RESCLIENT", "")
    node = shutil.which("node")
    if not resgate or not modules or not node:
        pytest.skip(
            "A STOCK RESGATE WAS NOT TRIED: set MSGXC_TEST_RESGATE to its binary and MSGXC_TEST_RESCLIENT to a "
            "node_modules folder with resclient and ws"
        )
    return resgate, node, modules


async def test_a_stock_resgate_and_its_client_show_a_shop_live(scene: Scene, nats_server: NatsServer) -> None:
    """Resgate in front, resclient behind: sign in, get the collection, hear add and remove; no other shop."""
    resgate, node, modules = _stock()
    shop, other = some_shop(), some_shop()
    await scene.fair.sent(LAST, shop=shop)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    nats_url = nats_server.url.replace("nats://", f"nats://{nats_server.token}@")
    command = (resgate, "--nats", nats_url, "--addr", "127.0.0.1", "--port", str(port))
    gate = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        await eventually(lambda: _listens(port))
        client = await asyncio.create_subprocess_exec(
            *(node, str(CLIENT), f"ws://127.0.0.1:{port}", str(shop), str(other), merchant(shop)),
            env={**os.environ, "NODE_PATH": modules},
            stdout=asyncio.subprocess.PIPE,
        )
        assert client.stdout is not None
        async with asyncio.timeout(30):
            begun = json.loads(await client.stdout.readline())
            assert begun == {"before": "system.accessDenied", "other": "system.accessDenied", "length": LAST}
            await scene.fair.sent(1, shop=shop, start=LAST)
            assert json.loads(await client.stdout.readline()) == {
                "added": {"product_id": LAST, "UPC": "0012345678905", "product_price": 3.5},
                "removed": 0,
                "length": LAST,
            }
            assert json.loads(await client.stdout.readline()) == {"called": f"Message sent to shop ID {shop}"}
            await client.wait()
    finally:
        gate.terminate()
        await gate.wait()


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0
