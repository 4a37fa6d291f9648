"""A process that knows the apps; a service over HTTP, and our way to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from infra.emarsys_http.service import Service
from infra.log.log import JetStreamLog
from tests.fixtures.directory_service import TOKEN, DirectoryService, directory_service
from tests.integration.directories.processes import Clock, Process, following


@pytest_asyncio.fixture
async def here(log: JetStreamLog) -> AsyncIterator[Process]:
    async with following(Process(log)) as process:
        yield process


@pytest_asyncio.fixture
async def there() -> AsyncIterator[DirectoryService]:
    async with directory_service() as service:
        yield service


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def service(
    there: DirectoryService, clock: Clock, request: pytest.FixtureRequest
) -> AsyncIterator[Service]:
    """It waits for an answer as long as the module's ANSWER_S says."""
    opened = Service("the service", there.url, token=TOKEN, answer_s=request.module.ANSWER_S, now_s=clock)
    yield opened
    await opened.aclose()
