"""Registering a visitor with the site's own system, over HTTP to a local one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from domain.errors import Unavailable
from infra.visitors import PATH, VisitorsByHttp
from tests.fixtures.webserver import serving

TOKEN = "a-secret-token"


class SitesOwn:
    """The system that visitors are registered with. status: what it answers; None: nothing, ever."""

    def __init__(self) -> None:
        self.status: int | None = 200
        self.taken: list[tuple[str, Any]] = []
        self.url = ""

    async def save(self, request: web.Request) -> web.Response:
        if self.status is None:
            await asyncio.Event().wait()
        self.taken.append((request.headers["X-Internal-Token"], await request.json()))
        return web.Response(status=self.status or 200, headers={"location": self.url})


@asynccontextmanager
async def sites_own() -> AsyncIterator[SitesOwn]:
    made = SitesOwn()
    app = web.Application()
    app.router.add_post(PATH, made.save)
    async with serving(app, shutdown_timeout=0.1) as made.url:
        yield made


async def test_a_visitor_is_told_as_the_original_did() -> None:
    """The path, the header and the names of the fields."""
    async with sites_own() as own:
        await VisitorsByHttp(own.url + "/", TOKEN).save(
            domain="example.org", visitor="v-1", email="zoë@example.org"
        )
    body = {"Domain": "example.org", "VisitorGuid": "v-1", "Email": "zoë@example.org"}
    assert own.taken == [(TOKEN, body)]
    assert PATH == "/Lists/InternalSubscriber/SaveVisitorWithEmail"


@pytest.mark.parametrize("status", [302, 400, 401, 500, None])
async def test_what_was_not_taken_is_unavailable(status: int | None) -> None:
    """A refusal, a redirect (which would carry the secret elsewhere), or no answer in time."""
    async with sites_own() as own:
        own.status = status
        with pytest.raises(Unavailable) as raised:
            await VisitorsByHttp(own.url, TOKEN, patience_s=0.3).save(
                domain="example.org", visitor="v-1", email="ann@example.org"
            )
        assert TOKEN not in str(raised.value)
        assert "ann@" not in str(raised.value)


async def test_nobody_there_is_unavailable() -> None:
    """A site's system that nobody answers for is unavailable, so that it is told again later."""
    async with sites_own() as own:
        url = own.url
    with pytest.raises(Unavailable):
        await VisitorsByHttp(url, TOKEN).save(domain="example.org", visitor="v-1", email="ann@example.org")
