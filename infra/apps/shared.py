"""The bucket of apps that all processes share: what one has asked the source, the others need not ask.

Owns the form of its entries. An entry names the last event of the app that it knows of, so it can be told from one
that is behind; the server forgets entries after a day. A cache: losing all of it costs a look-up each.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec

from commands.port import VersionConflict
from domain.app import AppFacts
from domain.errors import TooLarge, Unavailable
from domain.ids import partition
from domain.recorded import EVENTS
from infra.nats.appending.appends import Appender, Entry
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream
from infra.nats.streams import APPS_BUCKET, APPS_STREAM, DAY_S
from infra.nats.wire.frames import Frame

_PREFIX = f"$KV.{APPS_BUCKET}."
_DELETED = b"KV-Operation: DEL\r\n"
"""How JetStream's own key-value clients mark an entry that was taken away."""


class Found(msgspec.Struct, frozen=True):
    """facts None: there was nothing. sequence: what a `put` that follows from this look expects.

    as_of: the position of the app's last event, 0 without any; what is asked of the source now knows of it.
    age_s: how long ago the source has said the facts, as far as clocks agree.
    """

    facts: AppFacts | None
    sequence: int
    as_of: int
    age_s: float = 0.0


class _Kept(msgspec.Struct, frozen=True):
    """said_s: when the source said so, in seconds of the epoch."""

    as_of: int
    said_s: float
    facts: AppFacts


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Kept).decode


class SharedApps:
    """Every look goes to the leaders: a replica that lags would bring back what was just changed."""

    def __init__(self, js: JetStream, *, now_s: Callable[[], float] = time.time) -> None:
        self._js, self._now_s = js, now_s
        # Nothing that anybody relies on: no check whether the bucket is still the one of before.
        self._appender = Appender(js, Guard(js), APPS_STREAM)

    async def find(self, id: UUID) -> Found:
        """Raises Unavailable."""
        stored = await self._js.leader_get(APPS_STREAM, last_by_subj=_subject(id))
        last = await self._js.leader_get(EVENTS, last_by_subj=f"evt.app.{partition(id)}.{id.hex}")
        as_of = last.sequence if last is not None else 0
        kept = _read(stored.data) if stored is not None else None
        sequence = stored.sequence if stored is not None else 0
        if kept is None or kept.as_of != as_of or (age_s := self._now_s() - kept.said_s) >= DAY_S:
            return Found(None, sequence, as_of)
        return Found(kept.facts, sequence, as_of, max(age_s, 0.0))

    async def put(self, facts: AppFacts, found: Found) -> None:
        """Keep what the source has said after `found`; somebody's newer entry, or its removal, stays."""
        kept = _Kept(found.as_of, self._now_s(), facts)
        entry = Entry(_subject(facts.id), b"", _encode(kept), expect=found.sequence)
        try:
            await self._appender.append([entry])
        except (VersionConflict, TooLarge, Unavailable):
            return  # the next one who misses tries again

    async def forget(self, id: UUID) -> None:
        """Have every process ask the source anew, at once. Raises Unavailable."""
        await self._appender.append([Entry(_subject(id), _DELETED, b"")])

    async def watch(self, call: Callable[[UUID], None]) -> Callable[[], Awaitable[None]]:
        """Call back for each app that any process forgets, unless the connection is down; what ends that."""
        connection = self._js.connection

        def on_frame(frame: Frame) -> None:
            if not frame.data:
                call(UUID(frame.subject.decode().removeprefix(_PREFIX)))

        subscription = await connection.route_surely(f"{_PREFIX}>", on_frame)
        return lambda: connection.unroute(subscription)


def _subject(id: UUID) -> str:
    return _PREFIX + id.hex


def _read(data: bytes) -> _Kept | None:
    """None for what was taken away, or what another version of ours has written."""
    try:
        return _decode(data) if data else None
    except msgspec.DecodeError:
        return None
