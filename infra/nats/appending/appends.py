"""Appends to one stream, each with a definite end: stored at a position, or certainly not stored.

An acknowledgement that does not come leaves the outcome open. Then the leader is asked what follows the
expected sequence on the subject: ours, another's (a conflict), or nothing, and then the same append is sent
again, which the expected sequence makes harmless. Only when the log can't even be asked until the deadline
is the outcome unknown. A batch goes out in one write, so that none is ever left half begun.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Sequence

import msgspec

from commands.port import VersionConflict
from domain.errors import OutcomeUnknown, TooLarge, Unavailable
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream, assert_served
from infra.nats.wire.errors import (
    ApiFailure,
    Disconnected,
    Incomplete,
    NoAnswer,
    NotServing,
    Refused,
    WrongSequence,
    refusal,
)
from infra.nats.wire.frames import Frame, Stored, parse_headers, publish_frame

APPEND_S_MAX = 12.0
"""After this long without any answer of the log, a caller is told that the outcome is unknown."""

ACK_TIMEOUT_S = 4.0
"""An append that is not acknowledged by now is asked about; flushes of a busy disk take less."""

RETRY_PAUSE_S = 0.05

BATCH_MESSAGES_MAX = 1000
"""The server's own limit for one atomic batch."""

FIND_MESSAGES_MAX = 1000
"""Messages on one subject that are looked at to find our own; others rarely append to the same one."""

_HEADER_BYTES_MAX = 4096
"""Left free for headers below the server's limit for a message."""


class Entry(msgspec.Struct, frozen=True):
    """One message to append. lines: its header lines.

    expect: the last sequence on its subject (0: none yet). None: whatever it is, or, in a batch, another
    entry before this one has the same subject. deduplicate: without `expect`, have the server drop a repetition
    within its window; msg_id: under this name, which whoever repeats it later can give again.
    behind: the stream's last position before it, of the first entry alone; None: whatever it is.
    """

    subject: str
    lines: bytes
    body: bytes
    expect: int | None = None
    deduplicate: bool = True
    msg_id: str = ""
    behind: int | None = None


class _Ack(msgspec.Struct):
    seq: int = 0
    error: ApiFailure | None = None


_ack = msgspec.json.Decoder(_Ack)


class _Attempt:
    """An append that did not succeed at once: what has been tried, and how long it may still take."""

    __slots__ = ("after", "deadline", "entries", "failure", "msg_id", "refused", "sent")

    def __init__(self, entries: Sequence[Entry], msg_id: str, after: int) -> None:
        """after: a position that was there before."""
        self.entries, self.msg_id, self.after = entries, msg_id, after
        self.deadline = asyncio.get_running_loop().time() + APPEND_S_MAX
        self.sent = self.refused = False
        self.failure = Unavailable("the log did not answer")

    def assert_time_left(self) -> None:
        late = asyncio.get_running_loop().time() > self.deadline
        if self.sent and late:
            raise OutcomeUnknown("the log did not answer")
        if not self.sent and (late or isinstance(self.failure, Disconnected)):
            raise self.failure

    def learn(self, failure: Unavailable) -> None:
        """What it means that a try ended so; raises what is final."""
        if isinstance(failure, NoAnswer):
            self.sent = True
        elif isinstance(failure, WrongSequence):
            if not self.sent:
                raise VersionConflict(failure.failure.description) from None
            self.refused = True  # by our own first try, perhaps: look before the next
        elif isinstance(failure, Disconnected | Incomplete | NotServing):
            self.failure = failure
        else:
            raise failure


class Appender:
    """Appends to one stream."""

    def __init__(self, js: JetStream, guard: Guard, stream: str) -> None:
        self._js, self._guard, self.stream = js, guard, stream
        self._connection, self._known = js.connection, guard.known(stream)

    async def append(self, entries: Sequence[Entry]) -> int:
        """All or nothing, consecutive; the position of the last.

        Raises VersionConflict or Unavailable (nothing stored), OutcomeUnknown, TooLarge (nothing sent).
        """
        self.assert_fits(entries)
        known = self._known
        msg_id, after = _name_of(entries) if entries[0].expect is None else "", known.position
        # Hot path: on a connection that is ready and checked, one request and its answer. Whatever goes wrong is an
        # attempt, whose rules are the only ones.
        failure: Unavailable | None = None
        position: int | None = None
        if self._may_send():
            try:
                position = _position_in((await self._send(entries, msg_id))[0])
            except (NoAnswer, Refused) as failed:
                failure = failed
        if position is None:
            position = await self._insist(_Attempt(entries, msg_id, after), failure)
        known.saw(position, entries[-1].body)
        return position

    async def burst(self, entries: Sequence[Entry], *, timeout_s: float) -> None:
        """All of them in one write, not atomic; the log acknowledges the last alone, having taken the others before it.

        For what nobody's answer depends on: none is looked for or sent again. Raises Unavailable or TooLarge.
        """
        self.assert_fits(entries)
        connection, last = self._connection, entries[-1]
        if not connection.is_ready:
            await connection.wait_ready()
        await self._guard.assert_same(self.stream)
        before = b"".join([publish_frame(each.subject, each.body, lines=each.lines) for each in entries[:-1]])
        [frame] = await connection.begin(
            last.subject, last.body, lines=last.lines, before=before, timeout_s=timeout_s
        )
        _position_in(frame)

    def _may_send(self) -> bool:
        """Whether the log is there, and the one that it was."""
        connection = self._connection
        return connection.is_ready and self._known.is_checked(connection.generation)

    async def _insist(self, attempt: _Attempt, failure: Unavailable | None) -> int:
        """Go on after a first try that ended in `failure` (None: that could not be made)."""
        if failure is not None:
            attempt.learn(failure)
            attempt.assert_time_left()
            await asyncio.sleep(RETRY_PAUSE_S)
        while (position := await self._try(attempt)) is None:
            attempt.assert_time_left()
            await asyncio.sleep(RETRY_PAUSE_S)
        return position

    async def _try(self, attempt: _Attempt) -> int | None:
        """The position; None when it has to be tried again."""
        try:
            if not self._connection.is_ready:
                await self._connection.wait_ready()
            found = await self._look_first(attempt)
        except (NoAnswer, Disconnected, NotServing) as failure:
            attempt.failure = failure
            return None
        if found is not None:
            return found
        if not self._may_send():
            return None  # another connection meanwhile: perhaps to another log
        try:
            return _position_in((await self._send(attempt.entries, attempt.msg_id))[0])
        except (NoAnswer, Refused) as failure:
            attempt.learn(failure)
        return None

    async def _look_first(self, attempt: _Attempt) -> int | None:
        """Whether it is the same log, and holds what a former try has sent. Raises VersionConflict."""
        await self._guard.assert_same(self.stream)
        found = await self._find(attempt) if attempt.sent else None
        if found is None and attempt.refused:
            raise VersionConflict("somebody else appended first")
        return found

    def assert_fits(self, entries: Sequence[Entry]) -> None:
        """Raises TooLarge for a message that the server would cut the connection for."""
        limit = self._connection.payload_bytes_max - _HEADER_BYTES_MAX
        for entry in entries:
            if len(entry.body) > limit:
                raise TooLarge(f"more than the log's {limit} bytes a message")
        if len(entries) > BATCH_MESSAGES_MAX:
            raise TooLarge(f"more than {BATCH_MESSAGES_MAX} messages at once")

    def _send(self, entries: Sequence[Entry], msg_id: str) -> asyncio.Future[list[Frame]]:
        """No await between the look whether it may be sent, and this."""
        last, before = entries[-1], b""
        if len(entries) == 1:
            lines = _expecting(last)
            if msg_id:
                lines += f"Nats-Msg-Id: {msg_id}\r\n".encode()
        else:
            before, lines = _batch(entries)
        return self._connection.begin(
            last.subject, last.body, lines=lines, before=before, timeout_s=ACK_TIMEOUT_S
        )

    async def _find(self, attempt: _Attempt) -> int | None:
        """Where ours is, from the leader; None if it is not there."""
        first = attempt.entries[0]
        if first.behind is not None:
            found = await self._js.leader_get(self.stream, seq=first.behind + 1)
            return _last_of(attempt, found)
        # What follows the expected message is ours or another's; without expectation ours is somewhere after.
        start = attempt.after + 1 if first.expect is None else first.expect + 1
        for _ in range(FIND_MESSAGES_MAX if first.expect is None else 1):
            found = await self._js.leader_get(self.stream, seq=start, next_by_subj=first.subject)
            if found is None:
                return None
            if (last := _last_of(attempt, found)) is not None:
                return last
            start = found.sequence + 1
        return None


def _name_of(entries: Sequence[Entry]) -> str:
    """What a single append without expectation is found by."""
    first = entries[0]
    if first.behind is not None or not first.deduplicate or len(entries) > 1:
        return ""
    return first.msg_id or os.urandom(16).hex()  # as random as a UUID, at a tenth of its cost


def _position_in(frame: Frame) -> int:
    """Where the log says that it has stored what was sent. Raises Refused."""
    if frame.headers:
        assert_served(frame)
    answer = _ack.decode(frame.data)
    if answer.error is not None:
        raise refusal(answer.error)
    return answer.seq


def _batch(entries: Sequence[Entry]) -> tuple[bytes, bytes]:
    """An atomic batch: the frames before its last message, and the header lines of that."""
    member = f"Nats-Batch-Id: {uuid.uuid4().hex}\r\nNats-Batch-Sequence: ".encode()
    parts = [b"%b%b%d\r\n" % (_expecting(entry), member, number) for number, entry in enumerate(entries, 1)]
    before = b"".join(
        [
            publish_frame(entry.subject, entry.body, lines=part)
            for entry, part in zip(entries[:-1], parts[:-1], strict=True)
        ]
    )
    return before, parts[-1] + b"Nats-Batch-Commit: 1\r\n"


def _expecting(entry: Entry) -> bytes:
    lines = entry.lines
    if entry.expect is not None:
        lines += b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % entry.expect
    if entry.behind is not None:
        lines += b"Nats-Expected-Last-Sequence: %d\r\n" % entry.behind
    return lines


def _last_of(attempt: _Attempt, found: Stored | None) -> int | None:
    """Where an append ends whose first entry this is; None if it is not."""
    if found is None or not _is(found, attempt.entries[0], attempt.msg_id):
        return None
    return found.sequence + len(attempt.entries) - 1


def _is(stored: Stored, entry: Entry, msg_id: str) -> bool:
    """Whether this is our own message: same subject, same body, same headers."""
    ours = parse_headers(b"NATS/1.0\r\n" + entry.lines)
    if msg_id:
        ours["Nats-Msg-Id"] = msg_id
    same = (stored.subject, stored.data) == (entry.subject, entry.body)
    return same and ours.items() <= stored.headers.items()
