"""A process that knows the apps."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from infra.log.log import JetStreamLog
from tests.integration.directories.processes import Process, following


@pytest_asyncio.fixture
async def here(log: JetStreamLog) -> AsyncIterator[Process]:
    async with following(Process(log)) as process:
        yield process
