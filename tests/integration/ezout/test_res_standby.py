"""Many processes run the RES service: one holds the lease, the others stand by and speak while it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from infra.nats.streams import LEASE_S
from infra.nats.wire.frames import Frame, publish_frame
from processes.res.service import ResService
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.fixtures.proxy import Proxy, proxy_to
from tests.integration.ezout.market import Market, market, merchant, some_shop
from tests.integration.ezout.res_sides import Gateway, gateway, serving
from tests.memory.site import PATIENCE_S, eventually

Held = tuple[Proxy, JetStreamLog, Market, Gateway, ResService]


@asynccontextmanager
async def held_behind_a_proxy(server: NatsServer) -> AsyncIterator[Held]:
    """A holder of the lease whose link to the log, through the proxy, can be cut."""
    async with (
        proxy_to(int(server.url.rpartition(":")[2])) as proxy,
        open_log(log_config(server), master_key=MASTER_KEY) as log,
        open_log(log_config(server, url=proxy.url), master_key=MASTER_KEY) as behind,
        market(log) as fair,
        gateway(server) as heard,
        serving(fair, behind) as first,
    ):
        assert (await heard.event())[0] == "system.reset"
        yield proxy, behind, fair, heard, first


async def _mirror(heard: Gateway, shop: UUID, mirror: list[int], *, until: list[int]) -> int:
    """Do as a gateway does until the mirror is so: apply events, ask again after a reset. The number of resets."""
    resets = 0
    while mirror != until:
        match await heard.event():
            case ("system.reset", _):
                resets += 1
                mirror[:] = await heard.collection(shop)
            case (subject, payload) if subject == f"event.updates.store.{shop}.add":
                mirror.insert(payload["idx"], payload["value"]["data"]["product_id"])
            case _:
                pass
        assert len(mirror) == len(set(mirror)), mirror
    return resets


async def test_of_many_processes_one_answers_and_a_lost_one_is_replaced_within_seconds(
    own_server: NatsServer,
) -> None:
    """Two run: each get has one answer, each update one event. The holder is cut off: the other one goes on.

    What a gateway mirrors has no gap and no repeat; the one that was cut off stands by when it is back.
    """
    async with held_behind_a_proxy(own_server) as (proxy, behind, fair, heard, first):
        async with serving(fair) as second:
            shop, mirror = some_shop(), list[int]()
            await fair.sent(2, shop=shop)
            assert await _answers(heard, f"get.updates.store.{shop}") == 1
            assert await _answers(heard, f"call.updates.store.{shop}.none") == 1
            mirror += await heard.collection(shop)
            await fair.sent(2, shop=shop, start=2)
            assert await _mirror(heard, shop, mirror, until=[0, 1, 2, 3]) == 0
            assert heard.events.empty()
            assert (first.is_serving, second.is_serving) == (True, False)
            proxy.cut(refuse=True)
            began_s = time.monotonic()
            await fair.sent(2, shop=shop, start=4)
            assert await _mirror(heard, shop, mirror, until=[0, 1, 2, 3, 4, 5]) == 1
            assert time.monotonic() - began_s < LEASE_S + 2
            proxy.admit()
            await behind.js.connection.wait_up()
            await eventually(lambda: not first.is_serving)
            await fair.sent(2, shop=shop, start=6)
            assert await _mirror(heard, shop, mirror, until=list(range(8))) == 0
            assert await _answers(heard, f"get.updates.store.{shop}") == 1
        # It has given the lease back: nobody waits for its end.
        began_s = time.monotonic()
        await fair.sent(1, shop=shop, start=8)
        assert await _mirror(heard, shop, mirror, until=list(range(9))) == 1
        assert time.monotonic() - began_s < LEASE_S / 2


async def test_a_standby_answers_at_once_while_nobody_holds_the_lease(own_server: NatsServer) -> None:
    """The holder dies: gets and access questions are answered in no time, long before another one takes over.

    What it answers then is taken back as soon as there is a holder, and the mirror has no gap and no repeat.
    """
    async with (
        held_behind_a_proxy(own_server) as (proxy, _, fair, heard, first),
        serving(fair) as second,
        serving(fair) as third,
    ):
        shop = some_shop()
        await fair.sent(2, shop=shop)
        proxy.cut(refuse=True)
        began_s = time.monotonic()
        mirror = await heard.collection(shop)
        allowed = await heard.ask(f"access.updates.store.{shop}", token={"jwt": merchant(shop)})
        signed_in = await heard.ask("auth.updates.login", cid="c9", params={"token": merchant(shop)})
        took_s = time.monotonic() - began_s
        assert (mirror, allowed["result"]["get"], signed_in) == ([0, 1], True, {"result": None})
        assert took_s < 1
        assert (second.is_serving, third.is_serving) == (False, False)
        assert await _answers(heard, f"get.updates.store.{shop}") == 1
        await fair.sent(2, shop=shop, start=2)
        assert await _mirror(heard, shop, mirror, until=[0, 1, 2, 3]) >= 1
        assert second.is_serving != third.is_serving
        assert not first.is_serving


async def test_a_holder_that_hangs_for_a_moment_is_asked_again(own_server: NatsServer) -> None:
    """A standby speaks for it meanwhile; then gateways are told to ask the holder, whose events go on."""
    async with held_behind_a_proxy(own_server) as (proxy, _, fair, heard, first), serving(fair):
        shop = some_shop()
        await fair.sent(2, shop=shop)
        proxy.hold_answers()
        mirror = await heard.collection(shop)
        proxy.release_answers()
        assert mirror == [0, 1]
        async with asyncio.timeout(PATIENCE_S):
            while await heard.event() != (
                "system.reset",
                {"resources": [f"updates.store.{shop}"], "access": [f"updates.store.{shop}"]},
            ):
                pass
        assert first.is_serving
        mirror = await heard.collection(shop)
        await fair.sent(2, shop=shop, start=2)
        assert await _mirror(heard, shop, mirror, until=[0, 1, 2, 3]) == 0


async def _answers(heard: Gateway, subject: str) -> int:
    """How many answer. Whoever is late is waited for; a second one answers before it does so to the next questions."""
    found: list[Frame] = []
    connection = heard.connection
    watching = await connection.route_surely("several.answers", found.append)
    await connection.send(publish_frame(subject, b"{}", reply="several.answers"))
    await eventually(lambda: bool(found))
    for _ in range(3):
        await heard.ask(subject)
    await connection.unroute(watching)
    return len(found)


async def test_a_lost_connection_resets_what_gateways_hold(own_server: NatsServer) -> None:
    """After the log was away, nobody relies on having heard everything: after a reset, a mirror is as it should be."""
    async with held_behind_a_proxy(own_server) as (proxy, behind, fair, heard, _):
        shop = some_shop()
        await fair.sent(1, shop=shop)
        mirror = await heard.collection(shop)
        assert mirror == [0]
        proxy.cut(refuse=True)
        await own_server.kill()
        await own_server.start()
        # First the gateway, which could not hear a reset that is told before it is back.
        await heard.connection.wait_up()
        proxy.admit()
        await behind.js.connection.wait_up()
        async with asyncio.timeout(PATIENCE_S):
            while (await heard.event())[0] != "system.reset":
                pass
        assert await heard.collection(shop) == [0]
        await fair.sent(1, shop=shop, start=1)
        await _mirror(heard, shop, mirror, until=[0, 1])


async def test_a_get_has_all_that_was_published_before_it(
    own_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the holder and the read models are behind."""
    go_on = asyncio.Event()
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log:
        follow = log.follow

        async def follow_later(*given: Any, **named: Any) -> AsyncIterator[Any]:
            await go_on.wait()
            async for facts in follow(*given, **named):
                yield facts

        monkeypatch.setattr(log, "follow", follow_later)
        async with market(log) as fair, gateway(own_server) as heard, serving(fair):
            assert (await heard.event())[0] == "system.reset"
            shop = some_shop()
            await fair.sent(2, shop=shop)
            asked = asyncio.create_task(heard.collection(shop))
            await heard.ask(f"access.updates.store.{shop}")
            go_on.set()
            assert await asked == [0, 1]
