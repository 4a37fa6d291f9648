"""POST /publish/{shop_id} and /send, as the contract's table says."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from domain.recorded import SHOPS
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from infra.nats.wire.connection import Connection, Endpoint, connected
from infra.nats.wire.frames import Frame
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.fixtures.tills import SESSION, SHOP, update
from tests.integration.ezout.market import OTHER, Market, market, market_on, some_shop
from tests.memory.site import PATIENCE_S


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fair(nats_server: NatsServer) -> AsyncIterator[Market]:
    """One market for all tests of this module: they look at what comes after `head`."""
    async with market_on(nats_server) as made:
        yield made


@pytest_asyncio.fixture
async def head(fair: Market) -> int:
    return await fair.stored()


@asynccontextmanager
async def subscriber(server: NatsServer, subject: str) -> AsyncIterator[asyncio.Queue[Frame]]:
    """A plain subscriber with a connection of its own, as `nats sub` is."""
    heard: asyncio.Queue[Frame] = asyncio.Queue()
    connection: Connection
    async with connected(Endpoint(urls=server.url, token=server.token, name="nats sub")) as connection:
        await connection.route_surely(subject, heard.put_nowait)
        yield heard


async def test_an_update_reaches_plain_subscribers_with_the_same_fields(
    fair: Market, nats_server: NatsServer
) -> None:
    """The till gets its answer, and a plain NATS subscriber one JSON object: 3.50 is 3.5, the UPC keeps its zeros."""
    async with subscriber(nats_server, f"updates.store.{SHOP}") as heard:
        body = json.dumps(update()).replace("3.5", "3.50").encode()
        answer = await fair.publish(body)
        assert answer.status_code == 200
        assert answer.json() == {"status": f"Message sent to shop ID {SHOP}"}
        async with asyncio.timeout(PATIENCE_S):
            frame = await heard.get()
    assert json.loads(frame.data) == update(create_time="2023-12-18 10:30:00+00:00")
    assert b'"product_price":3.5,' in frame.data


async def test_the_answer_comes_after_the_stream_has_the_update(fair: Market, head: int) -> None:
    """Once the till is answered, the update is in the archive, at the next position."""
    assert (await fair.publish()).status_code == 200
    entries = await fair.shops.since(SHOP, head, 10)
    assert [position for position, _, _ in entries] == [head + 1]
    assert json.loads(entries[0][1])["UPC"] == "0012345678905"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_id", "x"),
        ("shop_id", "x"),
        ("shopper_id", 1),
        ("action_id", "one"),
        ("create_time", "2023-12-18 10:30"),
        ("action", ""),
        ("product_name", 7),
        ("product_id", 1.5),
        ("product_price", -1),
        ("product_price", "1_000"),
        ("UPC", 12345),
        ("category_id", None),
        ("basket_total", -0.01),
    ],
)
async def test_a_bad_field_is_422_by_name_and_nothing_is_published(
    fair: Market, head: int, field: str, value: Any
) -> None:
    """Every field of the contract, wrong: 422, the field named, nothing on the stream."""
    answer = await fair.publish(update(**{field: value}), shop=SHOP)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert answer.headers["content-type"] == "application/problem+json"
    assert await fair.stored() == head


@pytest.mark.parametrize("field", sorted(update()))
async def test_a_missing_field_is_422_by_name(fair: Market, head: int, field: str) -> None:
    """Every field of the contract is needed."""
    body = {name: value for name, value in update().items() if name != field}
    answer = await fair.publish(body, shop=SHOP)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert await fair.stored() == head


@pytest.mark.parametrize("shop", [str(OTHER), "7", "not-a-uuid", str(SHOP)[:-1], f"{SHOP}x", SHOP.hex])
async def test_the_shop_of_the_address_is_the_one_of_the_body(fair: Market, head: int, shop: str) -> None:
    """Another shop, or no UUID, in the address: 422 by shop_id, nothing published."""
    answer = await fair.publish(update(), shop=shop)
    assert (answer.status_code, answer.json()["field"]) == (422, "shop_id")
    assert await fair.stored() == head


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a":' * 3000])
async def test_what_is_no_update_is_422(fair: Market, head: int, body: bytes) -> None:
    """Bodies that are no JSON object, broken or absurdly deep, are refused; nothing is published."""
    answer = await fair.publish(body, shop=SHOP)
    assert answer.status_code == 422
    assert await fair.stored() == head


async def test_a_field_that_is_there_twice_is_422_by_name(fair: Market, head: int) -> None:
    """Of two prices nobody knows which is meant; nothing is published."""
    body = json.dumps(update()).replace('"product_price"', '"product_price": 3, "product_price"').encode()
    answer = await fair.publish(body, shop=SHOP)
    assert (answer.status_code, answer.json()["field"]) == (422, "product_price")
    message = b'{"shop_id": "%b", "data": 1, "data": 2}' % str(SHOP).encode()
    answer = await fair.client.post("/send", content=message)
    assert (answer.status_code, answer.json()["field"]) == (422, "data")
    assert await fair.stored() == head


async def test_an_id_in_capitals_is_the_same_shop(fair: Market, head: int) -> None:
    """UUIDs are the same in either case; the subject has the lower one."""
    answer = await fair.publish(update(shop_id=str(SHOP).upper()), shop=str(SHOP).upper())
    assert answer.json() == {"status": f"Message sent to shop ID {SHOP}"}
    assert len(await fair.shops.since(SHOP, head, 10)) == 1


@pytest.mark.parametrize("session", [None, str(SESSION)])
async def test_a_message_is_sent_to_a_shop_or_to_one_session(
    fair: Market, head: int, session: str | None
) -> None:
    """POST /send puts {shop_id, session_id?, data} on the shop's subject."""
    body = {"shop_id": str(SHOP), "data": {"text": "Your table is ready", "lines": [1, 2.5, None]}}
    if session:
        body["session_id"] = session
    answer = await fair.client.post("/send", json=body)
    assert answer.status_code == 200
    assert answer.json() == {"status": f"Message sent to shop ID {SHOP}"}
    [(_, stored, _)] = await fair.shops.since(SHOP, head, 10)
    assert json.loads(stored) == body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"data": 1}, "shop_id"),
        ({"shop_id": str(SHOP)}, "data"),
        ({"shop_id": "x", "data": 1}, "shop_id"),
        ({"shop_id": str(SHOP), "session_id": "x", "data": 1}, "session_id"),
    ],
)
async def test_a_wrong_message_is_422_by_name(
    fair: Market, head: int, body: dict[str, Any], field: str
) -> None:
    """Each field of /send, wrong or missing: 422, the field named, nothing published."""
    answer = await fair.client.post("/send", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert await fair.stored() == head


async def test_a_message_of_more_than_64_kib_is_413(fair: Market, head: int) -> None:
    """What a merchant's page cannot take in one frame is refused."""
    answer = await fair.client.post("/send", json={"shop_id": str(SHOP), "data": "x" * 70_000})
    assert answer.status_code == 413
    assert await fair.stored() == head


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_other_methods_are_405(fair: Market, method: str) -> None:
    """The contract has POST alone."""
    assert (await fair.client.request(method, f"/publish/{SHOP}")).status_code == 405
    assert (await fair.client.request(method, "/send")).status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "10.0.0.1"])
async def test_without_authentication_only_this_machine_is_served(fair: Market, head: int, host: str) -> None:
    """A page that makes a browser call loopback under its own name is refused."""
    answer = await fair.client.post(f"/publish/{SHOP}", json=update(), headers={"Host": host})
    assert answer.status_code == 403
    assert await fair.stored() == head


@pytest.mark.parametrize("host", ["localhost:8000", "LOCALHOST", "[::1]:8000"])
async def test_this_machine_is_served_by_any_of_its_names(fair: Market, host: str) -> None:
    """However they are written."""
    answer = await fair.client.post(f"/publish/{SHOP}", json=update(), headers={"Host": host})
    assert answer.status_code == 200


async def test_a_log_that_is_away_is_503_and_nothing_else(own_server: NatsServer) -> None:
    """No acknowledgement, no 200: the till hears that it may try again."""
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log, market(log) as fair:
        assert (await fair.publish()).status_code == 200
        fair.client.timeout = 20.0
        await own_server.kill()
        answer = await fair.publish()
        assert answer.status_code == 503
        assert answer.json()["retryable"] is True
        await own_server.start()
        assert (await fair.publish()).status_code == 200


def _keyed(fair: Market, key: str, path: str = f"/publish/{SHOP}", **changes: Any) -> Any:
    body = update(**changes) if path.startswith("/publish") else {"shop_id": str(SHOP), **changes}
    return fair.client.post(path, json=body, headers={"Idempotency-Key": key})


async def test_a_keyed_call_is_published_once_however_often_it_is_sent(fair: Market, head: int) -> None:
    """One after another and all at once: each is answered as the first one, and the archive has one update."""
    for answer in (
        *[await _keyed(fair, "one") for _ in range(3)],
        *await asyncio.gather(*[_keyed(fair, "two") for _ in range(10)]),
        *[await _keyed(fair, "one", "/send", data=1) for _ in range(2)],
    ):
        assert answer.status_code == 200
        assert answer.json() == {"status": f"Message sent to shop ID {SHOP}"}
    assert await fair.stored() == head + 3


async def test_looking_for_what_was_published_takes_little_memory(fair: Market) -> None:
    """However much has come to the shop since then."""
    shop = some_shop()
    path = f"/publish/{shop}"
    first = await _keyed(fair, "looked-for", path, shop_id=str(shop))
    text = b'{"x":"' + b"x" * 60_000 + b'"}'
    for _ in range(200):
        await fair.log.js.connection.tell(f"updates.store.{shop}", text)
    await fair.sent(1, shop=shop)
    tracemalloc.start()
    try:
        again = await _keyed(fair, "looked-for", path, shop_id=str(shop))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (first.status_code, again.status_code) == (200, 200)
    assert most < 6 << 20


@asynccontextmanager
async def changed(fair: Market, **settings: Any) -> AsyncIterator[None]:
    """The stream with other settings for a while."""
    info = await fair.log.js.info(SHOPS)
    assert info is not None
    await fair.log.js.api(f"STREAM.UPDATE.{SHOPS}", {**info.config, **settings})
    try:
        yield
    finally:
        await fair.log.js.api(f"STREAM.UPDATE.{SHOPS}", info.config)


async def test_a_repetition_beyond_the_servers_memory_is_still_one(fair: Market) -> None:
    """The server forgets the ids it has seen after a while; the archive does not."""
    assert (await _keyed(fair, "late")).status_code == 200
    async with changed(fair, duplicate_window=100_000_000), asyncio.timeout(PATIENCE_S):
        await _probe(fair)
        while await _probe(fair):
            await asyncio.sleep(0.02)
        before = await fair.stored()
        assert (await _keyed(fair, "late")).status_code == 200
        assert await fair.stored() == before


async def _probe(fair: Market) -> bool:
    """Whether the server takes a message that came before for a repetition."""
    lines, body = b"Nats-Msg-Id: probe\r\n", b'{"shop_id":"%b","data":1}' % str(OTHER).encode()
    frame = await fair.log.js.connection.ask(f"updates.store.{OTHER}", body, lines=lines)
    return bool(json.loads(frame.data).get("duplicate"))


async def test_another_body_under_the_same_key_is_refused(fair: Market, head: int) -> None:
    """422, nothing stored; 3.50 and 3.5 are the same body. Another shop's or another caller's key is another."""
    assert (await _keyed(fair, "body", product_price=3.5)).status_code == 200
    refused = await _keyed(fair, "body", product_price=4)
    assert (refused.status_code, refused.json()["field"]) == (422, "Idempotency-Key")
    again = json.dumps(update()).replace("3.5", "3.50")
    headers = {"Idempotency-Key": "body", "Content-Type": "application/json"}
    assert (await fair.client.post(f"/publish/{SHOP}", content=again, headers=headers)).status_code == 200
    assert await fair.stored() == head + 1
    other = await _keyed(fair, "body", f"/publish/{OTHER}", shop_id=str(OTHER))
    assert other.status_code == 200
    assert await fair.stored() == head + 2


async def test_a_claim_whose_message_was_not_stored_is_carried_out_when_it_is_sent_again(
    fair: Market, head: int
) -> None:
    """The log takes the claim and then no message: 503, and the repetition publishes it, once."""
    assert (await fair.publish()).status_code == 200
    async with changed(fair, max_msgs=head + 1, discard="new"):
        assert (await _keyed(fair, "full")).status_code == 503
    assert await fair.stored() == head + 1
    for _ in range(2):
        assert (await _keyed(fair, "full")).status_code == 200
    assert await fair.stored() == head + 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/publish/{SHOP}", 200),
        (f"/publish/{str(SHOP).upper()}", 200),
        ("/publish/", 404),
        (f"/publish/{SHOP}/", 404),
        (f"/publish/{SHOP}/more", 404),
        ("/publish/x", 422),
    ],
)
async def test_the_short_way_leads_where_the_long_one_does(fair: Market, path: str, status: int) -> None:
    """Publishing does without the router: what has one more part, or none, is no shop's address."""
    answer = await fair.client.post(path, json=update())
    assert answer.status_code == status, answer.text
    assert (await fair.client.get(f"/publish/{SHOP}")).status_code == 405
