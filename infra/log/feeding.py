"""FEED as the feeder uses it: how it ends, and frames behind that end. Implements processes.port.FeedLog.

Each append says where the stream has to end for it to count, so of two who think that it is theirs to write, one does.
Frames carry their event's position on EVENTS; the bucket PLACES keeps a note of what is shown, for when the last frame
is gone. Nothing here decides what is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from commands.port import VersionConflict
from domain.recorded import EVENTS, FEED, Checkpoint
from infra.eventstore.wire import Packed, header_text, pack_bytes
from infra.nats.appending.appends import Appender, Entry
from infra.nats.appending.committer import BATCH_BYTES, BATCH_MESSAGES
from infra.nats.appending.costs import Costs
from infra.nats.guard import Guard, OtherLog
from infra.nats.jetstream import JetStream
from infra.nats.streams import PLACES_BUCKET, PLACES_STREAM, epoch_of
from infra.nats.wire.errors import ApiFailure, NotServing
from infra.nats.wire.frames import Stored
from processes.port import Frame, LogMismatch, Tail

TOPIC = "frame.v1"
SUBJECTS = "feed.>"
MESSAGES = "evt.message.>"
"""What may have something to show."""
PLACE = f"$KV.{PLACES_BUCKET}.feeder"

_decode_place = msgspec.json.Decoder(Checkpoint).decode
_encode_place = msgspec.json.Encoder().encode


class FeedWriter:
    """A message at a time, or many in one atomic batch, whichever took less time lately."""

    def __init__(
        self,
        js: JetStream,
        guard: Guard,
        frames: Appender,
        places: Appender,
        clock: Callable[[], datetime],
    ) -> None:
        self._js, self._guard, self._clock = js, guard, clock
        self._frames, self._places = frames, places
        self._costs = Costs()
        self._revision = 0

    async def tail(self) -> Tail:
        await self._assert_same_log()
        # First the end: a frame that comes in between then refuses what we append, and we look again.
        info = await self._js.info(FEED)
        if info is None:
            raise NotServing(ApiFailure(503, 0, f"there is no stream {FEED}"))
        state, last = info.state, None
        if state.messages:
            last = await self._js.leader_get(FEED, seq=state.last_seq)
            last = last or await self._js.leader_get(FEED, last_by_subj=SUBJECTS)
        age_ns = int(info.config.get("max_age") or 0)
        kept = timedelta(microseconds=age_ns // 1000) if age_ns else None
        return Tail(state.last_seq, frame_of(last) if last is not None else None, kept)

    async def append(self, frames: Sequence[Frame], *, after: int) -> int:
        await self._assert_same_log()
        at = self._clock()
        for entries in _batches([_entry(pack_frame(frame, at)) for frame in frames]):
            began = time.monotonic()
            if len(entries) == 1 or self._costs.prefer_batch(len(entries)):
                after = await self._append(entries, after)
                if len(entries) > 1:
                    self._costs.learn_batch(time.monotonic() - began)
            else:
                for entry in entries:
                    after = await self._append([entry], after)
                self._costs.learn_singles(len(entries), time.monotonic() - began)
        return after

    def assert_fits(self, body: bytes) -> None:
        self._frames.assert_fits([Entry(SUBJECTS, b"", body)])

    async def noted(self) -> Checkpoint | None:
        note = await _note_on(self._js)
        self._revision = note.sequence if note is not None else 0
        return _decode_place(note.data) if note is not None else None

    async def note(self, shown: Checkpoint) -> None:
        entry = Entry(PLACE, b"", _encode_place(shown), self._revision)
        try:
            self._revision = await self._places.append([entry])
        except VersionConflict:
            await self.noted()
            raise

    async def lag(self) -> int:
        """Positions of EVENTS up to its end, from the first message that is not shown; 0: there is none."""
        tail, note = await self.tail(), await _note_on(self._js)
        noted = _decode_place(note.data).position if note is not None else 0
        shown = max(tail.last.position if tail.last is not None else 0, noted)
        info = await self._js.info(EVENTS)
        following = await self._js.leader_get(EVENTS, seq=shown + 1, next_by_subj=MESSAGES)
        if info is None or following is None or following.sequence > info.state.last_seq:
            return 0
        return info.state.last_seq - following.sequence + 1

    async def _append(self, entries: Sequence[Entry], after: int) -> int:
        first = msgspec.structs.replace(entries[0], behind=after)
        try:
            return await self._frames.append([first, *entries[1:]])
        except OtherLog as other:
            raise LogMismatch(str(other)) from None

    async def _assert_same_log(self) -> None:
        try:
            await self._guard.assert_same(FEED)
        except OtherLog as other:
            raise LogMismatch(str(other)) from None


async def carry_over(js: JetStream) -> None:
    """After a restore: what was noted of EVENTS holds in its new epoch, too, since both came back together."""
    events = await js.info(EVENTS)
    if events is None or await js.info(PLACES_STREAM) is None:
        return
    note = await _note_on(js)
    if note is not None:
        place = msgspec.structs.replace(_decode_place(note.data), epoch=epoch_of(events))
        writer = Appender(js, Guard(js), PLACES_STREAM)
        await writer.append([Entry(PLACE, b"", _encode_place(place), note.sequence)])


async def _note_on(js: JetStream) -> Stored | None:
    return await js.leader_get(PLACES_STREAM, last_by_subj=PLACE)


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """In order, each within what a batch takes."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == BATCH_MESSAGES or size + len(entry.body) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.body)
    if batch:
        yield batch


def _entry(packed: Packed) -> Entry:
    return Entry(packed.subject, packed.lines, packed.body)


def pack_frame(frame: Frame, at: datetime) -> Packed:
    return pack_bytes(
        frame.subject,
        TOPIC,
        frame.body,
        at=at,
        correlation=frame.correlation,
        Message=frame.message,
        Position=str(frame.position),
        Index=str(frame.index),
    )


def frame_of(stored: Stored) -> Frame:
    get = stored.headers.get
    return Frame(
        subject=stored.subject,
        body=stored.data,
        message=get("Message", ""),
        position=int(get("Position", "0")),
        index=int(get("Index", "-1")),
        correlation=header_text(stored.headers, "Corr"),
    )
