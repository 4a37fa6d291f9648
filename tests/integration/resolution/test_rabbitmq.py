"""The suite's queue on a real RabbitMQ: what was confirmed is there, after the broker was killed, too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aio_pika
import msgspec
import pytest

from domain.errors import Unavailable
from infra.rabbitmq.updates import CONFIRM_S_MAX, CONNECT_S_MAX, RabbitUpdates
from processes.devices.suite_updates import ContactUpdate
from tests.fixtures.proxy import proxy_to
from tests.fixtures.rabbitmq import RabbitServer

pytestmark = pytest.mark.long

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WAIT_S_MAX = 30.0


def update(number: int) -> ContactUpdate:
    return ContactUpdate(
        merchant_id="main",
        contact_id=number,
        application_code="shop-app",
        fields={101: True, 103: AT.isoformat()},
        position=number,
        at=AT,
    )


@contextlib.asynccontextmanager
async def opened(url: str, queue: str) -> AsyncIterator[RabbitUpdates]:
    updates = RabbitUpdates(url, queue)
    try:
        yield updates
    finally:
        await updates.aclose()


async def read_all(server: RabbitServer, queue: str) -> list[tuple[str, ContactUpdate]]:
    """What is on the queue, taken off it, by id."""
    found: list[tuple[str, ContactUpdate]] = []
    async with await aio_pika.connect(server.url) as connection:
        channel = await connection.channel()
        taken = await channel.declare_queue(queue, durable=True)
        while message := await taken.get(fail=False, timeout=WAIT_S_MAX):
            await message.ack()
            assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
            found.append((message.message_id or "", msgspec.json.decode(message.body, type=ContactUpdate)))
    return found


async def send_until_kept(updates: RabbitUpdates, number: int) -> None:
    """As the worker does, which comes back with the fact as often as it takes."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            try:
                await updates.send(update(number), id=f"id-{number}")
            except Unavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def test_what_was_sent_is_on_a_durable_queue(rabbitmq: RabbitServer) -> None:
    """Many at once over one connection, each once, readable by who knows the form."""
    async with opened(rabbitmq.url, "sent") as updates:
        await asyncio.gather(*(updates.send(update(n), id=f"id-{n}") for n in range(1, 101)))
    found = await read_all(rabbitmq, "sent")
    assert sorted(found) == sorted((f"id-{n}", update(n)) for n in range(1, 101))


async def test_a_broker_that_is_killed_keeps_what_it_confirmed(rabbitmq: RabbitServer) -> None:
    """Sends fail as Unavailable while it is away, and go on when it is back, by themselves."""
    async with opened(rabbitmq.url, "killed") as updates:
        for number in range(1, 21):
            await updates.send(update(number), id=f"id-{number}")
        await asyncio.to_thread(rabbitmq.kill)
        try:
            with pytest.raises(Unavailable):
                await updates.send(update(21), id="id-21")
        finally:
            await asyncio.to_thread(rabbitmq.start)
        await send_until_kept(updates, 21)
    found = await read_all(rabbitmq, "killed")
    assert {id for id, _ in found} == {f"id-{n}" for n in range(1, 22)}


async def test_a_connection_that_breaks_under_many_sends_is_replaced(rabbitmq: RabbitServer) -> None:
    """Each send is confirmed or fails; those that failed go through the next connection, which all share."""
    async with proxy_to(rabbitmq.port) as proxy:
        url = proxy.url.replace("nats://", "amqp://guest:guest@")
        async with opened(url, "broken") as updates:
            await updates.send(update(0), id="id-0")
            sends = [asyncio.create_task(send_until_kept(updates, n)) for n in range(1, 51)]
            await asyncio.sleep(0)
            proxy.cut()
            await asyncio.gather(*sends)
    found = await read_all(rabbitmq, "broken")
    assert {id for id, _ in found} == {f"id-{n}" for n in range(51)}


async def test_a_broker_that_says_nothing_is_given_up(rabbitmq: RabbitServer) -> None:
    """It has the message, perhaps: no confirm is no promise, and the same id comes again."""
    async with proxy_to(rabbitmq.port) as proxy:
        url = proxy.url.replace("nats://", "amqp://guest:guest@")
        async with opened(url, "silent") as updates:
            await updates.send(update(0), id="id-0")
            proxy.hold_answers()
            async with asyncio.timeout(CONFIRM_S_MAX + 4):
                with pytest.raises(Unavailable):
                    await updates.send(update(1), id="id-1")
            proxy.cut()
            await send_until_kept(updates, 1)
    assert [id for id, _ in await read_all(rabbitmq, "silent")] in (
        ["id-0", "id-1", "id-1"],
        ["id-0", "id-1"],
    )


async def test_a_full_queue_is_no_confirm(rabbitmq: RabbitServer) -> None:
    """The operator made the queue, with a limit: what it rejects comes again, and nothing is dropped in silence."""
    limited: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with await aio_pika.connect(rabbitmq.url) as connection:
        await (await connection.channel()).declare_queue("full", durable=True, arguments=limited)
        async with opened(rabbitmq.url, "full") as updates:
            await updates.send(update(1), id="id-1")
            with pytest.raises(Unavailable, match="does not confirm"):
                await updates.send(update(2), id="id-2")
            taken = await (await connection.channel()).get_queue("full", ensure=False)
            first = await taken.get(no_ack=True)
            assert first.message_id == "id-1"
            await send_until_kept(updates, 2)


async def test_a_queue_that_was_deleted_is_made_again(rabbitmq: RabbitServer) -> None:
    """A message that no queue takes comes back, and counts as not confirmed; the next send declares the queue."""
    async with opened(rabbitmq.url, "deleted") as updates:
        await updates.send(update(1), id="id-1")
        async with await aio_pika.connect(rabbitmq.url) as connection:
            await (await connection.channel()).queue_delete("deleted")
        with pytest.raises(Unavailable):
            await updates.send(update(2), id="id-2")
        await updates.send(update(2), id="id-2")
    assert [id for id, _ in await read_all(rabbitmq, "deleted")] == ["id-2"]


async def test_a_wrong_password_and_a_dead_port_are_said() -> None:
    """Unavailable with the reason, within the connect's own time."""
    async with (
        opened("amqp://guest:guest@127.0.0.1:1/", "none") as updates,
        asyncio.timeout(CONNECT_S_MAX + 1),
    ):
        with pytest.raises(Unavailable, match="RabbitMQ does not confirm"):
            await updates.send(update(1), id="id-1")
