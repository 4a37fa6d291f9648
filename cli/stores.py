"""Which read store: Cassandra where it is set, else SQLite in the data folder; and the generations that are fed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from cli.session import Session
from domain.errors import Conflict
from infra.readstore.store import ReadStore
from projections.catalogue import ALL
from projections.port import Generation, Projection

Fed = list[tuple[Projection, Generation]]


class ModelsOutdated(Exception):
    """A live generation was built by an older version of its projection: the projector cannot feed it."""


@contextlib.asynccontextmanager
async def open_store(session: Session) -> AsyncIterator[ReadStore]:
    settings = session.settings.cassandra
    if settings.hosts:
        from infra.readstore.cassandra import CassandraConfig, CassandraReadStore

        store: ReadStore = CassandraReadStore(
            CassandraConfig(
                hosts=settings.hosts,
                keyspace=settings.keyspace,
                user=settings.user,
                password=settings.password.reveal() if settings.password else "",
                dc=settings.dc,
                rf=settings.rf,
                ca_file=settings.ca,
            )
        )
    else:
        from infra.readstore.sqlite import SqliteReadStore

        store = SqliteReadStore(session.folder.models)
    async with store:
        yield store


async def make_missing(store: ReadStore) -> None:
    """A first, live generation for each projection that has none, so that reads find empty tables."""
    for projection in ALL:
        if await store.live(projection.name) is None:
            await store.generation(projection.name, 1, projection.tables, version=projection.version)
            await store.switch(projection.name, 1)


async def live_generations(store: ReadStore) -> Fed:
    """What a projector writes to. Raises ModelsOutdated."""
    return [(projection, await _live(store, projection)) for projection in ALL]


async def _live(store: ReadStore, projection: Projection) -> Generation:
    number = await store.live(projection.name)
    assert number is not None
    try:
        return await store.generation(
            projection.name, number, projection.tables, version=projection.version, create=False
        )
    except Conflict as error:
        raise ModelsOutdated(f"{error.detail}: run msgxc projections rebuild {projection.name}") from error
