"""The read store on each backend, and tables that no test has used yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.readstore.opening import read_store
from infra.readstore.store import ReadStore
from projections.port import Table
from tests.conformance.read_store_openings import NAMES, Connect

BACKENDS = ("sqlite", pytest.param("cassandra", marks=pytest.mark.cassandra))


@pytest.fixture(scope="module", params=BACKENDS)
def connect(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Connect:
    """Another opening of the same store each time, as another process would have it."""
    folder: Path = tmp_path_factory.mktemp("read")
    cassandra = request.getfixturevalue("cassandra") if request.param == "cassandra" else None
    return lambda: read_store(folder, cassandra)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(connect: Connect) -> AsyncIterator[ReadStore]:
    async with connect() as opened:
        yield opened


@pytest.fixture
def table() -> Table:
    """Of a projection that has no generation yet."""
    number = next(NAMES)
    return Table(
        projection=f"projection{number}",
        name=f"table{number}",
        partition={"realm": "text"},
        clustering={"day": "text", "number": "bigint"},
        columns={"words": "text", "count": "bigint", "settings": "json"},
    )
