"""What a connection may take before a request has begun: bytes of a head and time for one; and what it is told who is
over, or does not speak HTTP.

Owns these bounds, and how long a connection may be idle. Nobody has shown a token here, so there are bounds for
whatever is kept, a head in pieces included: uvicorn and its parser have none. Bodies are bounded by whoever reads them.
"""

from __future__ import annotations

from asyncio import TimerHandle
from secrets import token_hex
from typing import Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.http.problem import MEDIA_TYPE, headers_of, problem_of
from api.http.security import SECURITY
from domain.errors import MsgxcError

HEAD_BYTES_MAX: Final = 64 * 1024
"""Of the address and the fields. A token has 8 KiB at most, and browsers send no more than 16 KiB of cookies."""
HEAD_S_MAX: Final = 30.0
"""From its first byte to its last; and for the first byte on a new connection."""
_LINE: Final = len(b": \r\n")
_OFFER: Final = frozenset({b"upgrade", b"http2-settings"})
"""Fields that offer another protocol, and their names in Connection."""


class Malformed(MsgxcError):
    code, title, status = "malformed", "This is no request", 400


class HeadTooLarge(MsgxcError):
    code, title, status = "head-too-large", "The header fields are too large", 431


class HeadTooSlow(MsgxcError):
    code, title, status, retryable = "head-too-slow", "The request did not come in time", 408, True


class _OverBound(Exception):
    """Stops the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds. A trailer behind a body counts as a part of the head."""

    head_s_max = HEAD_S_MAX
    _idle_since_s: float | None = None
    _is_in_head = False
    _head_since_s: float | None = None
    _head_timer: TimerHandle | None = None
    _head_bytes_left = HEAD_BYTES_MAX
    _unheard_bytes = 0
    """Of pieces that brought nothing whole: the parser keeps them. Who takes bodies sets it back with each piece."""

    def start_head_timer(self, seconds: float | None = None) -> None:
        self._head_timer = self.loop.call_later(seconds or self.head_s_max, self._look_at_head)

    def stop_timers(self) -> None:
        for timer in (self.timeout_keep_alive_task, self._head_timer):
            if timer is not None:
                timer.cancel()
        self.timeout_keep_alive_task = self._head_timer = None

    def parse(self, data: bytes) -> None:
        """Refuses what is over, or is no HTTP, and ends the connection then."""
        while data:
            data = self._parsed(data)

    def _parsed(self, data: bytes) -> bytes:
        """What is to be parsed again: a head without its offer of another protocol, and what came behind it."""
        self._unheard_bytes += len(data)
        try:
            self.parser.feed_data(data)
            if self._unheard_bytes > HEAD_BYTES_MAX:
                raise _OverBound
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            elif self.says_upgrade:
                again = self._without_offer() + data[upgrade.args[0] :]
                self._start_parser()  # where the request is the last one, the former reads no more
                return again
            else:
                self._unsupported_upgrade_warning()
        except (httptools.HttpParserError, _OverBound) as error:
            if isinstance(error.__context__ or error, _OverBound):
                self._refuse(HeadTooLarge(f"address and header fields have at most {HEAD_BYTES_MAX:,} bytes"))
            else:
                self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("this is not HTTP/1.1, or its method is none that we know")
        else:
            if self._is_in_head and self._head_since_s is None:
                self._head_since_s = self.loop.time()
                if self._head_timer is None:
                    self.start_head_timer()
        return b""

    @property
    def says_upgrade(self) -> bool:
        """Whether the head just read, at which the parser stops, asks for web sockets or offers another protocol, as
        Java's HTTP client does with h2c.

        An offer that nobody takes is none (RFC 9110, section 7.8). The parser takes it, though, and drops the body; so
        such a head is not begun, but parsed again without the offer.
        """
        return any(name == b"upgrade" for name, _ in self.headers)

    def _start_parser(self) -> None:
        """As uvicorn does with each connection."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            kept = value
            if name == b"connection":
                words = (word.strip() for word in value.split(b","))
                kept = b", ".join(word for word in words if word.lower() not in _OFFER)
            if name not in _OFFER and (kept or not value):
                lines.append(b"%b: %b" % (name, kept))
        return b"\r\n".join([*lines, b"", b""])

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._idle_since_s = self._head_since_s = None
        self._is_in_head = True
        self._head_bytes_left = HEAD_BYTES_MAX
        self._unheard_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unheard_bytes = 0
        self._head_bytes_left -= len(name) + len(value) + _LINE
        if self._head_bytes_left < 0:
            raise _OverBound
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if len(self.url) > self._head_bytes_left:
            raise _OverBound

    # Time.

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _look_at_head(self) -> None:
        """End a connection whose head does not come; who has sent none of it is told nothing."""
        self._head_timer = None
        if self.transport.is_closing():
            return
        if not self._is_in_head:
            if self.cycle is None:
                self.transport.close()
            return
        now_s = self.loop.time()
        since_s = now_s if self._head_since_s is None or self._is_answering else self._head_since_s
        left_s = since_s + self.head_s_max - now_s
        if left_s > 0:
            self.start_head_timer(left_s)
        else:
            self._refuse(HeadTooSlow(f"the whole head of a request comes within {self.head_s_max:.0f} s"))

    def start_idle_timer(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since_s = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for long enough; one that is busy gets a timer with its next answer."""
        self.timeout_keep_alive_task = None
        if self._idle_since_s is None:
            return
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.start_idle_timer(left_s)
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Malformed(msg))

    def _refuse(self, error: MsgxcError) -> None:
        """Answer with a problem, and close: what follows cannot be told from the rest of this."""
        request_id = token_hex(16)
        content = msgspec.json.encode(problem_of(error, request_id=request_id))
        fields = [
            *self.server_state.default_headers,
            *headers_of(error),
            (b"content-type", MEDIA_TYPE),
            (b"content-length", b"%d" % len(content)),
            *SECURITY,
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(b"".join((STATUS_LINE[error.status], lines, b"\r\n", content)))
        self.transport.close()
