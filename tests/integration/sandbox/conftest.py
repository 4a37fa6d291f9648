"""A sandbox for each test, over keys made once; and what a client of each provider needs."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from infra.sandbox import Sandbox
from infra.sandbox.keyring import Keyring
from tests.integration.sandbox.h2client import H2Client


class Clock:
    """Seconds since 1970 that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every key a sandbox makes on its first start."""
    folder = tmp_path_factory.mktemp("keys") / "sandbox"
    Keyring(folder)
    return folder


@pytest.fixture
def folder(keys: Path, tmp_path: Path) -> Path:
    return shutil.copytree(keys, tmp_path / "sandbox")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sandbox(folder: Path, clock: Clock) -> AsyncIterator[Sandbox]:
    async with Sandbox(folder, clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
async def web(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP/1.1 client that trusts the sandbox's CA and nothing else."""
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(5)) as session:
        yield session


@pytest.fixture
async def apns(sandbox: Sandbox) -> AsyncIterator[H2Client]:
    async with H2Client(sandbox.urls.apns, sandbox.ca_file) as client:
        yield client
