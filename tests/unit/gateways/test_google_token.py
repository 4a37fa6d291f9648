"""Google's token endpoint, whatever it answers: a token, or none for now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateways.keys.google_token import GoogleToken, TokenRefused, TokenUnavailable
from tests.fixtures.certificates import Certificates


@cache
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@asynccontextmanager
async def answering(answer: bytes, certificates: Certificates) -> AsyncIterator[GoogleToken]:
    """A token of an endpoint that always says this."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0, ssl=certificates.server())
    account: dict[str, Any] = {
        "type": "service_account",
        "project_id": "p",
        "client_email": "push@example.org",
        "private_key": private_key(),
        "token_uri": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/token",
    }
    token = GoogleToken(account, ca_file=certificates.ca_file)
    try:
        yield token
    finally:
        await token.aclose()
        server.close()


async def test_a_token(certificates: Certificates) -> None:
    """Is what the endpoint says."""
    async with answering(b'{"access_token": "ya29.t", "expires_in": 3600}', certificates) as token:
        assert await token.get(timeout_s=5.0) == "ya29.t"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"access_token": "t", "expires_in": []}',
        b'{"access_token": "t", "expires_in": 1e300}',
        b'{"access_token": "t", "expires_in": "' + b"9" * 5_000 + b'"}',
        b'{"access_token": "a\\r\\nb", "expires_in": 3600}',
        b'{"access_token": "\\ud800", "expires_in": 3600}',
        b'{"access_token": ["t"], "expires_in": 3600}',
        b'{"access_token": "t"}',
        b'["t"]',
        b"[" * 60_000,
        b"\xff",
        b"",
    ],
    ids=range(11),
)
async def test_an_answer_that_is_no_token(answer: bytes, certificates: Certificates) -> None:
    """Whoever wants to send hears that there is none: nothing was sent, and that is certain."""
    async with answering(answer, certificates) as token:
        with pytest.raises((TokenUnavailable, TokenRefused)):
            await token.get(timeout_s=5.0)
