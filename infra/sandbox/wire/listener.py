"""One provider's port on loopback: TLS, then HTTP/2 or HTTP/1.1 as the client asks by ALPN.

Owns the socket and its connections. Never binds anything but 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from infra.sandbox.desk import Desk, Provider
from infra.sandbox.keyring import Keyring
from infra.sandbox.wire.binding import HOST, bound, closed
from infra.sandbox.wire.http1 import Http1
from infra.sandbox.wire.http2 import Http2

CONNECTIONS_MAX = 128
"""Per provider: many gateways' worth; a leak of connections shows as refusals."""

HANDSHAKE_TIMEOUT_S = 10.0


class Listener:
    """h2_only: as APNs, which speaks nothing else."""

    def __init__(self, provider: Provider, desk: Desk, keyring: Keyring, *, h2_only: bool = False) -> None:
        self._provider, self._desk, self._h2_only = provider, desk, h2_only
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(keyring.certificate_file, keyring.certificate_key_file)
        self._context.set_alpn_protocols(["h2"] if h2_only else ["h2", "http/1.1"])
        self._server: asyncio.Server | None = None
        self.connections: set[asyncio.Protocol] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    async def start(self, wanted_port: int = 0) -> None:
        """Bind the wanted port, or a free one when it is taken."""
        loop = asyncio.get_running_loop()

        async def bind(port: int) -> asyncio.Server:
            return await loop.create_server(
                lambda: _Arrival(self),
                HOST,
                port,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                backlog=CONNECTIONS_MAX,
            )

        self._server = await bound(bind, wanted_port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        if self._server is not None:
            await closed(self._server, [_transport_of(each).abort for each in self.connections])

    def welcome(self, transport: asyncio.Transport) -> None:
        """Hand a connection whose handshake is done to the protocol its client chose."""
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if len(self.connections) >= CONNECTIONS_MAX or (self._h2_only and chosen != "h2"):
            transport.abort()
            return
        kind = Http2 if chosen == "h2" else Http1
        protocol = kind(self._provider, self._desk, self.connections.discard)
        self.connections.add(protocol)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class _Arrival(asyncio.Protocol):
    """A connection until its handshake tells what it speaks."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport, they only behave like one.
        self._listener.welcome(cast("asyncio.Transport", transport))


def _transport_of(connection: asyncio.Protocol) -> asyncio.Transport:
    assert isinstance(connection, Http1 | Http2)
    assert connection.transport is not None, "a connection leaves the set when it is lost"
    return connection.transport
