"""What `msgxc projections` does: the store, the log and the projecting process brought together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from cli.bootstrap import opened_log
from cli.console import Advance, Failure, note, progress
from cli.serve.lifetime import settle_memory
from cli.session import Session
from cli.wiring.endpoints import any_endpoint
from cli.wiring.stores import make_missing, open_store
from infra.log.log import JetStreamLog
from infra.nats.leases import Lease
from infra.pausing import held_still
from infra.readstore.store import ReadStore
from processes.models.filling import lease_name
from processes.models.rebuild import InvariantsBroken, Progress, build
from processes.models.verify import Verdict
from processes.models.verify import verify as compare
from projections.catalogue import ALL
from projections.port import Projection

SWITCH_S_MAX = 300.0
"""How long the projecting process may take to adopt a generation that is nearly caught up."""
LOOK_S = 0.2

Row = dict[str, Any]


@asynccontextmanager
async def opened(session: Session) -> AsyncIterator[tuple[JetStreamLog, ReadStore]]:
    async with (
        any_endpoint(session, name="msgxc projections") as endpoint,
        opened_log(session, endpoint) as log,
        open_store(session) as store,
    ):
        await make_missing(store)
        yield log, store


async def generations(session: Session) -> list[Row]:
    async with open_store(session) as store:
        await make_missing(store)
        return [
            {
                "projection": info.projection,
                "generation": info.number,
                "state": info.state,
                "version": info.version,
                "created": info.created.isoformat(timespec="seconds"),
            }
            for projection in ALL
            for info in await store.generations(projection.name)
        ]


async def lags(session: Session) -> list[Row]:
    rows: list[Row] = []
    async with opened(session) as (log, store):
        for projection in ALL:
            for stream in projection.streams:
                end = await log.end(stream)
                checkpoint = await store.checkpoint(projection.name, stream)
                position = checkpoint.position if checkpoint else 0
                rows.append(
                    {
                        "projection": projection.name,
                        "stream": stream,
                        "position": position,
                        "end": end,
                        "lag": end - position,
                    }
                )
    return rows


async def rebuild(session: Session, names: Sequence[str]) -> None:
    wanted = _chosen(names)
    async with opened(session) as (log, store):
        settle_memory()
        for projection in wanted:
            with progress(projection.name) as advance:
                try:
                    number = await build(
                        log,
                        store,
                        projection,
                        lease=_lease(log, projection),
                        on_progress=_showing(advance),
                    )
                except InvariantsBroken as broken:
                    raise Failure(f"{projection.name} does not pass its checks: {broken}") from broken
            await _switched(log, store, projection, number)
            await _drop_old(store, projection)
            note(f"{projection.name}: generation {number} is live")


async def verify(session: Session, names: Sequence[str]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    async with opened(session) as (log, store):
        for projection in _chosen(names):
            with progress(projection.name) as advance:
                verdicts.append(
                    await compare(
                        log,
                        store,
                        projection,
                        lease=_lease(log, projection),
                        hold_still=partial(held_still, log.js.connection),
                        on_progress=_showing(advance),
                    )
                )
    return verdicts


async def rollback(session: Session, name: str) -> None:
    (projection,) = _chosen([name])
    async with opened(session) as (log, store):
        retired = [
            info.number
            for info in await store.generations(projection.name)
            if info.state == "retired" and info.version == projection.version
        ]
        if not retired:
            raise Failure(f"{name} has no earlier generation of its version to go back to")
        await store.offer(projection.name, retired[-1])
        await _switched(log, store, projection, retired[-1])
        note(f"{name}: generation {retired[-1]} is live again")


def _lease(log: JetStreamLog, projection: Projection) -> Lease:
    """Of whoever fills a generation of it, on either store."""
    return Lease(log.js, lease_name(projection.name), asyncio.Event())


async def _switched(log: JetStreamLog, store: ReadStore, projection: Projection, number: int) -> None:
    """Have an offered generation switched in: by the projecting process, or here where there is none."""
    async with held_still(log.js.connection) as somebody_projects:
        if not somebody_projects:
            await store.switch(projection.name, number)
            return
    note(
        f"{projection.name}: generation {number} is offered; the projecting process catches up and takes it over"
    )
    try:
        async with asyncio.timeout(SWITCH_S_MAX):
            while await store.live(projection.name) != number:  # noqa: ASYNC110  another process does it
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise Failure(
            f"{projection.name}: generation {number} is complete and offered, but the projecting process "
            "has not taken it over; msgxc doctor says more"
        ) from None


async def _drop_old(store: ReadStore, projection: Projection) -> None:
    """Keep the one that was live until now, for a roll back."""
    retired = [info for info in await store.generations(projection.name) if info.state == "retired"]
    for info in retired[:-1]:
        await store.drop(projection.name, info.number)


def _chosen(names: Sequence[str]) -> list[Projection]:
    known = {projection.name: projection for projection in ALL}
    for name in names:
        if name not in known:
            raise Failure(f"there is no projection {name}: choose from {', '.join(known)}")
    return [known[name] for name in names or known]


def _showing(advance: Advance) -> Callable[[Progress], None]:
    """Progress over several streams as one line."""
    done: dict[str, Progress] = {}

    def show(step: Progress) -> None:
        done[step.stream] = step
        total = sum(each.total for each in done.values())
        advance(sum(min(each.done, each.total) for each in done.values()), total)

    return show
