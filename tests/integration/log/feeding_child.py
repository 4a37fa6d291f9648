"""A process that feeds until it is killed: `feeding_child URL TOKEN`. Says `at work` each time that it begins."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from domain.ids import Ids
from infra.log.opened import LogConfig, open_log
from infra.nats.leases import Lease
from infra.nats.wire.connection import Endpoint
from processes.feeding.feeder import Feeder
from tests.fixtures.nats import MASTER_KEY

NAME = "feeder"
IDS = Ids(b"an id key for tests, of 32 bytes")


class Told(Lease):
    async def take(self) -> bool:
        taken = await super().take()
        sys.stdout.write("at work\n")
        sys.stdout.flush()
        return taken


async def main(url: str, token: str) -> None:
    config = LogConfig(endpoint=Endpoint(urls=url, token=token))
    async with open_log(config, master_key=MASTER_KEY) as log:
        await Feeder(
            log=log,
            feed=log.feed,
            lease=Told(log.js, NAME, asyncio.Event()),
            store=log.events,
            ids=IDS,
            clock=lambda: datetime.now(UTC),
        ).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
