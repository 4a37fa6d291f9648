"""The frame of every process that works on facts: bounded in flight, each fact until it is acknowledged.

A handler returns when the fact is dealt with for good. When a part we depend on is away the fact comes back later, as
often as it takes; when the handler raises anything else, or loses too many races, the fact goes to TRIAGE with the
reason and the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from commands.port import VersionConflict
from domain.errors import Unavailable
from processes.port import Log, Task

log = structlog.get_logger(__name__)

DELIVERIES_MAX = 20
"""Times a fact may lose a race before it goes to TRIAGE; with the delays below that is about half an hour."""
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
    topics: Sequence[str] = ()
    ack_wait_s: float = 12.0
    """What a dead process had in hand is handed out again after this; a living one says that it goes on."""


Handler = Callable[[Task], Awaitable[None]]


class TakenOver(Exception):
    """Another process works on this fact by now: it will say when the fact is dealt with."""


class InHand:
    """The facts of a post that are being dealt with, as many as it takes at once; they are told to be kept meanwhile.

    Hot path: one timer for all of them. Most are dealt with long before it is their turn once.
    """

    def __init__(self, post: Post) -> None:
        self._places, self._tasks = asyncio.Semaphore(post.in_flight), set[Task]()
        self._every_s = post.ack_wait_s / EXTEND_SHARE

    async def take(self, task: Task) -> None:
        """Waits for a place."""
        await self._places.acquire()
        self._tasks.add(task)

    def put_down(self, task: Task) -> None:
        self._tasks.discard(task)
        self._places.release()

    async def keep(self) -> None:
        """Say of each that it is being dealt with, for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            for task in tuple(self._tasks):
                if task in self._tasks:  # still: who was given back comes again as was said
                    with contextlib.suppress(Unavailable):
                        await task.extend()


async def work(events: Log, post: Post, handler: Handler) -> None:
    """Hand every fact of the post to the handler, for ever; ends by cancellation, after which nothing is lost."""
    in_hand = InHand(post)
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(in_hand.keep())
        async for task in events.work(
            post.stream,
            post.durable,
            subjects=post.subjects,
            ack_wait_s=post.ack_wait_s,
            in_flight=post.in_flight,
            topics=post.topics,
        ):
            await in_hand.take(task)
            group.create_task(_one(events, post, handler, task, in_hand))
        keeping.cancel()


async def _one(events: Log, post: Post, handler: Handler, task: Task, in_hand: InHand) -> None:
    try:
        await _deal(events, post, handler, task)
    except Unavailable as error:
        if not error.retryable:
            raise
        # What became of it could not be recorded: it comes back, at the latest when nobody says that it is kept.
        log.warning("fact_left", durable=post.durable, position=task.position, error=repr(error))
        with contextlib.suppress(Unavailable):
            await task.give_back(delay_s=post.ack_wait_s)
    finally:
        in_hand.put_down(task)


async def _deal(events: Log, post: Post, handler: Handler, task: Task) -> None:
    """Have the fact handled, and say what became of it. Raises Unavailable when that can't be said."""
    try:
        await handler(task)
    except TakenOver:
        await task.give_back(delay_s=post.ack_wait_s)
    except (Unavailable, TimeoutError) as error:
        if isinstance(error, Unavailable) and not error.retryable:
            raise
        await _later(post, task, error)
    except VersionConflict as error:
        if task.deliveries < DELIVERIES_MAX:
            await _later(post, task, error)
        else:
            await _triage(events, post, task, error)
    except Exception as error:  # noqa: BLE001  a fact nobody can deal with must not stop the others
        await _triage(events, post, task, error)
    else:
        await task.ack()


async def _later(post: Post, task: Task, error: Exception) -> None:
    delay_s = min(0.5 * 2.0 ** min(task.deliveries, 10), DELAY_S_MAX)
    log.warning(
        "fact_given_back", durable=post.durable, position=task.position, delay_s=delay_s, error=repr(error)
    )
    await task.give_back(delay_s=delay_s)


async def _triage(events: Log, post: Post, task: Task, error: Exception) -> None:
    log.error("fact_triaged", durable=post.durable, position=task.position, error=repr(error))
    await events.triage(post.durable, task.subject, reason=repr(error), body=task.raw, position=task.position)
    await task.ack()
