"""Which read store: Cassandra where it is set, else SQLite in the data folder; and the generations that are fed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import structlog

from cli.session import Session
from domain.errors import Unavailable
from infra.readstore.cassandra.config import CassandraConfig, NotLetIn, NotTrusted, WrongDataCentre
from infra.readstore.opening import read_store
from infra.readstore.store import ReadStore
from infra.settings import Cassandra
from projections.catalogue import ALL
from projections.port import Generation, Projection

log = structlog.get_logger()

Fed = list[tuple[Projection, Generation]]


@contextlib.asynccontextmanager
async def open_store(session: Session) -> AsyncIterator[ReadStore]:
    """Raises Unavailable when it does not answer, with the setting that says where it is."""
    async with contextlib.AsyncExitStack() as opened:
        try:
            store = await opened.enter_async_context(read_store(session.folder.models, _cassandra(session)))
        except Unavailable as error:
            if not session.settings.cassandra.hosts:
                raise
            raise Unavailable(_mended(session.settings.cassandra, error)) from error
        yield store


def _mended(settings: Cassandra, error: Unavailable) -> str:
    """What to mend."""
    hosts = ",".join(f"{host}:{port}" for host, port in settings.hosts)
    if isinstance(error, NotLetIn):
        wrong = "refuses the user or the password" if settings.user else "asks for a user and a password"
        return f"the Cassandra at {hosts} {wrong}: mend MSGXC_CASSANDRA_USER and MSGXC_CASSANDRA_PASSWORD"
    if isinstance(error, NotTrusted):
        return f"no TLS with the Cassandra at {hosts} ({error.why}): mend MSGXC_CASSANDRA_CA"
    if isinstance(error, WrongDataCentre):
        there = ", ".join(error.there)
        return (
            f"the Cassandra at {hosts} has no data centre {settings.dc}, but {there}: mend MSGXC_CASSANDRA_DC"
        )
    others = {"MSGXC_CASSANDRA_DC": settings.dc, "MSGXC_CASSANDRA_CA": settings.ca}
    mend = ", ".join(["MSGXC_CASSANDRA", *(name for name, value in others.items() if value)])
    return f"no Cassandra answers at {hosts}: start it, or mend {mend}"


def _cassandra(session: Session) -> CassandraConfig | None:
    settings = session.settings.cassandra
    if not settings.hosts:
        return None
    return CassandraConfig(
        hosts=settings.hosts,
        keyspace=settings.keyspace,
        user=settings.user,
        password=settings.password.reveal() if settings.password else "",
        dc=settings.dc,
        rf=settings.rf,
        ca=settings.ca,
    )


async def make_missing(store: ReadStore) -> None:
    """A first, live generation for each projection that has none, so that reads find empty tables."""
    for projection in ALL:
        if await store.live(projection.name) is None:
            number = await store.begin(projection.name, projection.version)
            await store.generation(projection.name, number, projection.tables)
            await store.switch(projection.name, number)


async def fed_generations(store: ReadStore) -> tuple[Fed, list[Projection]]:
    """What a projector writes to, and the projections whose live generation an older version of the code has built.

    Those stay as they are, readable and not fed, until a rebuild offers a new generation; it is switched in here.
    """
    fed: Fed = []
    outdated: list[Projection] = []
    for projection in ALL:
        number = await _live_of_version(store, projection) or await _switch_to_offered(store, projection)
        if number is None:
            outdated.append(projection)
            log.error(
                "read-model-outdated",
                projection=projection.name,
                mend=f"msgxc projections rebuild {projection.name}",
            )
        else:
            fed.append((projection, await store.generation(projection.name, number, projection.tables)))
    return fed, outdated


async def _live_of_version(store: ReadStore, projection: Projection) -> int | None:
    live = await store.live(projection.name)
    infos = await store.generations(projection.name)
    return next((i.number for i in infos if i.number == live and i.version == projection.version), None)


async def _switch_to_offered(store: ReadStore, projection: Projection) -> int | None:
    offered = await store.offered(projection.name)
    infos = await store.generations(projection.name)
    if any(i.number == offered and i.version == projection.version for i in infos):
        assert offered is not None
        await store.switch(projection.name, offered)
        return offered
    return None
