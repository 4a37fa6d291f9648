"""One HTTP/2 connection: requests out as fast as peer and socket allow, answers back to their batches.

Owns the streams, both flow-control windows, the peer's settings and the keepalive. When it ends, every stream it had is
settled with what is known. It never opens another connection and never repeats a request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from gateways.http2 import frames
from gateways.http2.batch import Batch, Stream
from gateways.http2.frames import PROTOCOL_ERROR, ConnectionFault, FrameReader
from gateways.http2.headers import AnswerHeaders, RequestHeaders, literals
from gateways.transport import Answer, Header, NoAnswer, NotSent, Result

Waiting = deque[tuple[Batch, int]]

STREAM_ID_MAX = 2**31 - 1
STREAMS_MAX = 2_000
"""Our own limit: what is in flight is what can become Unknown when a connection breaks."""
WINDOW_DEFAULT = 65_535
CONNECTION_WINDOW = 16 * 1024 * 1024
"""What all answers together may have in flight towards us; given back when half is used."""
STREAM_WINDOW = 1024 * 1024
BODY_BYTES_MAX = 65_536
"""An answer's body is a reason of a line or two; what is longer is cut off, the status still counts."""
WRITE_BUFFER_BYTES = 1024 * 1024
CONTROL_REPLIES_MAX = 1_000
"""Acknowledgements owed to a peer that does not read: more is a flood."""
TICK_S = 1.0
PING_AFTER_S = 5.0
"""Silence, while an answer is due, after which we ask whether anyone is there."""
PING_TIMEOUT_S = 5.0
PROBE_AFTER_S = 30.0
"""Silence after which a connection is asked before it is trusted with requests: it may be long dead."""
PROBE_TIMEOUT_S = 2.0

_OK = Answer(200)


class Connection(asyncio.Protocol):
    """on_room: it may have become possible to send more. on_end: called once, all streams settled.

    `ready` resolves when the peer has said its limits, with None, or with the reason why it never will.
    """

    def __init__(
        self,
        authority: bytes,
        constants: Sequence[Header],
        *,
        on_room: Callable[[], None],
        on_end: Callable[[Connection], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_room, self._on_end = on_room, on_end
        self.ready: asyncio.Future[str | None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.draining = False
        self.answered = 0
        self._transport: asyncio.Transport | None = None
        self._reader, self._out = FrameReader(self), list[bytes]()
        self._headers_out, self._headers_in = RequestHeaders(authority, constants), AnswerHeaders()
        self._streams: dict[int, Stream] = {}
        self._blocked: dict[int, Stream] = {}  # streams with unsent bodies, oldest first
        self._next_id = 1
        self._streams_max, self._frame_max = STREAMS_MAX, frames.FRAME_BYTES_MAX
        self._window, self._stream_window = WINDOW_DEFAULT, WINDOW_DEFAULT
        self._whole_body_max = min(self._frame_max, self._stream_window)
        self._received = 0  # bytes of answers not yet given back to the peer's window
        self._paused = self._flush_due = self._probing = False
        self._replies_owed = 0
        self._heard_at = self._loop.time()
        self._pinged_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    # What the client asks

    @property
    def in_flight(self) -> int:
        return len(self._streams)

    @property
    def has_room(self) -> bool:
        return (
            len(self._streams) < self._streams_max
            and self._window > 0
            and not (self._paused or self.draining or self._probing)
        )

    def set_constants(self, constants: Sequence[Header]) -> None:
        self._headers_out.set_constants(constants)

    def take(self, waiting: Waiting) -> None:
        """Send as many of the waiting requests as there is room for."""
        while waiting and self.has_room:
            batch, index = waiting.popleft()
            if batch.results[index] is None:
                self._start(batch, index)

    def probe(self) -> None:
        """Called before use: after a long silence, ask first and send only when an answer came."""
        if not (self._streams or self._probing) and self._loop.time() - self._heard_at > PROBE_AFTER_S:
            self._probing = True
            self._ping()

    def abandon(self, batch: Batch, code: str) -> None:
        """The batch's time is over: settle and reset what it still has here."""
        for id in [id for id, stream in self._streams.items() if stream.batch is batch]:
            self._drop(id, NoAnswer(code), tell=frames.CANCEL)
        self._on_room()

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

    # Sending

    def _start(self, batch: Batch, index: int) -> None:
        request = batch.requests[index]
        rest = batch.shared + literals(request.headers) if request.headers else batch.shared
        block = self._headers_out.block(request.path, rest)
        id, body = self._next_id, request.body
        self._next_id = id + 2
        self.draining = self.draining or self._next_id >= STREAM_ID_MAX
        stream = self._streams[id] = Stream(batch, index)
        head_size, size = len(block), len(body)
        if size <= self._whole_body_max and size <= self._window and head_size <= self._frame_max:
            self._window -= size
            self._out.append(
                frames.pack_head(head_size >> 8, head_size & 255, frames.HEADERS, frames.END_HEADERS, id)
                + block
                + frames.pack_head(size >> 8, size & 255, frames.DATA, frames.END_STREAM, id)
                + body
            )
        else:
            self._out.append(frames.header_block(id, block, self._frame_max))
            stream.unsent, stream.window = body, self._stream_window
            self._blocked[id] = stream
            self._send_blocked()
        self._flush_soon()

    def _send_blocked(self) -> None:
        """Go on with unfinished bodies, oldest first, as far as both windows allow."""
        for id, stream in list(self._blocked.items()):
            while True:
                size = min(len(stream.unsent), self._window, stream.window, self._frame_max)
                if size <= 0 and stream.unsent:
                    break
                piece, stream.unsent = stream.unsent[:size], stream.unsent[size:]
                self._window -= size
                stream.window -= size
                self._out.append(
                    frames.frame(frames.DATA, 0 if stream.unsent else frames.END_STREAM, id, piece)
                )
                if not stream.unsent:
                    del self._blocked[id]
                    break
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()
            if not self._paused:
                self._replies_owed = 0

    def _reply(self, frame: bytes) -> None:
        """An answer to a control frame; a peer that makes us owe too many is cut off."""
        self._replies_owed += 1
        if self._replies_owed > CONTROL_REPLIES_MAX:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a flood of control frames")
        self._out.append(frame)
        self._flush_soon()

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() != "h2":
            self._end(frames.NO_ERROR, "the peer does not speak HTTP/2")
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        ours = frames.settings(
            {
                frames.HEADER_TABLE_SIZE: 0,
                frames.ENABLE_PUSH: 0,
                frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            }
        )
        transport.write(frames.PREFACE + ours + frames.window_update(0, CONNECTION_WINDOW - WINDOW_DEFAULT))
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(frames.NO_ERROR, f"connection lost: {exc}" if exc else "connection closed by the peer")
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused, self._replies_owed = False, 0
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
            self._out.append(frames.window_update(0, self._received))
            self._received = 0
            self._flush_soon()
        self._on_room()

    # Keepalive

    def _tick(self) -> None:
        now = self._loop.time()
        timeout_s = PROBE_TIMEOUT_S if self._probing else PING_TIMEOUT_S
        if self._pinged_at is not None and now - max(self._pinged_at, self._heard_at) > timeout_s:
            self._end(frames.NO_ERROR, "no answer to a ping", abort=True)
            return
        if self._streams and self._pinged_at is None and now - self._heard_at > PING_AFTER_S:
            self._ping()
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _ping(self) -> None:
        self._pinged_at = self._loop.time()
        self._out.append(frames.frame(frames.PING, 0, 0, b"msgxc\0\0\0"))
        self._flush_soon()

    # What the peer says (frames.Receiver)

    def on_plain_200(self, stream: int) -> None:
        found = self._streams.get(stream)
        if found is None:
            self._check_not_idle(stream)
        elif found.status:
            self._drop(stream, NoAnswer("malformed", "a second status"), tell=PROTOCOL_ERROR)
        else:
            self._forget(stream, found)
            self.answered += 1
            found.batch.settle(found.index, _OK)

    def on_headers(self, stream: int, block: bytes, *, end: bool) -> None:
        status, headers = self._headers_in.read(block)
        found = self._streams.get(stream)
        if found is None:
            self._check_not_idle(stream)
            return
        trailers = found.status != 0
        if trailers:
            if status or not end:
                self._drop(stream, NoAnswer("malformed", "bad trailers"), tell=PROTOCOL_ERROR)
                return
        elif 100 <= status < 200 and status != 101 and not end:
            return  # an interim answer: the real one follows
        elif not 200 <= status < 600:
            self._drop(stream, NoAnswer("malformed", "no valid status"), tell=PROTOCOL_ERROR)
            return
        else:
            found.status, found.headers = status, headers
        if end:
            self._finish(stream, found)

    def on_data(self, stream: int, data: bytes, *, counted: int, end: bool) -> None:
        self._received += counted
        found = self._streams.get(stream)
        if found is None:
            self._check_not_idle(stream)
        elif not found.status:
            self._drop(stream, NoAnswer("malformed", "a body before its headers"), tell=PROTOCOL_ERROR)
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
            self._set(key, value)
        self._whole_body_max = min(self._frame_max, self._stream_window)
        self._reply(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._send_blocked()
        if not self.ready.done():
            self.ready.set_result(None)

    def _set(self, key: int, value: int) -> None:
        if key == frames.HEADER_TABLE_SIZE:
            self._headers_out.limit_table(value)
        elif key == frames.ENABLE_PUSH and value != 0:
            raise ConnectionFault(PROTOCOL_ERROR, "a server that asks for push")
        elif key == frames.MAX_CONCURRENT_STREAMS:
            self._streams_max = min(value, STREAMS_MAX)
        elif key == frames.INITIAL_WINDOW_SIZE:
            if value > frames.WINDOW_MAX:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, f"an initial window of {value}")
            for stream in self._blocked.values():
                stream.window += value - self._stream_window
            self._stream_window = value
        elif key == frames.MAX_FRAME_SIZE:
            if not frames.FRAME_BYTES_MAX <= value < 2**24:
                raise ConnectionFault(PROTOCOL_ERROR, f"a frame size of {value}")
            self._frame_max = value

    def on_ping(self, opaque: bytes, *, ack: bool) -> None:
        if not ack:
            self._reply(frames.frame(frames.PING, frames.ACK, 0, opaque))
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
        found = self._blocked.get(stream)
        if increment == 0:
            if stream == 0:
                raise ConnectionFault(PROTOCOL_ERROR, "a window update of nothing")
            self._drop(stream, NoAnswer("malformed", "a window update of nothing"), tell=PROTOCOL_ERROR)
            return
        if stream == 0:
            self._window += increment
        elif found is not None:
            found.window += increment
        if self._window > frames.WINDOW_MAX or (found is not None and found.window > frames.WINDOW_MAX):
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a window beyond its maximum")
        if self._blocked:
            self._send_blocked()

    # Streams' ends

    def _check_not_idle(self, stream: int) -> None:
        """What comes for a stream we have forgotten is late; for one we never opened it is a fault."""
        if stream >= self._next_id or stream % 2 == 0:
            raise ConnectionFault(PROTOCOL_ERROR, f"stream {stream} was never opened")

    def _forget(self, id: int, stream: Stream) -> None:
        del self._streams[id]
        if stream.unsent:
            # Answered before it had read all of the request: it does not want the rest.
            del self._blocked[id]
            self._out.append(frames.reset(id, frames.CANCEL))
            self._flush_soon()

    def _finish(self, id: int, stream: Stream) -> None:
        self._forget(id, stream)
        self.answered += 1
        stream.batch.settle(stream.index, Answer(stream.status, stream.body, stream.headers))

    def _drop(self, id: int, result: Result, *, tell: int | None) -> None:
        """End a stream without a whole answer. A status that came counts for more than how the stream ended."""
        stream = self._streams.pop(id, None)
        if stream is None:
            return
        self._blocked.pop(id, None)
        if tell is not None:
            self._out.append(frames.reset(id, tell))
            self._flush_soon()
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
        if self._transport is not None:
            if self._timer is not None and not self._transport.is_closing():
                self._transport.write(b"".join(self._out) + frames.goaway(code, reason if code else ""))
            if abort or self._paused:
                self._transport.abort()
            else:
                self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        self._out.clear()
        if not self.ready.done():
            self.ready.set_result(reason)
        self._on_end(self)
