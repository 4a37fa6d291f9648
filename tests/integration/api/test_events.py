"""EVENTS by position, as admins page through it, over a real log."""

from __future__ import annotations

from cli.wiring.ports import EventsByPosition
from infra.log.log import JetStreamLog
from tests.integration.log.scenes import CONTEXT, a_thread

POISON = 5


async def test_a_page_of_nothing_that_can_be_read_is_not_the_end(log: JetStreamLog) -> None:
    """What no version of the software can read is passed over, however much of it there is in a row."""
    for _ in range(POISON):
        await log.js.connection.ask(f"evt.thread.00.{'0' * 32}", b"no event")
    thread = a_thread()
    await log.events.save(thread, context=CONTEXT)
    reader = EventsByPosition(log)
    [fact] = await reader.after(0, 2)
    assert fact.position == await reader.end() == POISON + 1
    assert await reader.after(fact.position, 2) == []
