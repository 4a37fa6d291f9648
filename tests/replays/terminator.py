"""What stands where Emarsys' hosts stand: a proxy that ends TLS and passes bytes on to an exchange, and keeps them.

Bytes pass as they came, both ways: what the SDK reads is what the exchange wrote, reason phrases included. Nothing
ever goes to another machine: hosts that the exchange has nothing for are answered here, others are refused and kept
as stray.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.replays.sdks.wire import Call

HEAD_BYTES_MAX = 64 * 1024
CONNECT_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer, byte for byte."""

    head: bytes
    body: bytes

    @property
    def first_line(self) -> list[str]:
        return self.head.partition(b"\r\n")[0].decode().split(" ", 2)

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name
        }

    def json(self) -> Any:
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None


@dataclass(frozen=True, slots=True)
class Exchanged(Call):
    """A call, and what its answer was."""

    reason: str
    answer_headers: Mapping[str, str]
    answer: Any


@dataclass(frozen=True, slots=True)
class Hosts:
    """Emarsys' own. served: by the exchange. answered: here, each by what makes an answer of a request."""

    served: tuple[str, ...]
    answered: Mapping[str, Callable[[Message], bytes]]


@dataclass(slots=True)
class Terminator:
    """`swapped`: parts of request heads that are exchanged for others on their way, as time would have spoilt them."""

    target: int
    context: ssl.SSLContext
    hosts: Hosts
    port: int = 0
    calls: list[Exchanged] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    swapped: dict[str, str] = field(default_factory=dict)
    _excused: set[int] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            host = (await _read(reader)).first_line[1].partition(":")[0]
            if host in self.hosts.served or host in self.hosts.answered:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await writer.start_tls(self.context)
                await self._converse(host, reader, writer)
            else:
                self.stray.append(host)
        writer.transport.abort()

    async def _converse(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await _read(reader)
            if (answers := self.hosts.answered.get(host)) is not None:
                writer.write(answers(request))
                await writer.drain()
                continue
            answer = await self._passed_on(request)
            self._keep(request, answer)
            if answer is None:
                return
            writer.write(answer.head + answer.body)
            await writer.drain()

    async def _passed_on(self, request: Message) -> Message | None:
        """None: the exchange is not there, or broke off."""
        head = request.head.decode("latin-1")
        for part, instead in self.swapped.items():
            head = head.replace(part, instead)
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.target, limit=HEAD_BYTES_MAX)
        except (OSError, TimeoutError):
            return None
        try:
            writer.write(head.encode("latin-1") + request.body)
            return await _read(reader, of=request.first_line[0])
        except (OSError, asyncio.IncompleteReadError):
            return None
        finally:
            writer.close()

    def _keep(self, request: Message, answer: Message | None) -> None:
        method, target, _ = request.first_line
        status, reason = None, ""
        if answer is not None:
            line = [*answer.first_line, ""]
            status, reason = int(line[1]), line[2]
        self.calls.append(
            Exchanged(
                method,
                target,
                request.headers,
                request.json(),
                status,
                reason,
                answer.headers if answer else {},
                answer.json() if answer else None,
            )
        )

    def sent(self, method: str, ending: str) -> list[Exchanged]:
        """The calls so far whose path ends so."""
        return [call for call in self.calls if call.method == method and call.path.endswith(ending)]

    def excuse(self, call: Exchanged) -> None:
        """The scenario wanted this one to fail."""
        self._excused.add(id(call))

    def assert_unsurprising(self) -> None:
        """Every call was answered as SDKs hope, in lines that their parsers can read."""
        bad = [
            f"{call.method} {call.target}: {call.status} {call.reason} {call.answer}"
            for call in self.calls
            if id(call) not in self._excused and (call.status not in {200, 204} or not call.reason)
        ]
        assert not bad, "the SDK would not have expected:\n" + "\n".join(bad)

    def events_sent(self) -> list[str]:
        """The names of all events that were in a request that was taken, in order."""
        return [
            event["name"]
            for call in self.calls
            if call.method == "POST" and call.path.endswith("/events") and call.status in {200, 204}
            for event in call.body["events"]
        ]


async def _read(reader: asyncio.StreamReader, *, of: str = "") -> Message:
    """One message. of: the method that it answers, of which HEAD has no body."""
    head = await reader.readuntil(b"\r\n\r\n")
    message = Message(head, b"")
    headers = message.headers
    if "chunked" in headers.get("transfer-encoding", ""):
        return Message(head, await _chunks(reader))
    return Message(
        head, await reader.readexactly(0 if of == "HEAD" else int(headers.get("content-length", 0)))
    )


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """As they came, lengths and all."""
    got = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        got += line + await reader.readexactly(size + 2)
        if size == 0:
            return got


@asynccontextmanager
async def terminator(target: int, context: ssl.SSLContext, hosts: Hosts) -> AsyncIterator[Terminator]:
    """target: the exchange's port."""
    stands = Terminator(target, context, hosts)
    server = await asyncio.start_server(stands.serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
    stands.port = server.sockets[0].getsockname()[1]
    try:
        yield stands
    finally:
        server.close()
