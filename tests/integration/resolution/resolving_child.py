"""A process that resolves until it is killed: `resolving_child URL TOKEN`.

Its contact data answers at once, says so on stdout, and then never lets go: what is killed here dies between the answer
and the write.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from uuid import UUID

from commands.bus import Bus
from commands.port import EventStore
from domain.ids import Ids
from domain.message import Content
from domain.thread import Thread
from infra.log.log import JetStreamLog
from infra.log.opened import LogConfig, open_log
from infra.nats.wire.connection import Endpoint
from processes.devices.resolution import CHANGES, ContactResolver, Resolver
from processes.directories import ContactKey
from processes.worker import Post, work
from tests.fixtures.nats import MASTER_KEY

IDS = Ids(b"an id key for tests, of 32 bytes")
QUICK = Post(CHANGES.stream, CHANGES.durable, CHANGES.subjects, topics=CHANGES.topics, ack_wait_s=1.0)
"""What a dead process had in hand comes back after a second: the test has no time for more."""


class StoredThreads:
    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def thread(self, id: UUID) -> Thread | None:
        return await self._store.load(Thread, id)

    async def is_erased(self, contact: UUID) -> bool:
        return False


class StuckAfterAnswer:
    """processes.directories.ContactData."""

    async def resolve(self, key: ContactKey) -> int:
        sys.stdout.write("answered\n")
        sys.stdout.flush()
        # Longer than the resolver's patience: it dies before that.
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


def carries_anything(content: Content, channels: object, *, style: str = "") -> None:
    """commands.port.ContentCheck."""


def bus_on(log: JetStreamLog) -> Bus:
    return Bus(
        store=log.events,
        threads=StoredThreads(log.events),
        check=carries_anything,
        ids=IDS,
        clock=lambda: datetime.now(UTC),
        nonce=lambda: "5" * 32,
    )


async def main(url: str, token: str) -> None:
    config = LogConfig(endpoint=Endpoint(urls=url, token=token))
    async with open_log(config, master_key=MASTER_KEY) as log:
        resolver = Resolver(
            log=log,
            store=log.events,
            bus=bus_on(log),
            data=StuckAfterAnswer(),
            clock=lambda: datetime.now(UTC),
        )
        await work(log, QUICK, ContactResolver(log=log, resolver=resolver).handle)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
