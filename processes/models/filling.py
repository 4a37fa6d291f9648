"""Who fills a generation: one process at a time, for each projection.

A rebuild and a comparison both go on with what was left unfinished, so two at once would share one generation, and the
first to end would drop what the other one writes to. The lease keeps them apart, whatever the store. Never waits for
longer than a lease outlives its holder.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.errors import Conflict
from domain.recorded import LOOSE, Recorded
from processes.models.holds import put_aside
from processes.port import Lease, Log
from projections.port import Generation, Generations, Projection

TAKE_S_MAX = 5.0
"""A killed holder's lease has ended by then."""


def lease_name(projection: str) -> str:
    return f"generation-{projection}"


@asynccontextmanager
async def filling(
    log: Log, store: Generations, projection: Projection, lease: Lease
) -> AsyncIterator[Generation]:
    """A generation to fill, ours as long as we are in here; given up by an error, it is for the next one to go on with.

    Raises Conflict when another process fills one, or when the lease is lost meanwhile.
    """
    async with _held(lease, projection.name):
        generation = await _begun(log, store, projection)
        try:
            yield generation
        except BaseException:
            # Else its last pages would be stored when the store is closed: into what the next one fills by then.
            await store.abandon(generation)
            raise


async def _begun(log: Log, store: Generations, projection: Projection) -> Generation:
    """One that was left unfinished, unless the code is mended since."""
    number = await store.begin(projection.name, projection.version)
    generation = await store.generation(projection.name, number, projection.tables)
    if not await _is_mended(log, projection, generation):
        return generation
    await store.drop(projection.name, number)
    number = await store.begin(projection.name, projection.version)
    return await store.generation(projection.name, number, projection.tables)


async def _is_mended(log: Log, projection: Projection, generation: Generation) -> bool:
    """Whether a fact that the generation has put aside could be read by now."""
    for subject, positions in (await put_aside(log, generation)).items():
        for stream in projection.streams:
            # Where facts build on one another, the later ones have only waited for the first.
            tried = positions if stream in LOOSE else positions[:1]
            for position in tried:
                if await _is_read(log, projection, stream, subject, position):
                    return True
    return False


async def _is_read(log: Log, projection: Projection, stream: str, subject: str, position: int) -> bool:
    try:
        facts = await log.read(stream, subject, after=position - 1, limit=1)
    except ValueError:  # a poison
        return False
    return any(fact.position == position and _is_projected(projection, fact) for fact in facts)


def _is_projected(projection: Projection, fact: Recorded) -> bool:
    try:
        list(projection.project(fact))
    except Exception:  # noqa: BLE001  whatever it breaks on, the projector puts the fact aside
        return False
    return True


@asynccontextmanager
async def _held(lease: Lease, name: str) -> AsyncIterator[None]:
    """Ends what is done in here once the lease is lost."""
    if not await _taken(lease):
        raise Conflict(f"{name} is being rebuilt or verified by another process: wait until it has ended")
    loop, limit = asyncio.get_running_loop(), asyncio.timeout(None)
    try:
        async with limit:
            keeping = asyncio.create_task(lease.keep())

            def lost(_: asyncio.Task[None]) -> None:
                limit.reschedule(loop.time())

            keeping.add_done_callback(lost)
            try:
                yield
            finally:
                keeping.remove_done_callback(lost)
                keeping.cancel()
                await asyncio.wait((keeping,))
    except TimeoutError:
        if not limit.expired():
            raise
        raise Conflict(f"the lease to fill {name} was lost, to another process or with the log") from None
    finally:
        await lease.give_back()


async def _taken(lease: Lease) -> bool:
    try:
        async with asyncio.timeout(TAKE_S_MAX):
            return await lease.take()
    except TimeoutError:
        return False
