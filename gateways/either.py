"""HTTP/2 where the peer speaks it, else HTTP/1.1: for push services we do not choose.

Asks once, by ALPN, before anything is sent; nothing is ever sent twice for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateways.transport import Header, NotSent, Request, Result, Transport


class EitherTransport:
    """newer: tried first. open_older: makes the other one, kept from then on."""

    def __init__(self, newer: Transport, open_older: Callable[[], Transport]) -> None:
        self._newer, self._open_older = newer, open_older
        self._older: Transport | None = None
        self._set: dict[bytes, bytes] = {}

    async def post_many(
        self, requests: Sequence[Request], *, headers: Sequence[Header] = (), deadline_s: float
    ) -> list[Result]:
        if self._older is not None:
            return await self._older.post_many(requests, headers=headers, deadline_s=deadline_s)
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_s
        results = await self._newer.post_many(requests, headers=headers, deadline_s=deadline_s)
        again = [
            n for n, result in enumerate(results) if isinstance(result, NotSent) and result.code == "http2"
        ]
        if again:
            some = [requests[n] for n in again]
            answers = await self._fall_back().post_many(some, headers=headers, deadline_s=until - loop.time())
            for n, answer in zip(again, answers, strict=True):
                results[n] = answer
        return results

    def set_header(self, name: bytes, value: bytes) -> None:
        self._set[name] = value
        (self._older or self._newer).set_header(name, value)

    async def aclose(self) -> None:
        await self._newer.aclose()
        if self._older is not None:
            await self._older.aclose()

    def _fall_back(self) -> Transport:
        if self._older is None:
            self._older = self._open_older()
            for name, value in self._set.items():
                self._older.set_header(name, value)
        return self._older
