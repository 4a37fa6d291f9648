"""A small HTTP/2 client on `h2`: independent of the gateways' own, and able to see resets and GOAWAY."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
from hyperframe.frame import Frame, GoAwayFrame

TIMEOUT_S = 5.0


class WasReset(Exception):
    """RST_STREAM, with its error code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"reset {code}")
        self.code = code


class Closed(Exception):
    """The connection ended before the answer."""


@dataclass
class Got:
    status: int
    headers: dict[str, str]
    body: bytes
    pieces: int


@dataclass
class _Pending:
    done: asyncio.Future[Got]
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)


class H2Client:
    def __init__(self, url: str, ca_file: Path) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._context.set_alpn_protocols(["h2"])
        self._state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._pending: dict[int, _Pending] = {}
        self._unsent: dict[int, bytes] = {}
        self._received = bytearray()
        self.goaway_last_stream: int | None = None

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, ssl=self._context)
        self._state.initiate_connection()
        self._writer.write(self._state.data_to_send())
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        self._writer.transport.abort()

    def send(
        self, path: str, body: bytes, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> tuple[int, asyncio.Future[Got]]:
        """The stream's number and the answer to come."""
        number = self._state.get_next_available_stream_id()
        lines = [
            (":method", method),
            (":scheme", "https"),
            (":authority", f"{self._host}:{self._port}"),
            (":path", path),
            *(headers or {}).items(),
        ]
        pending = _Pending(asyncio.get_running_loop().create_future())
        self._pending[number] = pending
        self._state.send_headers(number, lines, end_stream=not body)
        self._unsent[number] = body
        self._push()
        return number, pending.done

    async def request(
        self, path: str, body: bytes = b"", headers: dict[str, str] | None = None, method: str = "POST"
    ) -> Got:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.send(path, body, headers, method)[1]

    def _push(self) -> None:
        """Send what the windows allow."""
        for number in list(self._unsent):
            while self._unsent[number]:
                room = min(self._state.local_flow_control_window(number), 16_384)
                if room <= 0:
                    break
                piece, self._unsent[number] = self._unsent[number][:room], self._unsent[number][room:]
                self._state.send_data(number, piece, end_stream=not self._unsent[number])
            if not self._unsent[number]:
                del self._unsent[number]
        self._writer.write(self._state.data_to_send())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                for event in self._state.receive_data(self._without_goaway(data)):
                    self._take(event)
                self._push()
        except OSError:
            pass
        for pending in self._pending.values():
            if not pending.done.done():
                pending.done.set_exception(Closed())

    def _without_goaway(self, data: bytes) -> bytes:
        """h2 takes nothing after a GOAWAY, though streams up to its last one are still answered."""
        self._received += data
        kept = bytearray()
        while len(self._received) >= 9:
            frame, size = Frame.parse_frame_header(memoryview(bytes(self._received[:9])))
            if len(self._received) < 9 + size:
                break
            whole = bytes(self._received[: 9 + size])
            del self._received[: 9 + size]
            if isinstance(frame, GoAwayFrame):
                frame.parse_body(memoryview(whole[9:]))
                self.goaway_last_stream = frame.last_stream_id
            else:
                kept += whole
        return bytes(kept)

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self._pending[event.stream_id].headers = {str(k): str(v) for k, v in event.headers}
            case h2.events.DataReceived():
                self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.data:
                    self._pending[event.stream_id].pieces.append(event.data)
            case h2.events.StreamEnded():
                pending = self._pending.pop(event.stream_id)
                body, pieces = b"".join(pending.pieces), len(pending.pieces)
                pending.done.set_result(Got(int(pending.headers[":status"]), pending.headers, body, pieces))
            case h2.events.StreamReset():
                self._pending.pop(event.stream_id).done.set_exception(WasReset(event.error_code))
            case _:
                pass
