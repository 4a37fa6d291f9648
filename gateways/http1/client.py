"""HTTP/1.1 over aiohttp, for providers whose requests are few and large (SMS, e-mail) or that speak nothing newer.

A `Transport`: no retry, no redirect, verified certificates, a bounded number of requests in flight.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateways.http2.dial import DialFailed, Resolve, tls_context
from gateways.transport import Answer, Header, NoAnswer, NotSent, Request, Result

IN_FLIGHT_MAX = 32
"""Requests at once to one provider; Twilio allows some hundred, and a slice must not exhaust them."""
CONNECT_TIMEOUT_S = 10.0
KEEP_S = 15.0
"""Idle connections are given up early: a POST on one that the provider has just closed may or may not have arrived."""
BODY_BYTES_MAX = 262_144


class Http1Transport:
    """url: what every request's path is appended to. body_bytes_max: of an answer; more of it is not read, and it is
    not complete. resolve: which addresses a name may mean, None: the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | None = None,
        constants: Sequence[Header] = (),
        in_flight_max: int = IN_FLIGHT_MAX,
        body_bytes_max: int = BODY_BYTES_MAX,
        resolve: Resolve | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._tls = tls_context(ca_file, "http/1.1")
        self._constants = dict(constants)
        self._in_flight_max, self._body_bytes_max, self._resolve = in_flight_max, body_bytes_max, resolve
        self._session: aiohttp.ClientSession | None = None

    async def post_many(
        self, requests: Sequence[Request], *, headers: Sequence[Header] = (), deadline_s: float
    ) -> list[Result]:
        return await self._many("POST", requests, headers, deadline_s)

    async def get_many(self, paths: Sequence[bytes], *, deadline_s: float) -> list[Result]:
        """As post_many, for questions."""
        return await self._many("GET", [Request(path, b"") for path in paths], (), deadline_s)

    async def _many(
        self, method: str, requests: Sequence[Request], headers: Sequence[Header], deadline_s: float
    ) -> list[Result]:
        deadline = asyncio.get_running_loop().time() + deadline_s
        results: list[Result] = [NotSent("deadline")] * len(requests)
        todo = iter(range(len(requests)))

        async def work() -> None:
            for index in todo:
                results[index] = await self._send(method, requests[index], headers, deadline)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(requests), self._in_flight_max)):
                group.create_task(work())
        return results

    def set_header(self, name: bytes, value: bytes) -> None:
        self._constants[name] = value

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _send(
        self, method: str, request: Request, headers: Sequence[Header], deadline: float
    ) -> Result:
        """One exchange by the deadline. Once the headers have left, silence means that nobody knows."""
        if deadline <= asyncio.get_running_loop().time():
            return NotSent("deadline")
        told = SimpleNamespace(left=False, status=0, headers={}, body=b"")
        try:
            async with asyncio.timeout_at(deadline):
                await self._exchange(method, request, headers, told)
        except TimeoutError:
            return _incomplete(told, "deadline", "")
        except aiohttp.ClientSSLError as error:
            return NotSent("tls", str(error))
        except aiohttp.ClientConnectorError as error:
            refusal = error.os_error
            return NotSent(refusal.code if isinstance(refusal, Refused) else "connect", str(refusal))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _incomplete(told, "connection", f"{type(error).__name__}: {error}")
        is_whole = len(told.body) <= self._body_bytes_max
        return Answer(told.status, told.body, told.headers, complete=is_whole)

    async def _exchange(
        self, method: str, request: Request, headers: Sequence[Header], told: SimpleNamespace
    ) -> None:
        url = URL(self._url + request.path.decode("ascii"), encoded=True)
        all_headers = {
            name.decode(): value.decode("latin-1")
            for name, value in (*self._constants.items(), *headers, *request.headers)
            if name != b"content-length"  # aiohttp's own
        }
        async with self._open().request(
            method,
            url,
            data=request.body if method == "POST" else None,
            headers=all_headers,
            allow_redirects=False,
            trace_request_ctx=told,
        ) as answer:
            told.headers = {name.lower(): value for name, value in answer.headers.items()}
            told.status = answer.status
            while len(told.body) <= self._body_bytes_max:
                piece = await answer.content.read(BODY_BYTES_MAX)
                if not piece:
                    break
                told.body += piece

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_note_sent)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls,
                    limit=self._in_flight_max,
                    keepalive_timeout=KEEP_S,
                    resolver=None if self._resolve is None else _Resolver(self._resolve),
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                trace_configs=[trace],
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
            )
        return self._session


class Refused(OSError):
    """A resolver that will not have this address."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class _Resolver(AbstractResolver):
    """Lets the caller decide, once, which addresses are connected to: no second look-up can say otherwise."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        try:
            addresses = await self._resolve(host, port)
        except DialFailed as failure:
            raise Refused(failure.code, failure.detail) from None
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return None


async def _note_sent(_session: Any, context: Any, _params: Any) -> None:
    context.trace_request_ctx.left = True


def _incomplete(told: SimpleNamespace, code: str, detail: str) -> Result:
    headers: Mapping[str, str] = told.headers
    if told.status:
        return Answer(told.status, told.body, headers, complete=False)
    return NoAnswer(code, detail) if told.left else NotSent(code, detail)
