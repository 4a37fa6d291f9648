"""The issuer over HTTP: its keys with their age, users and their revocations, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domain.errors import Unavailable
from infra.firebase import BODY_BYTES_MAX, FirebaseRevocations, JwksKeys, max_age_s
from tests.fixtures.webserver import serving

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def issuer(handler: Handler) -> AsyncIterator[str]:
    """Serves on a free port; the address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with serving(app) as url:
        yield f"{url}/keys"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("public, max-age=19302, must-revalidate, no-transform", 19302),
        ("max-age=60", 60),
        ("MAX-AGE=60", 60),
        ("s-maxage=60", 0),
        ("max-age=-1", 0),
        ("no-store, max-age=60", 0),
        ("", 0),
    ],
)
def test_the_age_of_keys_is_what_the_issuer_says(header: str, seconds: int) -> None:
    """Cache-Control, as RFC 9111 reads it."""
    assert max_age_s(header) == seconds


async def test_keys_come_with_their_age() -> None:
    """The body as it is, and how long it may be kept."""

    async def keys(_: web.Request) -> web.Response:
        return web.Response(body=b'{"keys": []}', headers={"Cache-Control": "public, max-age=600"})

    async with issuer(keys) as url:
        assert await JwksKeys(url).fetch() == (b'{"keys": []}', 600.0)


async def test_an_answer_in_pieces_is_read_whole() -> None:
    """However the network cuts it; what is longer than any keys are is refused instead of cut."""
    pieces = [b'{"keys": [', b"1,", b"2]", b"}"]
    arrived = asyncio.Event()

    async def keys(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for piece in pieces:
            await answer.write(piece)
            await asyncio.sleep(0.02)
        arrived.set()
        return answer

    async with issuer(keys) as url:
        assert (await JwksKeys(url).fetch())[0] == b'{"keys": [1,2]}'
        assert arrived.is_set()
        pieces.extend([b" " * BODY_BYTES_MAX])
        with pytest.raises(Unavailable, match="too long"):
            await JwksKeys(url).fetch()


async def test_keys_that_a_cache_has_had_for_a_while_are_kept_the_rest_of_their_time() -> None:
    """Age counts (RFC 9111, section 4.2.3)."""

    async def keys(request: web.Request) -> web.Response:
        headers = {"Cache-Control": "max-age=600", "Age": request.query["age"]}
        return web.Response(body=b"{}", headers=headers)

    async with issuer(keys) as url:
        for age, seconds in (("250", 350.0), ("900", 0.0), ("soon", 600.0), ("9" * 5_000, 600.0)):
            assert await JwksKeys(f"{url}?age={age}").fetch() == (b"{}", seconds)


@pytest.mark.parametrize("status", [302, 403, 500])
async def test_any_other_answer_is_no_answer(status: int) -> None:
    """No redirect is followed, no error page is read as keys."""

    async def refused(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:1/"})

    async with issuer(refused) as url:
        with pytest.raises(Unavailable):
            await JwksKeys(url).fetch()


async def test_an_issuer_that_hangs_up_is_unavailable() -> None:
    """A broken connection is one of our own errors."""

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with issuer(hang_up) as url:
        with pytest.raises(Unavailable):
            await JwksKeys(url).fetch()
    with pytest.raises(Unavailable):
        await JwksKeys("http://127.0.0.1:1/keys").fetch()


@pytest.mark.parametrize(
    ("users", "since_s"),
    [
        ([{"localId": "u", "validSince": "1700000000"}], 1_700_000_000.0),
        ([{"localId": "u"}], 0.0),
        ([{"localId": "u", "validSince": "1", "disabled": True}], None),
        ([], None),
    ],
)
async def test_a_user_is_looked_up_with_the_service_account(
    users: list[dict[str, object]], since_s: float | None
) -> None:
    """validSince, or nothing for a user who is gone or disabled; asked with the account's access token."""

    async def google(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"access_token": "granted", "expires_in": 3600, "token_type": "Bearer"})
        assert request.headers["Authorization"] == "Bearer granted"
        assert await request.json() == {"localId": ["u"]}
        return web.json_response({"users": users})

    async with issuer(google) as url:
        asking = FirebaseRevocations("my-shops", _account(url.replace("/keys", "/token")), url=url)
        try:
            assert await asking.valid_since_s("u") == since_s
        finally:
            await asking.aclose()


async def test_an_account_that_google_refuses_leaves_the_question_open() -> None:
    """Without an answer nobody is taken for revoked, nor for not: 503."""

    async def refused(_: web.Request) -> web.Response:
        return web.json_response({"error": "invalid_grant"}, status=400)

    async with issuer(refused) as url:
        asking = FirebaseRevocations("my-shops", _account(url), url=url)
        try:
            with pytest.raises(Unavailable):
                await asking.valid_since_s("u")
        finally:
            await asking.aclose()


def _account(token_uri: str) -> dict[str, str]:
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "project_id": "my-shops",
        "private_key_id": "k",
        "private_key": pem,
        "client_email": "msgxc@my-shops.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
