"""The short lane between the socket and our endpoints: uvicorn's HTTP protocol, with less work for each request.

Owns how a request is begun, handed over and answered where that can be done at once: the body is there, the answer is
whole, the caller reads. Whatever cannot goes uvicorn's own way, whose methods these classes inherit; an answer is the
same, byte for byte, on either way and by either protocol. Knows nothing of routes, and never changes what the
application says. Builds on the uvicorn that uv.lock pins; the tests of this module compare it with that one's own.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from starlette.types import Receive, Send
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, service_unavailable
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    STATUS_LINE,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from api.http.bounded import BoundedProtocol
from api.http.hanging_up import EXTENSION
from api.http.heads import FIELD_BYTES, Head, Heads

Header = tuple[bytes, bytes]

JOINED_BYTES_MAX: Final = 64 * 1024
"""Of a content that is copied behind its head, so that both are one write."""
_OF_CONNECTIONS: Final = frozenset({b"connection", b"transfer-encoding"})
NAMES_MAX: Final = 256
"""Of header fields remembered: several times what all contracts have."""


def cycle_of(call: Receive | Send) -> Cycle | None:
    """What is behind a `receive` or `send`, if nothing is in between and the lane serves."""
    cycle = getattr(call, "__self__", None)
    return cycle if type(cycle) is Cycle else None


class Cycle(RequestResponseCycle):
    """One request and its answer. `receive` and `send` are uvicorn's; `whole_body` and `answer` do the same at once."""

    # Hot path: made for each request. What seldom changes is the class's, and an event is made for those who wait.
    disconnected = False
    more_body = True
    response_started = False
    response_complete = False
    chunked_encoding = None
    expected_content_length = 0
    _is_read = False
    _event: asyncio.Event | None = None

    def __init__(  # the parent's would set all that again
        self, protocol: Lane, scope: HTTPScope, *, keep_alive: bool, expect_100_continue: bool
    ) -> None:
        self.scope, self.keep_alive = scope, keep_alive
        self.waiting_for_100_continue = expect_100_continue
        self.transport, self.flow = protocol.transport, protocol.flow
        self.logger, self.access_logger = protocol.logger, protocol.access_logger
        self.access_log = protocol.access_log
        self.default_headers = protocol.server_state.default_headers
        self.on_response = protocol.on_response_complete
        self._first_lines = protocol.first_lines
        self.body: bytes | bytearray = b""  # type: ignore[assignment]

    @property
    def message_event(self) -> asyncio.Event:  # type: ignore[override]
        """Set when there is something new to receive. Hot path: made for whoever waits, which few do."""
        if self._event is None:
            self._event = asyncio.Event()
            if self.body or not (self.more_body or self._is_read):
                self._event.set()
        return self._event

    def take(self, piece: bytes) -> None:
        """A piece of the body has come."""
        if not self.body:
            self.body = piece
        elif isinstance(self.body, bytes):
            self.body = bytearray(self.body) + piece
        else:
            self.body += piece
        if self._event is not None:
            self._event.set()

    def end_body(self) -> None:
        """All of it has come."""
        self.more_body = False
        if self._event is not None:
            self._event.set()

    def whole_body(self) -> bytes | None:
        """The body, once, if all of it is here, nobody has received any and the caller waits for an answer alone; else
        None: `receive` it.
        """
        if self.more_body or self._is_read or self.disconnected or self.waiting_for_100_continue:
            return None
        if self._event is not None:
            return None
        self._is_read = True
        if self.flow.read_paused:
            self.flow.resume_reading()
        body, self.body = self.body, b""
        return bytes(body)

    def answer(self, status: int, headers: Sequence[Header], content: bytes) -> bool:
        """Send the whole answer, which has a content-length or may have no content; False: it is to be `send`.

        headers: some. content: none where the answer is to HEAD.
        """
        if self.flow.write_paused or self.disconnected or self.response_started or self.access_log:
            return False
        # Hot path: the fields are checked together: whatever could break out of its line shows as a control character.
        try:
            lines = [_starts[name] + value for name, value in headers]
        except KeyError:
            if not _learn(headers):
                return False
            lines = [_starts[name] + value for name, value in headers]
        text = b"".join(lines)
        if text.translate(FIELD_BYTES) != text:
            return False
        fields = b"\r\n".join(lines)
        end = b"\r\n\r\n" if self.keep_alive else b"\r\nconnection: close\r\n\r\n"
        head = b"".join((self._first_lines(status), fields, end))
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        if len(content) <= JOINED_BYTES_MAX:
            self.transport.write(head + content)
        else:
            self.transport.writelines((head, content))
        if self._event is not None:
            self._event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


_starts: dict[bytes, bytes] = {}
"""How the lines of header fields begin, by their names, which are our own."""


def _learn(headers: Sequence[Header]) -> bool:
    """How their lines begin. False where one says how the connection goes on, or has no name: uvicorn knows what to do;
    and where there are too many names, which is slower and just as right.
    """
    for name, _ in headers:
        if name in _starts:
            continue
        if name.lower() in _OF_CONNECTIONS or HEADER_RE.search(name) or len(_starts) >= NAMES_MAX:
            return False
        _starts[name] = b"%b: " % name.lower()
    return True


class _FirstLines:
    """The beginnings of answers by status, as long as the server keeps its own headers: for a second."""

    def __init__(self, state: ServerState) -> None:
        self._state, self._of = state, state.default_headers
        self._lines: dict[int, bytes] = {}

    def __call__(self, status: int) -> bytes:
        if self._of is not self._state.default_headers:
            self._of, self._lines = self._state.default_headers, {}
        lines = self._lines.get(status)
        if lines is None:
            own = b"".join(b"%b: %b\r\n" % (name.lower(), value) for name, value in self._of)
            lines = self._lines[status] = STATUS_LINE[status] + own
        return lines


class _Shared:
    """What all connections of a server share."""

    def __init__(self, state: ServerState, root_path: str) -> None:
        self.first_lines, self.heads = _FirstLines(state), Heads(root_path)


_shared_by: WeakKeyDictionary[ServerState, _Shared] = WeakKeyDictionary()


class Lane(BoundedProtocol):
    """uvicorn's protocol: serve with `uvicorn.Config(app, http=Lane)`. Puts `abort` into every request's scope."""

    cycle: Cycle

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Without forwarded headers that middleware does nothing, which takes it 3 us.
        self._unforwarded = self.app.app if type(self.app) is ProxyHeadersMiddleware else self.app
        shared = _shared_by.get(server_state)
        if shared is None:
            shared = _shared_by[server_state] = _Shared(server_state, self.root_path)
        self.first_lines, self._heads = shared.first_lines, shared.heads
        self._is_between = True
        self._begun: tuple[Cycle, ASGI3Application] | None = None
        self._scope: dict[str, Any] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "extensions": {EXTENSION: transport.abort},
        }
        self.start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.stop_timers()

    def data_received(self, data: bytes) -> None:
        # Hot path: a whole request with a plain head needs no parser, which goes on after it.
        if self._is_between and (self.cycle is None or self.cycle.response_complete):
            end = data.find(b"\r\n\r\n") + 4
            if end < len(data) or not data.startswith(b"P"):  # a body is on its way
                raw = data[:end]
                head = self._heads.known(raw) or self._heads.read(raw)
                if head is not None and head.length == len(data) - end <= HIGH_WATER_LIMIT:
                    scope = self._scope.copy()
                    head.fill(scope)
                    scope["state"] = self.app_state.copy()
                    whole = Cycle(self, scope, keep_alive=True, expect_100_continue=False)  # type: ignore[arg-type]
                    whole.body, whole.more_body = data[end:], False
                    self.cycle, self._idle_since_s = whole, None
                    self._start_at_once(whole, self._application(head))
                    return
        self.parse(data)
        if self._begun is not None:
            (cycle, app), self._begun = self._begun, None
            self._start_at_once(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        self.stop_timers()
        super().handle_websocket_upgrade()

    # What the parser calls.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_between = False
        self.url = b""
        self.headers = []
        scope = self._scope.copy()
        scope["headers"], scope["state"] = self.headers, self.app_state.copy()
        self.scope = scope  # type: ignore[assignment]  # a cast is a call, and this is made for each request

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        parser = self.parser
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        http_version, method = parser.get_http_version(), parser.get_method()
        scope["http_version"], scope["method"] = http_version, method.decode("ascii")
        if parser.should_upgrade() and self.says_upgrade:
            return
        head = Head(self._heads.target(method, self.url), self.headers)
        head.fill(scope)
        scope["http_version"] = http_version
        cycle = Cycle(
            self,
            self.scope,
            keep_alive=http_version != "1.0" and parser.should_keep_alive(),
            expect_100_continue=b"expect" in head.by_name and self._expects_100_continue(),
        )
        former, self.cycle = self.cycle, cycle
        app = self._application(head)
        if former is None or former.response_complete:
            self._begun = (cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))

    def on_body(self, body: bytes) -> None:
        self._unheard_bytes = 0
        if (self.parser.should_upgrade() and self._should_upgrade()) or self.cycle.response_complete:
            return
        self.cycle.take(body)
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        self._unheard_bytes = 0
        self._is_between = True
        if self.parser.should_upgrade() and self.says_upgrade:
            return
        if not self.cycle.response_complete:
            self.cycle.end_body()

    def _expects_100_continue(self) -> bool:
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers)

    def _application(self, head: Head) -> Any:
        limit = self.limit_concurrency
        if limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit):
            self.logger.warning("Exceeded concurrency limit.")
            return service_unavailable
        return self.app if head.is_forwarded else self._unforwarded

    # From one request to the next.

    def _start_at_once(self, cycle: Cycle, app: ASGI3Application) -> None:
        """Run the application until it has to wait; what need not is answered without a turn of the loop.

        Only after the parser has returned, and only for the first request of several that came together: the others
        follow in tasks of the usual kind, or each would begin inside the one before it.
        """
        context = contextvars.Context() if self.config.reset_contextvars else None
        task = asyncio.Task(cycle.run_asgi(app), loop=self.loop, context=context, eager_start=True)
        if not task.done():
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        # Hot path: one timer for a connection, which looks at the time, and not two calls of the loop for a request.
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.start_idle_timer(self.timeout_keep_alive)
