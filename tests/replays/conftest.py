"""One exchange for all replays: each test has apps of its own on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.served import Served, served


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("replays")) as running:
        yield running


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Served]:
    """An exchange that a test may kill."""
    with served(tmp_path / "exchange") as running:
        yield running
