"""One HTTP/2 connection: requests out as fast as peer and socket allow, answers back to their batches.

Owns the streams, the keepalive and the end. When it ends, every stream it had is settled with what is known. It
never opens another connection and never repeats a request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from gateways.http2 import frames
from gateways.http2.batch import Batch, Stream
from gateways.http2.frames import PROTOCOL_ERROR, ConnectionFault, FrameReader
from gateways.http2.headers import AnswerHeaders, literals
from gateways.http2.sender import WINDOW_DEFAULT, Sender
from gateways.transport import Answer, Header, NoAnswer, NotSent, Result

Waiting = deque[tuple[Batch, int]]

STREAM_ID_MAX = 2**31 - 1
CONNECTION_WINDOW = 16 * 1024 * 1024
"""What all answers together may have in flight towards us; given back when half is used."""
STREAM_WINDOW = 1024 * 1024
BODY_BYTES_MAX = 65_536
"""An answer's body is a reason of a line or two; what is longer is cut off, the status still counts."""
WRITE_BUFFER_BYTES = 1024 * 1024

_OK = Answer(200)


class Keepalive(msgspec.Struct, frozen=True, kw_only=True):
    """When a silent peer is asked whether it is still there.

    ping_after_s: silence while an answer is due. probe_after_s: silence after which a connection is asked before it
    is trusted with requests, for it may be long dead.
    """

    tick_s: float = 1.0
    ping_after_s: float = 5.0
    ping_timeout_s: float = 5.0
    probe_after_s: float = 30.0
    probe_timeout_s: float = 2.0


class Connection(asyncio.Protocol):
    """on_room: it may have become possible to send more. on_end: called once, all streams settled. on_status: told of
    each answer that is no 200.

    `ready` resolves when the peer has said its limits, with None, or with the reason why it never will.
    """

    def __init__(
        self,
        authority: bytes,
        constants: Sequence[Header],
        *,
        on_room: Callable[[], None],
        on_end: Callable[[Connection], None],
        on_status: Callable[[Connection, int], None],
        keepalive: Keepalive,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_room, self._on_end, self._on_status = on_room, on_end, on_status
        self._keepalive = keepalive
        self.ready: asyncio.Future[str | None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.draining = self._ended = self._probing = False
        self.answered = 0
        self._transport: asyncio.Transport | None = None
        self._reader, self._headers = FrameReader(self), AnswerHeaders()
        self._sender = Sender(authority, constants, self._write)
        self._streams: dict[int, Stream] = {}
        self._next_id = 1
        self._received = 0  # bytes of answers not yet given back to the peer's window
        self._heard_at = self._loop.time()
        self._pinged_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    # What the client asks

    @property
    def has_room(self) -> bool:
        sender = self._sender
        return (
            len(self._streams) < sender.streams_max
            and sender.window > 0
            and not (sender.paused or self.draining or self._probing)
        )

    @property
    def ended(self) -> bool:
        return self._ended

    def set_constants(self, constants: Sequence[Header]) -> None:
        self._sender.set_constants(constants)

    def take(self, waiting: Waiting) -> None:
        """Send as many of the waiting requests as there is room for."""
        if not self.has_room:
            return
        # Hot path: while requests go out, nothing but their own number and size takes the room away.
        sender, room = self._sender, self._sender.streams_max - len(self._streams)
        while waiting and room and sender.window > 0 and not self.draining:
            batch, index = waiting.popleft()
            if batch.results[index] is None:
                self._start(batch, index)
                room -= 1

    def _start(self, batch: Batch, index: int) -> None:
        request, id = batch.requests[index], self._next_id
        self._next_id = id + 2
        if self._next_id >= STREAM_ID_MAX:
            self.draining = True
        stream = self._streams[id] = Stream(batch, index)
        rest = batch.shared + literals(request.headers) if request.headers else batch.shared
        self._sender.request(id, stream, request.path, rest, request.body)

    def probe(self) -> None:
        """Called before use: after a long silence, ask first and send only when an answer came."""
        silent_s = self._loop.time() - self._heard_at
        if not (self._streams or self._probing or self._ended) and silent_s > self._keepalive.probe_after_s:
            self._probing = True
            self._ping()

    def abandon(self, batch: Batch, code: str) -> None:
        """The batch's time is over: settle and reset what it still has here."""
        for id in [id for id, stream in self._streams.items() if stream.batch is batch]:
            self._drop(id, NoAnswer(code), tell=frames.CANCEL)
        if not self._is_drained():
            self._on_room()

    def retire(self) -> None:
        """Take nothing more; end once what is open has been answered or given up."""
        self.draining = True

    def due(self) -> set[asyncio.Future[None]]:
        """One future for each slice that waits for answers here."""
        return {stream.batch.done for stream in self._streams.values()}

    def close(self, reason: str = "closed") -> None:
        """End now. In-flight requests become NoAnswer."""
        self._end(frames.NO_ERROR, reason)

    def abort(self) -> None:
        """Close without waiting for the peer to take note."""
        self._end(frames.NO_ERROR, "aborted", abort=True)
        if self._transport is not None:
            self._transport.abort()

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is one, but no subclass
        self._transport = transport
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() != "h2":
            self._end(frames.NO_ERROR, "the peer does not speak HTTP/2")
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        ours = {frames.HEADER_TABLE_SIZE: 0, frames.ENABLE_PUSH: 0, frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW}
        window = frames.window_update(0, CONNECTION_WINDOW - WINDOW_DEFAULT)
        transport.write(frames.PREFACE + frames.settings(ours) + window)
        self._timer = self._loop.call_later(self._keepalive.tick_s, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(frames.NO_ERROR, f"connection lost: {exc}" if exc else "connection closed by the peer")
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._sender.paused = True

    def resume_writing(self) -> None:
        self._sender.paused = False
        self._on_room()

    def data_received(self, data: bytes) -> None:
        if self._ended:  # what still comes is of no account
            return
        self._heard_at = self._loop.time()
        try:
            self._reader.feed(data)
        except ConnectionFault as fault:
            self._end(fault.code, fault.reason)
            return
        if self._received > CONNECTION_WINDOW // 2:
            self._sender.control(frames.window_update(0, self._received))
            self._received = 0
        if not self._is_drained():
            self._on_room()

    def _is_drained(self) -> bool:
        """Whether nothing is left to do here; then it has ended."""
        if self.draining and not self._streams:
            self._end(frames.NO_ERROR, "drained")
        return self._ended

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._ended:
            self._transport.write(data)

    # Keepalive

    def _tick(self) -> None:
        now, keepalive = self._loop.time(), self._keepalive
        timeout_s = keepalive.probe_timeout_s if self._probing else keepalive.ping_timeout_s
        if self._pinged_at is not None and now - max(self._pinged_at, self._heard_at) > timeout_s:
            self._end(frames.NO_ERROR, "no answer to a ping", abort=True)
            return
        if self._streams and self._pinged_at is None and now - self._heard_at > keepalive.ping_after_s:
            self._ping()
        self._timer = self._loop.call_later(keepalive.tick_s, self._tick)

    def _ping(self) -> None:
        self._pinged_at = self._loop.time()
        self._sender.control(frames.frame(frames.PING, 0, 0, b"msgxc\0\0\0"))

    # What the peer says (frames.Receiver)

    def on_plain_200(self, stream: int) -> None:
        found = self._streams.get(stream)
        if found is None:
            self._check_not_idle(stream)
        elif found.status:
            self._malformed(stream, "a second status")
        else:
            self._forget(stream)
            self.answered += 1
            found.batch.settle(found.index, _OK)

    def on_begun_200(self, stream: int) -> None:
        found = self._streams.get(stream)
        if found is None:
            self._check_not_idle(stream)
        elif found.status:
            self._trailers(stream, found, 200, end=False)
        else:
            found.status = 200

    def on_headers(self, stream: int, block: bytes, *, end: bool) -> None:
        status, headers = self._headers.read(block)
        found = self._streams.get(stream)
        if found is None:
            self._check_not_idle(stream)
        elif found.status:
            self._trailers(stream, found, status, end=end)
        elif 100 <= status < 200 and status != 101 and not end:
            return  # an interim answer: the real one follows
        elif not 200 <= status < 600:
            self._malformed(stream, "no valid status")
        else:
            found.status, found.headers = status, headers
            self._on_status(self, status)
            if end:
                self._finish(stream, found)

    def _trailers(self, id: int, stream: Stream, status: int, *, end: bool) -> None:
        if status or not end:
            self._malformed(id, "headers in the place of trailers")
        else:
            self._finish(id, stream)

    def on_data(self, stream: int, data: bytes, *, counted: int, end: bool) -> None:
        self._received += counted
        found = self._streams.get(stream)
        if found is None:
            self._check_not_idle(stream)
        elif not found.status:
            self._malformed(stream, "a body before its headers")
        elif len(found.body) + len(data) > BODY_BYTES_MAX:
            found.body += data[: BODY_BYTES_MAX - len(found.body)]
            self._drop(stream, NoAnswer("too long"), tell=frames.CANCEL)
        else:
            found.body = found.body + data if found.body else data
            if end:
                self._finish(stream, found)

    def on_reset(self, stream: int, code: int) -> None:
        self._check_not_idle(stream)
        name = frames.error_name(code)
        refused = code == frames.REFUSED_STREAM
        self._drop(stream, NotSent("refused", name) if refused else NoAnswer("reset", name), tell=None)

    def on_settings(self, values: list[tuple[int, int]]) -> None:
        for key, value in values:
            self._sender.setting(key, value)
        self._sender.reply(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._sender.send_unsent()
        if not self.ready.done():
            self.ready.set_result(None)

    def on_ping(self, opaque: bytes, *, ack: bool) -> None:
        if not ack:
            self._sender.reply(frames.frame(frames.PING, frames.ACK, 0, opaque))
        else:
            self._pinged_at, self._probing = None, False

    def on_goaway(self, last: int, code: int, debug: bytes) -> None:
        """No new requests here. Those above `last` were not processed; the others may still be answered."""
        self.draining = True
        detail = f"{frames.error_name(code)} {debug[:200].decode('latin-1')}".rstrip()
        for id in [id for id in self._streams if id > last]:
            self._drop(id, NotSent("goaway", detail), tell=None)

    def on_window(self, stream: int, increment: int) -> None:
        if stream:
            self._check_not_idle(stream)
            if increment == 0 or not self._sender.grow_stream(stream, increment):
                self._malformed(stream, f"a window update of {increment}")
        elif increment == 0:
            raise ConnectionFault(PROTOCOL_ERROR, "a window update of nothing")
        else:
            self._sender.grow_connection(increment)

    # Streams' ends

    def _check_not_idle(self, stream: int) -> None:
        """What comes for a stream we have forgotten is late; for one we never opened it is a fault."""
        if stream >= self._next_id or stream % 2 == 0:
            raise ConnectionFault(PROTOCOL_ERROR, f"stream {stream} was never opened")

    def _forget(self, id: int) -> None:
        del self._streams[id]
        if self._sender.forget(id):
            # Answered before it had read all of the request: it does not want the rest.
            self._sender.control(frames.reset(id, frames.CANCEL))

    def _finish(self, id: int, stream: Stream) -> None:
        self._forget(id)
        self.answered += 1
        stream.batch.settle(stream.index, Answer(stream.status, stream.body, stream.headers))

    def _malformed(self, id: int, detail: str) -> None:
        self._drop(id, NoAnswer("malformed", detail), tell=PROTOCOL_ERROR)

    def _drop(self, id: int, result: Result, *, tell: int | None) -> None:
        """End a stream without a whole answer. A status that came counts for more than how the stream ended."""
        stream = self._streams.pop(id, None)
        if stream is None:
            return
        self._sender.forget(id)
        if tell is not None:
            self._sender.control(frames.reset(id, tell))
        if stream.status and not isinstance(result, NotSent):
            result = Answer(stream.status, stream.body, stream.headers, complete=False)
        stream.batch.settle(stream.index, result)

    def _end(self, code: int, reason: str, *, abort: bool = False) -> None:
        """Settle everything, say goodbye, close. A second call does nothing. abort: nobody is there to be told."""
        if self._ended:
            return
        self._ended = self.draining = True
        for id in list(self._streams):
            self._drop(id, NoAnswer("connection", reason), tell=None)
        rest = self._sender.take_rest()
        if self._transport is not None:
            if self._timer is not None and not self._transport.is_closing():
                self._transport.write(rest + frames.goaway(code, reason if code else ""))
            if abort or self._sender.paused:
                self._transport.abort()
            else:
                self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        if not self.ready.done():
            self.ready.set_result(reason)
        self._on_end(self)
