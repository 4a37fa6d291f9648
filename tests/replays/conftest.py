"""One exchange for all replays: each test has apps of its own on it."""

from collections.abc import Iterator

import pytest

from tests.fixtures.served import Served, served


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("replays")) as running:
        yield running
