"""A connection to an application by a protocol of uvicorn's, whose other end is a test; and what it may talk to."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.endpoint import ADDED, respond
from api.http.body import BodyReader, ClientGone
from api.http.bounded import BoundedProtocol
from api.http.hanging_up import hang_up
from api.http.lane import JOINED_BYTES_MAX
from domain.errors import MsgxcError
from tests.memory.site import eventually

TURNS = 8
"""Of the loop: more than anything here needs to get as far as it can."""
DATE = [(b"date", b"Sat, 21 Nov 2026 08:00:00 GMT")]


class Wire(asyncio.Transport):
    """A connection whose other end is the test. done: what the server did, writes that follow each other as one."""

    def __init__(self, peer: str) -> None:
        super().__init__()
        self._peer, self._closing = peer, False
        self.protocol: asyncio.Protocol | None = None
        self.done: list[bytes | str] = []

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": (self._peer, 4711), "sockname": ("10.0.0.1", 80)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not data:
            return
        if self.done and isinstance(self.done[-1], bytes):
            self.done[-1] += bytes(data)
        else:
            self.done.append(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self.done.append("closed")
            self._lose()

    def abort(self) -> None:
        self.done.append("aborted")
        self._lose()

    def _lose(self) -> None:
        self._closing = True
        if self.protocol is not None:
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
            self.protocol = None

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Plain(HttpToolsProtocol):
    """uvicorn's own, but for the words to who does not speak HTTP."""

    _refuse = BoundedProtocol._refuse

    def send_400_response(self, msg: str) -> None:
        said = "this is not HTTP/1.1, or its method is none that we know"
        BoundedProtocol.send_400_response(self, said)  # type: ignore[arg-type]


_ID = re.compile(rb"[0-9a-f]{32}(?=\r\nconnection: close\r\n\r\n{)|(?<=\"request_id\":\")[0-9a-f]{32}")


def nameless(done: Sequence[Any]) -> list[Any]:
    """The same without the ids of what was refused before it was a request."""
    return [_ID.sub(b"", each) if isinstance(each, bytes) else each for each in done]


class Connection:
    """One connection to an application, by uvicorn's protocol or by ours. state: of the server."""

    def __init__(
        self,
        protocol: type[HttpToolsProtocol],
        app: ASGIApp,
        *,
        peer: str = "127.0.0.1",
        state: ServerState | None = None,
        **options: Any,
    ) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, **options)
        config.load()
        self.state = state or ServerState()
        self.state.default_headers = [*DATE]
        self.wire = Wire(peer)
        self.protocol = protocol(config, self.state, {"of": "lifespan"}, asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)
        self.wire.protocol = self.protocol

    async def send(self, pieces: Sequence[bytes]) -> list[bytes | str]:
        """Everything the server did about these, which arrive one after the other."""
        for piece in pieces:
            if self.wire.is_closing():
                break
            self.protocol.data_received(piece)
            await turns()
        return self.wire.done

    async def idle(self) -> None:
        """Once every request is answered."""
        await eventually(lambda: not self.state.tasks)

    async def lose(self) -> None:
        """The other end hangs up, and what still runs is given up."""
        if self.wire.protocol is not None:
            self.protocol.connection_lost(None)
        self.wire.protocol = None
        await turns()
        for task in tuple(self.state.tasks):
            task.cancel()
        await turns()


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Told:
    """An application that tells what it was asked, in the way that the path says. seen: beside the answers."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.release = asyncio.Event()
        self._bodies = BodyReader()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ADDED] = [(b"x-added", b"yes")]
        way = scope["path"].rpartition("/")[2]
        known = scope["type"], scope["method"], scope["path"], scope["scheme"], scope["http_version"]
        raw = [
            scope["raw_path"],
            scope["query_string"],
            *(part for pair in scope["headers"] for part in pair),
        ]
        said = [*known, *(each.decode("latin-1") for each in raw), scope["client"], scope["server"]]
        said += [scope["root_path"], scope["state"], scope["asgi"]]
        scope["state"]["of"] = "this request alone"
        await getattr(self, f"_{way}", self._whole)(scope, receive, send, said)

    async def _whole(self, scope: Scope, receive: Receive, send: Send, said: list[Any]) -> None:
        try:
            body = await self._bodies.read(dict(scope["headers"]), receive, bytes_max=100_000)
        except (ClientGone, MsgxcError) as error:
            self.seen.append(type(error).__name__)
            await respond(scope, send, 413, [(b"connection", b"close")], b"")
            return
        content = json.dumps([*said, body.decode("latin-1")]).encode()
        await respond(scope, send, 200, [(b"content-type", b"application/json")], content)

    async def _unread(self, scope: Scope, _receive: Receive, send: Send, said: list[Any]) -> None:
        await respond(scope, send, 201, [(b"X-Upper", b"a: b")], json.dumps(said).encode())

    async def _later(self, scope: Scope, receive: Receive, send: Send, said: list[Any]) -> None:
        await asyncio.sleep(0)
        await self._whole(scope, receive, send, said)

    async def _bodiless(self, scope: Scope, _receive: Receive, send: Send, _said: list[Any]) -> None:
        await respond(scope, send, 204, [], b"")

    async def _large(self, scope: Scope, _receive: Receive, send: Send, _said: list[Any]) -> None:
        await respond(scope, send, 200, [], b"x" * (JOINED_BYTES_MAX + 1))

    async def _split(self, scope: Scope, _receive: Receive, send: Send, _said: list[Any]) -> None:
        await respond(scope, send, 200, [(b"x-split", b"a\r\nset-cookie: b")], b"")

    async def _named(self, scope: Scope, _receive: Receive, send: Send, _said: list[Any]) -> None:
        await respond(scope, send, 200, [(b"x: y", b"z")], b"")

    async def _twice(self, scope: Scope, receive: Receive, send: Send, said: list[Any]) -> None:
        await self._whole(scope, receive, send, said)
        self.seen.append((await receive())["type"])
        await self._whole(scope, receive, send, said)

    async def _pieces(self, _scope: Scope, receive: Receive, send: Send, said: list[Any]) -> None:
        """Each piece of the body as a piece of the answer, chunked."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(said).encode(), "more_body": True})
        while (message := await receive())["type"] == "http.request":
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})
            if not more:
                return
        self.seen.append(message)

    async def _error(self, _scope: Scope, _receive: Receive, _send: Send, _said: list[Any]) -> None:
        raise RuntimeError("before the answer")

    async def _broken(self, _scope: Scope, _receive: Receive, send: Send, _said: list[Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle of it")

    async def _silent(self, _scope: Scope, _receive: Receive, _send: Send, _said: list[Any]) -> None:
        pass

    async def _held(self, scope: Scope, receive: Receive, send: Send, said: list[Any]) -> None:
        self.seen.append("held")
        await self.release.wait()
        await self._whole(scope, receive, send, said)
        self.seen.append("over")

    async def _hung(self, scope: Scope, _receive: Receive, _send: Send, _said: list[Any]) -> None:
        self.seen.append(await hang_up(scope))
