"""JetStream's requests, typed: reads of a stream's leader and its replicas, information, administration.

A leader read is linearizable; a direct read may be answered by a replica that lags behind and must never
decide anything. This module never appends (see appending/appends.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.errors import Unavailable
from infra.nats.wire.connection import ANSWER_TIMEOUT_S, Connection
from infra.nats.wire.errors import NOT_FOUND, ApiFailure, NotServing, Refused, refusal
from infra.nats.wire.frames import Frame, Stored, parse_headers, status_of

DIRECT_BATCH_MAX = 1000
"""Messages asked for in one direct read; the server's own limit is 1,024."""


class _LeaderMessage(msgspec.Struct):
    subject: str
    seq: int
    hdrs: bytes = b""
    data: bytes = b""


class _LeaderAnswer(msgspec.Struct):
    message: _LeaderMessage | None = None
    error: ApiFailure | None = None


class _Failing(msgspec.Struct):
    error: ApiFailure | None = None


class StreamState(msgspec.Struct, frozen=True):
    messages: int
    bytes: int
    first_seq: int
    last_seq: int


class _Counted(msgspec.Struct):
    subjects: dict[str, int] | None = None


class _CountedAnswer(msgspec.Struct):
    state: _Counted
    total: int = 0


class StreamInfo(msgspec.Struct, frozen=True):
    """cluster: where it is replicated, its `leader` and its `replicas`."""

    config: dict[str, Any]
    state: StreamState
    cluster: dict[str, Any] = {}


_leader_answer = msgspec.json.Decoder(_LeaderAnswer)
_failing = msgspec.json.Decoder(_Failing)
_info = msgspec.json.Decoder(StreamInfo)
_counted = msgspec.json.Decoder(_CountedAnswer)


class JetStream:
    """All calls raise Disconnected, NoAnswer or Refused (each an Unavailable)."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def api(self, operation: str, request: Any = None, *, timeout_s: float = ANSWER_TIMEOUT_S) -> bytes:
        """The answer to `$JS.API.<operation>`; raises Refused for an error."""
        payload = b"" if request is None else msgspec.json.encode(request)
        await self.connection.wait_up()
        frame = await self.connection.ask(f"$JS.API.{operation}", payload, timeout_s=timeout_s)
        assert_served(frame)
        failure = _failing.decode(frame.data).error
        if failure is not None:
            raise refusal(failure)
        return frame.data

    async def info(self, stream: str) -> StreamInfo | None:
        """None if there is no such stream. Asked of the leader."""
        try:
            return _info.decode(await self.api(f"STREAM.INFO.{stream}"))
        except Refused as refused:
            if refused.failure.err_code in NOT_FOUND:
                return None
            raise

    async def counts(self, stream: str, subject: str) -> dict[str, int]:
        """How many messages there are on each subject that fits; as many subjects at once as the server tells."""
        counts: dict[str, int] = {}
        while True:
            request = {"subjects_filter": subject, "offset": len(counts)}
            answer = _counted.decode(await self.api(f"STREAM.INFO.{stream}", request))
            more = answer.state.subjects or {}
            counts.update(more)
            if not more or len(counts) >= answer.total:
                return counts

    async def leader_get(
        self,
        stream: str,
        *,
        seq: int | None = None,
        next_by_subj: str | None = None,
        last_by_subj: str | None = None,
    ) -> Stored | None:
        """One message from the leader: at `seq`, or the first from `seq` on, or the last on a subject."""
        request = {"seq": seq, "next_by_subj": next_by_subj, "last_by_subj": last_by_subj}
        payload = msgspec.json.encode({key: value for key, value in request.items() if value is not None})
        await self.connection.wait_up()
        frame = await self.connection.ask(f"$JS.API.STREAM.MSG.GET.{stream}", payload)
        assert_served(frame)
        answer = _leader_answer.decode(frame.data)
        if answer.message is not None:
            found = answer.message
            return Stored(found.subject, found.seq, parse_headers(found.hdrs), found.data)
        failure = answer.error or ApiFailure(description="an empty answer")
        if failure.err_code in NOT_FOUND:
            return None
        raise refusal(failure)

    async def direct_get(
        self, stream: str, subject: str, *, seq: int = 1, limit: int = DIRECT_BATCH_MAX
    ) -> list[Stored]:
        """Up to `limit` messages on a subject from `seq` on, oldest first. May lag behind the leader."""
        found: list[Stored] = []
        while len(found) < limit:
            size = min(limit - len(found), DIRECT_BATCH_MAX)
            page, pending = await self._direct(stream, {"seq": seq, "next_by_subj": subject, "batch": size})
            found += page
            if not page or not pending:
                break
            seq = page[-1].sequence + 1
        return found

    async def direct_last(self, stream: str, subjects: Sequence[str]) -> list[Stored]:
        """The last message on each of up to a thousand subjects. May lag behind the leader."""
        page, _ = await self._direct(stream, {"multi_last": list(subjects), "batch": DIRECT_BATCH_MAX})
        return page

    async def read(self, stream: str, subject: str, *, seq: int = 1, limit: int) -> list[Stored]:
        """As `direct_get`, complete as of the leader: what a lagging replica left out is asked of it."""
        found = await self.direct_get(stream, subject, seq=seq, limit=limit)
        after = found[-1].sequence + 1 if found else seq
        return found + await self.leader_read(stream, subject, seq=after, limit=limit - len(found))

    async def page(
        self, stream: str, subject: str, *, seq: int = 1, limit: int, bytes_max: int
    ) -> list[Stored]:
        """Some of the messages on a subject from `seq` on, oldest first: at most `limit`, and at most so many bytes of
        them, but for the first, which comes whatever its size. None only at the end, as the leader has it.
        """
        request = {"seq": seq, "next_by_subj": subject, "batch": limit, "max_bytes": bytes_max}
        found, _ = await self._direct(stream, request)
        return found or await self.leader_read(stream, subject, seq=seq, limit=1)

    async def leader_read(self, stream: str, subject: str, *, seq: int = 1, limit: int) -> list[Stored]:
        """As `direct_get`, one by one from the leader: for the few messages that are likely."""
        found: list[Stored] = []
        while len(found) < limit:
            stored = await self.leader_get(stream, seq=seq, next_by_subj=subject)
            if stored is None:
                break
            found.append(stored)
            seq = stored.sequence + 1
        return found

    async def _direct(self, stream: str, request: dict[str, Any]) -> tuple[list[Stored], int]:
        """A page and how many more there are."""
        await self.connection.wait_up()
        frames = await self.connection.ask_many(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(request))
        status = status_of(frames[-1].headers)
        if status not in {204, 404}:
            raise Unavailable(f"the log answered a read with {status}")
        page = [_stored(frame) for frame in frames[:-1]]
        return page, int(page[-1].headers.get("Nats-Num-Pending", 0)) if page else 0


def _stored(frame: Frame) -> Stored:
    headers = parse_headers(frame.headers)
    return Stored(headers["Nats-Subject"], int(headers["Nats-Sequence"]), headers, frame.data)


def assert_served(frame: Frame) -> None:
    if status_of(frame.headers) == 503:
        raise NotServing(ApiFailure(503, 0, "JetStream is not available"))
