"""The frame of every process that works on facts: bounded in flight, each fact until it is acknowledged.

A handler returns when the fact is dealt with for good. When it raises something temporary the fact comes back later;
when it raises anything else, or too often, the fact goes to TRIAGE with the reason and the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from commands.port import VersionConflict
from domain.errors import MsgxcError
from processes.port import Log, Task

log = structlog.get_logger(__name__)

DELIVERIES_MAX = 20
"""Times a fact is handed out before it goes to TRIAGE; with the delays below that is about half an hour."""
DELAY_S_MAX = 120.0
EXTEND_SHARE = 3
"""Long work says so this many times within the time after which it would be handed out again."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker takes: a durable name, a stream, the subjects, and how much at once."""

    stream: str
    durable: str
    subjects: Sequence[str]
    in_flight: int = 8
    ack_wait_s: float = 30.0


Handler = Callable[[Task], Awaitable[None]]


async def work(events: Log, post: Post, handler: Handler) -> None:
    """Hand every fact of the post to the handler, for ever; ends by cancellation, after which nothing is lost."""
    places = asyncio.Semaphore(post.in_flight)
    async with asyncio.TaskGroup() as group:
        async for task in events.work(
            post.stream,
            post.durable,
            subjects=post.subjects,
            ack_wait_s=post.ack_wait_s,
            in_flight=post.in_flight,
        ):
            await places.acquire()
            group.create_task(_one(events, post, handler, task, places))


async def _one(events: Log, post: Post, handler: Handler, task: Task, places: asyncio.Semaphore) -> None:
    heart = asyncio.create_task(_keep(task, post.ack_wait_s / EXTEND_SHARE))
    try:
        await handler(task)
        await task.ack()
    except (MsgxcError, TimeoutError) as error:
        await _later(events, post, task, error)
    except ValueError as error:
        await _triage(events, post, task, error)
        await task.ack()
    finally:
        heart.cancel()
        places.release()


async def _keep(task: Task, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await task.extend()


async def _later(events: Log, post: Post, task: Task, error: Exception) -> None:
    temporary = isinstance(error, TimeoutError | VersionConflict) or getattr(error, "retryable", False)
    if not temporary or task.deliveries >= DELIVERIES_MAX:
        await _triage(events, post, task, error)
        await task.ack()
        return
    delay_s = min(0.5 * 2.0**task.deliveries, DELAY_S_MAX)
    log.warning(
        "fact_given_back", durable=post.durable, position=task.position, delay_s=delay_s, error=repr(error)
    )
    await task.give_back(delay_s=delay_s)


async def _triage(events: Log, post: Post, task: Task, error: Exception) -> None:
    log.error("fact_triaged", durable=post.durable, position=task.position, error=repr(error))
    await events.triage(post.durable, task.subject, reason=repr(error), body=task.raw, position=task.position)
