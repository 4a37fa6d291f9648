"""From a URL to a connection that is ready: DNS, TCP, TLS with a verified certificate, ALPN h2, the peer's settings.

Certificates are always verified and there is no switch for it. Tries each address of a name in turn.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from gateways.http2.connection import Connection

DIAL_TIMEOUT_S = 10.0
"""For all of it; APNs and FCM take a fraction of a second from anywhere."""
ADDRESS_TIMEOUT_S = 4.0
"""For one address, so that a dead one (IPv6 that leads nowhere) leaves time for the next."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to the addresses to try, in order. Raises OSError, or DialFailed when none may be used."""


class DialFailed(Exception):
    """No connection. code: dns, connect, tls, http2, or the resolver's own."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


class Origin(msgspec.Struct, frozen=True):
    host: str
    port: int

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.authority}"

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises ValueError for anything but https and a host."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"{url!r} is no https URL")
        return cls(parts.hostname, parts.port or 443)


@lru_cache(32)
def tls_context(ca_file: str | None, protocol: str) -> ssl.SSLContext:
    """The system's authorities, or only those of `ca_file`. Shared, since reading them takes tens of milliseconds."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    return context


async def resolve_any(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def dial(
    origin: Origin,
    tls: ssl.SSLContext,
    open_connection: Callable[[], Connection],
    resolve: Resolve = resolve_any,
) -> Connection:
    """A connection whose peer has said its limits. Raises DialFailed."""
    failure = DialFailed("dns", f"{origin.host} has no address")
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            for address in await resolve(origin.host, origin.port):
                try:
                    async with asyncio.timeout(ADDRESS_TIMEOUT_S):
                        return await _dial_address(origin, address, tls, open_connection)
                except TimeoutError:
                    failure = DialFailed("connect", "timed out")
                except DialFailed as refused:
                    failure = refused
    except TimeoutError:
        failure = DialFailed("connect", "timed out")
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be asked for
        failure = DialFailed("dns", str(error))
    raise failure


async def _dial_address(
    origin: Origin, address: str, tls: ssl.SSLContext, open_connection: Callable[[], Connection]
) -> Connection:
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(
            open_connection, address, origin.port, ssl=tls, server_hostname=origin.host
        )
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        raise DialFailed("http2" if "APPLICATION_PROTOCOL" in reason else "tls", reason) from None
    except OSError as error:
        raise DialFailed("connect", str(error)) from None
    try:
        refusal = await asyncio.shield(connection.ready)
    except asyncio.CancelledError:
        connection.close("too slow to begin")
        raise
    if refusal is not None:
        raise DialFailed("http2", refusal)
    return connection
