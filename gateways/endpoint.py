"""Where a web push may go: endpoints are written by users, so they are refused unless listed.

Guards against server-side request forgery: https only, hosts on a list, port 443, addresses that are public, resolved
once. An entry that names its own port (`127.0.0.1:8443`) is the operator's word for that place: it may be private.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import msgspec

from gateways.http2.dial import DialFailed, Origin

ENDPOINT_CHARS_MAX = 2_048
HOST_CHARS_MAX = 253
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*|[0-9a-f:.]+")
_ENTRY = re.compile(r"(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::\d{1,5})?|\[[0-9a-f:.]+\]:\d{1,5}")


class EndpointRefused(ValueError):
    """The endpoint is none we would ever send to. The reason is for the log of the operator, not for the user."""


class Endpoint(msgspec.Struct, frozen=True):
    origin: Origin
    path: str


class AllowedHosts:
    """Entries: `push.example.org`, `*.example.org` (any name below it, not itself), `127.0.0.1:8443`."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._hosts: set[str] = set()
        self._suffixes: list[str] = []
        self._places: set[tuple[str, int]] = set()
        for entry in entries:
            self._add(entry.strip().lower())

    def _add(self, entry: str) -> None:
        if not _ENTRY.fullmatch(entry):
            raise ValueError(f"{entry!r} is no host; write push.example.org, *.example.org or 127.0.0.1:8443")
        host, colon, port = entry.rpartition(":")
        if colon:
            self._places.add((host.strip("[]"), int(port)))
        elif entry.startswith("*."):
            self._suffixes.append(entry[1:])
        else:
            self._hosts.add(entry)

    def names(self, url: str) -> bool:
        """Whether a web push may go there, as far as its address says."""
        try:
            self.check(url)
        except EndpointRefused:
            return False
        return True

    def check(self, url: str) -> Endpoint:
        """Raises EndpointRefused."""
        if len(url) > ENDPOINT_CHARS_MAX or not _VISIBLE_ASCII.fullmatch(url) or "\\" in url:
            raise EndpointRefused("not a plain URL")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), 443 if parts.port is None else parts.port
        except ValueError:
            raise EndpointRefused("not a URL") from None
        if (
            parts.scheme != "https"
            or not _HOST.fullmatch(host)
            or len(host) > HOST_CHARS_MAX
            or "@" in parts.netloc
            or parts.fragment
        ):
            raise EndpointRefused("not https, or more than host and path")
        if not (self._named(host, port) or (host, port) in self._places):
            raise EndpointRefused("its host is not on the list MSGXC_WEBPUSH_HOSTS")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Endpoint(Origin(host, port), path)

    def _named(self, host: str, port: int) -> bool:
        if port != 443 or _is_address(host):
            return False
        return host in self._hosts or any(host.endswith(suffix) for suffix in self._suffixes)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses that may be connected to, and no others (a `Resolve`)."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if (host, port) in self._places:
            return addresses
        public = [address for address in addresses if is_public(address)]
        if not public:
            raise DialFailed("private-address", f"{host} leads to no public address")
        return public


def is_public(address: str) -> bool:
    """Whether an address is on the open internet, also when it is an IPv4 address inside an IPv6 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # What the system would still take for an address: 127.1, 0x7f000001, 2130706433.
        return host.rpartition(".")[2].isdigit() or host.startswith("0x")
    return True
