"""Messages of a stream into facts, with the keys they need; what cannot be read becomes poison."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from domain.errors import Unavailable
from domain.recorded import SIGNALS, Recorded
from infra.eventstore.catalogue import Catalogue
from infra.eventstore.wire import unpack
from infra.keys.store import JetStreamKeyStore
from infra.nats.wire.frames import Stored
from processes.port import Poison

RETRY_PAUSE_S = 0.2


class FactReader:
    """Turns messages into facts."""

    def __init__(self, catalogue: Catalogue, keys: JetStreamKeyStore) -> None:
        self._catalogue, self._keys = catalogue, keys

    async def read(
        self, stream: str, messages: Sequence[Stored], *, digested: bool = True
    ) -> list[Recorded | Poison]:
        """One fact, or poison, for each message, in order. Raises Unavailable when keys can't be fetched.

        digested: False leaves out all digests but the last one's, on which a checkpoint may stand.
        """
        names = {name for each in messages if (name := each.headers.get("Key"))}
        keys = await self._keys.resolve(names) if names else {}
        facts: list[Recorded | Poison] = []
        for stored in messages:
            asked = digested or stored is messages[-1]
            try:
                facts.append(unpack(stored, stream, self._catalogue, keys, digested=asked))
            except ValueError as error:
                facts.append(Poison(stream, stored.sequence, stored.subject, str(error)))
        return facts

    async def read_patiently(self, stream: str, messages: Sequence[Stored]) -> list[Recorded | Poison]:
        """As `read` without digests; waits for the keys as long as the log is away."""
        while True:
            try:
                return await self.read(stream, messages, digested=False)
            except Unavailable:
                await asyncio.sleep(RETRY_PAUSE_S)

    async def one(self, stream: str, stored: Stored) -> Recorded:
        """Raises ValueError for a message that is no fact."""
        return unpack(stored, stream, self._catalogue, await self._keys_of(stored))

    async def reader(self, stream: str, stored: Stored) -> Callable[[], Recorded]:
        """What will read the message, its key at hand. Raises Unavailable when that can't be fetched.

        Hot path: without its digest, a quarter of what reading a page costs, unless it is a signal: what follows from
        one is named by it.
        """
        keys = await self._keys_of(stored)
        return lambda: unpack(stored, stream, self._catalogue, keys, digested=stream == SIGNALS)

    async def _keys_of(self, stored: Stored) -> Mapping[str, bytes | None]:
        name = stored.headers.get("Key")
        return await self._keys.resolve([name]) if name else {}
