"""The HTTP/2 client and a server that shares no code with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateways.http2 import Http2Transport
from gateways.transport import Request, Result
from tests.fixtures.certificates import Certificates
from tests.fixtures.h2_server import H2Server, serving

CONSTANTS = (
    (b"authorization", b"bearer " + b"x" * 300),
    (b"apns-topic", b"org.example.app"),
    (b"apns-push-type", b"alert"),
)
TOKEN = {"authorization": "bearer " + "x" * 300, "apns-topic": "org.example.app", "apns-push-type": "alert"}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("known"), "localhost", "push.example")


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[H2Server]:
    async with serving(certificates.server("h2")) as server:
        yield server


@pytest.fixture
async def transport(server: H2Server, certificates: Certificates) -> AsyncIterator[Http2Transport]:
    async with client(server, certificates) as transport:
        yield transport


@asynccontextmanager
async def client(server: H2Server, certificates: Certificates, **more: Any) -> AsyncIterator[Http2Transport]:
    transport = Http2Transport(server.url, ca_file=certificates.ca_file, constants=CONSTANTS, **more)
    try:
        yield transport
    finally:
        await transport.aclose()


def requests(*verbs: str, body: bytes = b"{}") -> list[Request]:
    return [Request(f"/3/device/{verb}".encode(), body, ((b"apns-id", verb.encode()),)) for verb in verbs]


async def post(
    transport: Http2Transport, *verbs: str, deadline_s: float = 5.0, body: bytes = b"{}"
) -> list[Result]:
    return await transport.post_many(requests(*verbs, body=body), deadline_s=deadline_s)
