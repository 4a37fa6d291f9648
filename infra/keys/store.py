"""The key store on a JetStream bucket: makes keys, gives them out, destroys them for ever.

Keys are random and stored wrapped by the master key. What decides (that a key does not exist, that a name is
free) is asked of the leader. A destroyed key leaves a mark, its wrapped bytes are overwritten on the disk,
and every process that watches drops it from its memory.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from nats.aio.subscription import Subscription

from commands.port import VersionConflict
from infra.keys.wrapping import DESTROYED, KEY_BYTES, MasterKeys
from infra.nats.appending.appends import Appender, Entry
from infra.nats.jetstream import DIRECT_BATCH_MAX, JetStream
from infra.nats.streams import KEYS_BUCKET, KEYS_STREAM
from infra.nats.wire.frames import Frame, Stored

CACHED_KEYS_MAX = 100_000
"""About 20 MB; more contacts than one process is likely to meet between two reads of the same key."""

_PREFIX = f"$KV.{KEYS_BUCKET}."
_NAME = re.compile(r"[a-z]+\.[0-9a-z-]+")


class JetStreamKeyStore:
    """commands.port.KeyStore. `open` before use, `close` after."""

    def __init__(self, js: JetStream, appender: Appender, master: MasterKeys) -> None:
        self._js, self._appender, self._master = js, appender, master
        self._cache: OrderedDict[str, bytes | None] = OrderedDict()
        self._watch: Subscription | None = None
        self._forgotten: list[Callable[[], None]] = []

    async def open(self) -> None:
        self._watch = await self._js.connection.route_surely(f"{_PREFIX}>", self._on_change)
        self._js.connection.on_reconnect(self._forget_all)

    async def close(self) -> None:
        if self._watch is not None:
            await self._js.connection.unroute(self._watch)
            self._watch = None

    def on_destroyed(self, call: Callable[[], None]) -> None:
        """Have `call` drop whatever it keeps that a destroyed key had sealed."""
        self._forgotten.append(call)

    async def key(self, name: str, *, create: bool) -> bytes | None:
        if name in self._cache:
            return self._cached(name)
        _assert_name(name)
        while True:
            found = await self._js.leader_get(KEYS_STREAM, last_by_subj=_PREFIX + name)
            if found is not None:
                return self._keep(name, found.data)
            if not create:
                return None
            key = secrets.token_bytes(KEY_BYTES)
            wrapped = self._master.wrap(key, name)
            try:
                await self._appender.append([Entry(_PREFIX + name, b"", wrapped, expect=0)])
            except VersionConflict:
                continue  # another made it first: take that one
            return self._keep(name, wrapped)

    async def keys(self, names: Sequence[str]) -> dict[str, bytes]:
        return {name: key for name, key in (await self.resolve(names)).items() if key is not None}

    async def resolve(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """As `keys`, with None for destroyed ones; names that never were are left out."""
        wanted = list(dict.fromkeys(names))
        unknown = [name for name in wanted if name not in self._cache]
        fetched: dict[str, bytes | None] = {}
        for start in range(0, len(unknown), DIRECT_BATCH_MAX):
            page = unknown[start : start + DIRECT_BATCH_MAX]
            for stored in await self._js.direct_last(KEYS_STREAM, [_PREFIX + name for name in page]):
                name = stored.subject.removeprefix(_PREFIX)
                fetched[name] = self._keep(name, stored.data)
        for name in unknown:
            if name not in fetched:  # perhaps only missing on the replica that answered
                stored_last = await self._js.leader_get(KEYS_STREAM, last_by_subj=_PREFIX + name)
                if stored_last is not None:
                    fetched[name] = self._keep(name, stored_last.data)
        cached = {name: self._cached(name) for name in wanted if name in self._cache}
        return cached | fetched

    async def destroy(self, name: str) -> None:
        _assert_name(name)
        while True:
            found = await self._js.leader_get(KEYS_STREAM, last_by_subj=_PREFIX + name)
            if found is None or found.data != DESTROYED:
                expect = found.sequence if found is not None else 0
                try:
                    await self._appender.append([Entry(_PREFIX + name, b"", DESTROYED, expect=expect)])
                except VersionConflict:
                    continue
            break
        self._keep(name, DESTROYED)
        self._tell_forgotten()
        await self._overwrite_former(name)

    async def rewrap(self, on_position: Callable[[int], None] = lambda _: None) -> int:
        """Wrap every key by the current master key; how many were not. Can be repeated at any time.

        on_position: hears up to which position of the stream of keys all are.
        """
        position, count = 1, 0
        while page := await self._js.direct_get(KEYS_STREAM, f"{_PREFIX}>", seq=position):
            for stored in page:
                count += await self._rewrap_one(stored)
            on_position(page[-1].sequence)
            position = page[-1].sequence + 1
        return count

    async def _rewrap_one(self, stored: Stored) -> bool:
        name = stored.subject.removeprefix(_PREFIX)
        if stored.data == DESTROYED or self._master.is_current(stored.data):
            return False
        wrapped = self._master.wrap(self._master.unwrap(stored.data, name), name)
        try:
            await self._appender.append([Entry(stored.subject, b"", wrapped, expect=stored.sequence)])
        except VersionConflict:
            return False  # destroyed, or wrapped anew by somebody else
        await self._overwrite_former(name)
        return True

    async def _overwrite_former(self, name: str) -> None:
        """Have the server overwrite what stood here before the newest, which keeps its place."""
        subject = _PREFIX + name
        last = await self._js.leader_get(KEYS_STREAM, last_by_subj=subject)
        former = await self._js.leader_get(KEYS_STREAM, seq=1, next_by_subj=subject)
        if last is not None and former is not None and former.sequence < last.sequence:
            await self._js.api(f"STREAM.MSG.DELETE.{KEYS_STREAM}", {"seq": former.sequence})

    def _cached(self, name: str) -> bytes | None:
        self._cache.move_to_end(name)
        return self._cache[name]

    def _keep(self, name: str, value: bytes) -> bytes | None:
        key = None if value == DESTROYED else self._master.unwrap(value, name)
        if self._cache.get(name, b"") is None:
            return None  # seen destroyed: a read that began before must not bring it back
        self._cache[name] = key
        if len(self._cache) > CACHED_KEYS_MAX:
            self._cache.popitem(last=False)
        return key

    def _on_change(self, frame: Frame) -> None:
        if frame.data == DESTROYED:
            self._keep(frame.subject.decode().removeprefix(_PREFIX), DESTROYED)
            self._tell_forgotten()

    def _forget_all(self) -> None:
        """Destructions may have gone unseen while we were away."""
        self._cache.clear()
        self._tell_forgotten()

    def _tell_forgotten(self) -> None:
        for call in self._forgotten:
            call()


def _assert_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a key")
