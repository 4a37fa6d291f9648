"""How far an export is: by the last fact that it has, as the log has it."""

from __future__ import annotations

import asyncio

from cli.reading.logreading import place_of, read_range
from domain.recorded import EVENTS
from infra.eventstore.wire import event_subject
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.integration.log.scenes import CONTEXT, a_thread


async def test_where_a_page_ends_is_known_from_the_page(own_server: NatsServer) -> None:
    """The leader is asked only where the export ends inside a page: of a fact there, the reader has no digest."""
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log:
        for number in range(3):
            await log.events.save(a_thread(f"t{number}"), context=CONTEXT)
        [page] = [batch async for batch in read_range(log, EVENTS, after=0, until=3)]
        [cut] = [batch async for batch in read_range(log, EVENTS, after=0, until=2)]
        there = {position: await log.place(EVENTS, position) for position in (2, 3)}
        assert await place_of(log, EVENTS, cut[-1]) == there[2]
        await own_server.stop()
        async with asyncio.timeout(1.0):
            assert await place_of(log, EVENTS, page[-1]) == there[3]


async def test_a_range_has_no_empty_page(own_server: NatsServer) -> None:
    """Even where the last of what is asked for has expired since, and the next one is beyond the end."""
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log:
        threads = [a_thread(f"t{number}") for number in range(2)]
        for thread in threads:
            await log.events.save(thread, context=CONTEXT)
        of_the_second = (event_subject("thread", threads[1].id),)
        assert not [
            batch async for batch in read_range(log, EVENTS, after=0, until=1, subjects=of_the_second)
        ]
