"""The sandbox over HTTP: what arrived, the rules, and the page that shows both. Mounted under /sandbox.

    GET    /sandbox                 the page
    GET    /sandbox/messages        ?channel= &after= &limit= &refused=1 &message_id=
    GET    /sandbox/requests/{id}   one request as it came
    GET    /sandbox/demo            {"tid", "token", "ws_url"}: what the page publishes with
    GET    /sandbox/rules           the rules in force
    POST   /sandbox/rules           one rule or a list of them
    DELETE /sandbox/rules           all of them
    POST   /sandbox/receipts        {"message": id, "event", "error_code", "url"}: what became of an SMS or a mail
    POST   /sandbox/replies         {"cell", "text", "url"}: a person answers an SMS
    POST   /sandbox/devices         {"os": "ios" | "android"}: mint a phone's push token
    POST   /sandbox/subscriptions   mint a browser's push subscription; {"application_server_key"} may bind it

Owns no state. Never answers anybody but this machine (see guard).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Literal, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.deliveries import channel as channels
from domain.errors import Invalid
from domain.text.number import whole_number
from infra.sandbox.books import CHANNEL_OF, Books, Item, spellings
from infra.sandbox.guard import LoopbackOnly
from infra.sandbox.problem import problem
from infra.sandbox.providers.receipts import CannotReport, Receipts
from infra.sandbox.rules import Rule, Rules

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Room for as many rules as there may be."""

LIMIT_DEFAULT = 1_000

METHOD_NOT_ALLOWED = 405

DemoToken = Callable[[], Awaitable[dict[str, str]]]
"""Makes what the page publishes with: {"tid": ..., "token": ..., "ws_url": ...}."""


class Shown(Protocol):
    """What the page needs of a sandbox."""

    rules: Rules
    books: Books
    receipts: Receipts

    async def mint_subscription(self, application_server_key: str = "") -> Any: ...

    async def mint_device(self, owner: str = "") -> str: ...

    async def mint_registration(self, owner: str = "") -> str: ...


SHOWN = (channels.WEBSOCKET, *sorted(set(CHANNEL_OF.values())))
"""What messages may be asked for."""
NO_PROVIDER = (
    "no provider stands between us and web sockets, so nothing arrives here: "
    "GET /api/v2/messages/{mid}/deliveries shows the frames"
)


class Failure(Exception):
    """Answered as problem+json."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def page_app(sandbox: Shown, demo_token: DemoToken | None) -> Starlette:
    """The Starlette app; the caller mounts it under /sandbox."""
    views = _Views(sandbox, demo_token)
    routes = [
        Route("/", views.page, methods=["GET"]),
        Route("/messages", views.messages, methods=["GET"]),
        Route("/requests/{id:int}", views.request, methods=["GET"]),
        Route("/demo", views.demo, methods=["GET"]),
        Route("/rules", views.list_rules, methods=["GET"]),
        Route("/rules", views.add_rules, methods=["POST"]),
        Route("/rules", views.clear_rules, methods=["DELETE"]),
        Route("/receipts", views.report, methods=["POST"]),
        Route("/replies", views.reply, methods=["POST"]),
        Route("/devices", views.mint_device, methods=["POST"]),
        Route("/subscriptions", views.mint, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(LoopbackOnly)],
        exception_handlers={Failure: _failed, HTTPException: _not_routed},
    )


class _Views:
    def __init__(self, sandbox: Shown, demo_token: DemoToken | None) -> None:
        self._sandbox, self._demo_token = sandbox, demo_token

    async def page(self, request: Request) -> Response:
        headers = {"content-security-policy": POLICY, "x-frame-options": "DENY", "cache-control": "no-store"}
        return Response(PAGE, media_type="text/html", headers=headers)

    async def messages(self, request: Request) -> Response:
        asked = request.query_params
        items, total = await self._sandbox.books.messages(
            channel=_channel(asked.get("channel", "")),
            after=_number(asked.get("after"), "after"),
            limit=LIMIT_DEFAULT if (limit := _number(asked.get("limit"), "limit")) is None else limit,
            refused=asked.get("refused", "") in {"1", "true"},
            message_id=asked.get("message_id", ""),
        )
        answer = {"items": [_shown(item) for item in items], "total": total}
        if asked.get("channel") in ("ws", channels.WEBSOCKET):
            answer["note"] = NO_PROVIDER
        return _json(answer)

    async def request(self, request: Request) -> Response:
        found = await self._sandbox.books.request(request.path_params["id"])
        if found is None:
            raise Failure(404, "No such request.")
        found["payload"] = found["payload"].decode("utf-8", "backslashreplace")
        found["received_at"] = _instant(found["received_at"])
        return _json(found)

    async def demo(self, request: Request) -> Response:
        if self._demo_token is None:
            raise Failure(404, "This sandbox was started without an exchange.")
        return _json(await self._demo_token())

    async def list_rules(self, request: Request) -> Response:
        return _json({"items": self._sandbox.rules.list()})

    async def add_rules(self, request: Request) -> Response:
        body = await _body(request)
        try:
            rules = msgspec.json.decode(body, type=Rule | list[Rule])
            self._sandbox.rules.put_all(rules if isinstance(rules, list) else [rules])
        except (msgspec.DecodeError, ValueError) as error:
            raise Failure(422, str(error)) from None
        return _json({"items": self._sandbox.rules.list()}, status=201)

    async def clear_rules(self, request: Request) -> Response:
        self._sandbox.rules.clear()
        return Response(status_code=204)

    async def report(self, request: Request) -> Response:
        told = await _decoded(request, _Report)
        return await _posted(
            self._sandbox.receipts.report(told.message, told.event, error_code=told.error_code, url=told.url)
        )

    async def reply(self, request: Request) -> Response:
        told = await _decoded(request, _Reply)
        return await _posted(self._sandbox.receipts.reply(told.cell, told.text, url=told.url))

    async def mint_device(self, request: Request) -> Response:
        wish = await _decoded(request, _Phone)
        mint = self._sandbox.mint_device if wish.os == "ios" else self._sandbox.mint_registration
        return _json({"os": wish.os, "token": await mint(wish.owner)}, status=201)

    async def mint(self, request: Request) -> Response:
        wish = await _decoded(request, _Wish)
        made = await self._sandbox.mint_subscription(wish.application_server_key)
        keys = {"p256dh": made.p256dh, "auth": made.auth}
        return _json({"endpoint": made.endpoint, "expirationTime": None, "keys": keys}, status=201)


class _Wish(msgspec.Struct):
    application_server_key: str = ""


class _Phone(msgspec.Struct):
    """owner: the app's APNs topic, or the FCM project; "": the sandbox's own."""

    os: Literal["ios", "android"]
    owner: str = ""


class _Report(msgspec.Struct):
    message: int
    event: str
    error_code: int | None = None
    url: str = ""


class _Reply(msgspec.Struct):
    cell: str
    text: str
    url: str = ""


def _assembled() -> tuple[str, str]:
    """The page as one document, and the policy that lets exactly its own style and script run."""
    folder = files("infra.sandbox") / "web"
    page, style, script = ((folder / f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    whole = page.replace("/* page.css */", style).replace("/* page.js */", script)
    policy = (
        f"default-src 'none'; style-src '{_fingerprint(style)}'; script-src '{_fingerprint(script)}'; img-src data:; "
        "connect-src 'self' ws://127.0.0.1:* ws://localhost:*; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return whole, policy


def _fingerprint(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


PAGE, POLICY = _assembled()


def _shown(item: Item) -> dict[str, Any]:
    """message_id as the exchange's REST spells it, whichever way the gateway sent it."""
    told = {"message_id": spellings(item.message_id)[-1], "received_at": _instant(item.received_at)}
    return {**msgspec.structs.asdict(item), **told}


def _instant(seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _channel(asked: str) -> str:
    try:
        names = channels.channels_of([asked] if asked else None)
    except Invalid as error:
        raise Failure(422, error.detail) from None
    if names and names[0] not in SHOWN:
        raise Failure(422, f"{asked!r} is no channel; use one of {', '.join(SHOWN)}")
    return names[0] if names else ""


def _number(text: str | None, name: str) -> int | None:
    if text is None or text == "":
        return None
    found = whole_number(text)
    if found is None:
        raise Failure(422, f"{name} must be a whole number.")
    return found


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise Failure(413, f"No more than {BODY_BYTES_MAX} bytes.")
    return bytes(body)


async def _decoded[T](request: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await _body(request) or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise Failure(422, str(error)) from None


async def _posted(post: Awaitable[int]) -> Response:
    try:
        return _json({"status": await post})
    except CannotReport as error:
        raise Failure(409, str(error)) from None


def _json(value: object, *, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(value), status, {"cache-control": "no-store"}, media_type="application/json"
    )


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, Failure)
    return problem(error.status, error.detail)


async def _not_routed(_: Request, error: Exception) -> Response:
    """No such page, or none with this method: `Allow` says which it has."""
    assert isinstance(error, HTTPException)
    if error.status_code != METHOD_NOT_ALLOWED:
        return problem(error.status_code, "there is no such page")
    # Starlette names them in any order.
    allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
    return problem(error.status_code, f"use {allowed}", {"Allow": allowed})
