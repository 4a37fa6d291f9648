"""Streams into files and back, by JetStream's own snapshots (its API's STREAM.SNAPSHOT and STREAM.RESTORE).

A file holds what the server sent: its compressed archive of one stream, consumers included. Whoever needs several
streams as of one moment holds the work on them still first (`held_work`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from domain.errors import Unavailable
from infra.nats.jetstream import JetStream
from infra.nats.wire.frames import Frame, status_of

CHUNK_BYTES: Final = 128 * 1024
SILENCE_S_MAX: Final = 30.0
"""The server sends the next chunk well within this, or something is wrong."""

HOLD_S: Final = 30 * 60
"""A pause ends by itself, should whoever asked for it be killed."""
IN_HAND_S_MAX: Final = 90.0
"""What is in hand when work is held ends within a slice's deadline, with room."""
LOOK_S: Final = 0.1

OnBytes = Callable[[int], None]


class SnapshotFailed(Unavailable):
    """A stream could not be copied or brought back; nothing half-made is left that looks whole."""


class StreamCopy(msgspec.Struct, frozen=True):
    """What a snapshot's file is of. config, state: as the server gave them; a restore gives them back."""

    name: str
    config: dict[str, Any]
    state: dict[str, Any]
    sha256: str
    bytes: int


class _Began(msgspec.Struct):
    config: dict[str, Any]
    state: dict[str, Any]


class _Consumer(msgspec.Struct):
    name: str
    config: dict[str, Any]
    num_ack_pending: int
    paused: bool = False


class _Consumers(msgspec.Struct):
    total: int
    consumers: list[_Consumer] | None


async def save(js: JetStream, stream: str, path: Path, *, on_bytes: OnBytes = lambda _: None) -> StreamCopy:
    """Copy a stream into `path`, which appears once it is whole. Raises SnapshotFailed."""
    connection = js.connection
    chunks: asyncio.Queue[Frame] = asyncio.Queue()
    inbox = f"_INBOX.snapshot.{hashlib.sha256(f'{stream}{path}{id(chunks)}'.encode()).hexdigest()[:22]}"
    subscription = await connection.route(inbox, chunks.put_nowait)
    temporary = path.with_name(path.name + ".unfinished")
    try:
        request = {"deliver_subject": inbox, "no_consumers": False, "chunk_size": CHUNK_BYTES}
        began = msgspec.json.decode(
            await js.api(f"STREAM.SNAPSHOT.{stream}", request, timeout_s=30), type=_Began
        )
        with temporary.open("wb") as file:
            size, digest = await _receive(js, chunks, file, on_bytes)
    finally:
        await connection.unroute(subscription)
    temporary.replace(path)
    return StreamCopy(stream, began.config, began.state, digest, size)


async def load(js: JetStream, copy: StreamCopy, path: Path, *, on_bytes: OnBytes = lambda _: None) -> None:
    """Bring a stream back from its file; there must be none of its name. Raises SnapshotFailed."""
    if await js.info(copy.name) is not None:
        raise SnapshotFailed(
            f"there is a stream {copy.name} already: restore into an empty data folder or cluster"
        )
    request = {"config": copy.config, "state": copy.state}
    answer = msgspec.json.decode(await js.api(f"STREAM.RESTORE.{copy.name}", request, timeout_s=30))
    subject, sent = str(answer["deliver_subject"]), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            _assert_taken(await js.connection.ask(subject, chunk, timeout_s=SILENCE_S_MAX), copy.name)
            sent += len(chunk)
            on_bytes(sent)
    _assert_taken(await js.connection.ask(subject, timeout_s=10 * SILENCE_S_MAX), copy.name)


def check_file(copy: StreamCopy, path: Path) -> None:
    """Raises SnapshotFailed for a file that is not what was written."""
    if not path.exists():
        raise SnapshotFailed(f"{path} is missing: the backup is not whole")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != copy.sha256:
        raise SnapshotFailed(f"{path} was changed or damaged since it was written: use another backup")


@contextlib.asynccontextmanager
async def held_work(js: JetStream, streams: Sequence[str]) -> AsyncIterator[None]:
    """Inside, nobody is handed a fact to work on, and nobody has one in hand: the streams agree with each other.

    Appends from outside (publishes, receipts) go on; they wait. Raises SnapshotFailed when work does not come to rest,
    or went on before the end.
    """
    held = [(stream, consumer.name) for stream in streams for consumer in await _durables(js, stream)]
    until = datetime.now(UTC) + timedelta(seconds=HOLD_S)
    try:
        for stream, name in held:
            await js.api(f"CONSUMER.PAUSE.{stream}.{name}", {"pause_until": _instant(until)})
        await _come_to_rest(js, streams)
        yield
        going_on = [c.name for stream in streams for c in await _durables(js, stream) if not c.paused]
        if going_on:
            raise SnapshotFailed("work went on during the copy (a process reconnected): run it again")
    finally:
        await release_work(js, streams)


async def release_work(js: JetStream, streams: Sequence[str]) -> None:
    """Let all work on the streams go on."""
    for stream in streams:
        for consumer in await _durables(js, stream):
            await js.api(f"CONSUMER.PAUSE.{stream}.{consumer.name}", {"pause_until": None})


async def _come_to_rest(js: JetStream, streams: Sequence[str]) -> None:
    try:
        async with asyncio.timeout(IN_HAND_S_MAX):
            while [c for s in streams for c in await _durables(js, s) if c.num_ack_pending]:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise SnapshotFailed(f"work was still in hand after {IN_HAND_S_MAX:g} s: see msgxc doctor") from None


async def _durables(js: JetStream, stream: str) -> list[_Consumer]:
    found: list[_Consumer] = []
    while True:
        answer = await js.api(f"CONSUMER.LIST.{stream}", {"offset": len(found)})
        page = msgspec.json.decode(answer, type=_Consumers)
        found += page.consumers or []
        if not page.consumers or len(found) >= page.total:
            return [consumer for consumer in found if consumer.config.get("durable_name")]


async def _receive(
    js: JetStream, chunks: asyncio.Queue[Frame], file: BinaryIO, on_bytes: OnBytes
) -> tuple[int, str]:
    """Chunks into the file, each acknowledged, up to the empty one; (bytes, digest)."""
    size, digest = 0, hashlib.sha256()
    while True:
        try:
            async with asyncio.timeout(SILENCE_S_MAX):
                frame = await chunks.get()
        except TimeoutError:
            raise SnapshotFailed("the server stopped sending the snapshot") from None
        if not frame.data:
            if status_of(frame.headers) not in {0, 204}:
                raise SnapshotFailed(f"the server gave the snapshot up with {status_of(frame.headers)}")
            return size, digest.hexdigest()
        file.write(frame.data)
        digest.update(frame.data)
        size += len(frame.data)
        on_bytes(size)
        if frame.reply:
            await js.connection.tell(frame.reply.decode())


def _assert_taken(frame: Frame, stream: str) -> None:
    if frame.data and b'"error"' in frame.data:
        failure = msgspec.json.decode(frame.data).get("error")
        if failure:
            raise SnapshotFailed(f"{stream}: {failure.get('description', failure)}")


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
