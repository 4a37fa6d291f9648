"""Further tries that nobody will make: their schedule is gone, after a restore or a standstill of more than a week.

For operators, who look now and then; the processes themselves write each schedule before they let go of its outcome.
Reads alone: what is found is planned anew by Feedback.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

from domain.deliveries.delivery import Dispatch, OutcomeSlice
from domain.recorded import DELIVERY
from processes.dispatching.scheduler import Scans
from processes.port import Log
from processes.sending.channel import SLICES_MAX
from processes.sending.tries import is_open, planned, retry_id
from projections import deliveries
from projections.messages import MESSAGES
from projections.port import ReadModels

NEW = timedelta(minutes=2)
"""What ended since then may not have its schedule yet."""
PAGE = 500
OPEN = frozenset({"retrying", "unknown"})


class Models(ReadModels, Scans, Protocol):
    """Deliveries by their message, and all messages."""


class LostTry(NamedTuple):
    """A slice of a dispatch that was not taken, and whose next try nothing will begin."""

    dispatch: Dispatch
    ended: OutcomeSlice


async def lost_tries(
    log: Log, models: Models, is_planned: Callable[[str], Awaitable[bool]], *, now: datetime
) -> AsyncIterator[LostTry]:
    """is_planned: whether a schedule with this id is there, or has fired and waits for its worker."""
    async for rows in models.scan(MESSAGES):
        for row in rows:
            if row["dispatched"] is None or row["settled"] is not None:
                continue
            for channel, dispatch in await _open(models, row["realm"], row["message"]):
                async for lost in _lost(log, is_planned, channel, dispatch, ended_before=now - NEW):
                    yield lost


async def _open(models: Models, realm: str, message: UUID) -> set[tuple[str, str]]:
    """(channel, dispatch) of a message's deliveries that wait for a further try."""
    found: set[tuple[str, str]] = set()
    cursor: str | None = None
    while True:
        rows, cursor = await deliveries.of_message(models, realm, message, cursor=cursor, limit=PAGE)
        found |= {(row["channel"], row["dispatch"]) for row in rows if row["status"] in OPEN}
        if cursor is None:
            return found


async def _lost(
    log: Log,
    is_planned: Callable[[str], Awaitable[bool]],
    channel: str,
    dispatch: str,
    *,
    ended_before: datetime,
) -> AsyncIterator[LostTry]:
    for fact in await log.read(DELIVERY, f"outcome.{channel}.{dispatch}", limit=SLICES_MAX):
        ended = fact.body
        assert isinstance(ended, OutcomeSlice)
        open = any(is_open(result.outcome) for result in ended.results)
        if not open or ended.late or ended.ended_at > ended_before:
            continue
        source = await log.last(DELIVERY, ended.source)
        if source is None:
            continue
        assert isinstance(source.body, Dispatch)
        if await _misses_a_try(log, is_planned, source.body, ended):
            yield LostTry(source.body, ended)


async def _misses_a_try(
    log: Log, is_planned: Callable[[str], Awaitable[bool]], dispatch: Dispatch, ended: OutcomeSlice
) -> bool:
    for each in planned(dispatch, ended).tries:
        if await log.last(DELIVERY, each.following(dispatch).subject) is not None:
            continue  # it is in the gateways' hands
        if not await is_planned(retry_id(dispatch, each.group)):
            return True
    return False
