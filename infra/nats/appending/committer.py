"""Group commit: what arrives while a commit is in flight goes into the next one, as one atomic batch or side by side.

Where flushes to the disk are dear, a batch that shares them makes thousands of saves a second of what would be
hundreds. Where they are cheap, saves of one event finish sooner each for itself; which it is, `Ways` learns. One stale
member refuses a whole batch; then it is split until the stale one stands alone. Each save stays all or nothing and
gets its own answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Collection, Sequence

import msgspec

from commands.port import VersionConflict
from domain.errors import MsgxcError, OutcomeUnknown, Unavailable
from infra.nats.appending.appends import BATCH_MESSAGES_MAX, Appender, Entry
from infra.nats.appending.ways import Ways

BATCH_MESSAGES = 300
"""Beyond this a batch's own cost grows faster than what sharing saves."""

SHARED_MIN = 8
"""Saves of one event that are worth a batch where sharing pays. A batch has a price of its own, of some ten flushes,
which a few would wait for longer than for theirs; and who waits for it is late for the next one, so that it stays.
"""

BATCH_BYTES = 4 << 20
"""One write, and one answer to wait for: bounded in bytes as well."""

WAITING_MAX = 20_000
"""Saves waiting for their commit; more than that is a queue nobody waits out."""

ANSWERS_A_TURN = 32
"""Saves of a batch whose callers go on in one turn of the event loop. All at once, they would serve their requests in
step and come back together: the log would rest while they are busy, and they while it is.
"""


class _Save(msgspec.Struct):
    entries: Sequence[Entry]
    done: asyncio.Future[int]


class Committer:
    """Shares commits to one stream. `run` must be running."""

    def __init__(self, appender: Appender, *, share_singles: bool) -> None:
        """share_singles: whether saves of one event may be worth sharing, too (the stream flushes each write)."""
        self._appender, self._share_singles = appender, share_singles
        self._waiting: deque[_Save] = deque()
        self._arrived = asyncio.Event()
        self._ways = Ways()
        self._under_way: list[_Save] = []
        # At these positions, which their callers are still to be told.
        self._stored: deque[tuple[_Save, int]] = deque()

    @property
    def stream(self) -> str:
        return self._appender.stream

    def append(self, entries: Sequence[Entry]) -> Awaitable[int]:
        """As Appender.append; what is refused unsent is raised at once."""
        if len(entries) == 1 and not self._share_singles:
            return self._appender.append(entries)
        self._appender.assert_fits(entries)
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("too many saves are waiting for the log")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Save(entries, done))
        if not self._arrived.is_set():
            self._arrived.set()
        self._ways.began()
        return done

    async def run(self) -> None:
        """Commit for ever. Cancelled, it tells who still waits; `drain` first to leave nobody in doubt."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    self._under_way = self._take()
                    await self._commit(self._under_way)
                    self._under_way = []
        finally:
            self._answer(len(self._stored))
            for save in self._under_way:
                _fail(save, OutcomeUnknown("shutting down"))
            for save in self._waiting:
                _fail(save, Unavailable("shutting down"))

    async def drain(self) -> None:
        """Return once everything handed in so far has its answer."""
        self._answer(len(self._stored))
        pending = [save.done for save in (*self._under_way, *self._waiting)]
        if pending:
            await asyncio.wait(pending)

    def _take(self) -> list[_Save]:
        """The next batch: whole saves, within the limits; what expects something of a subject comes first on it."""
        taken: list[_Save] = []
        later: list[_Save] = []
        subjects: set[str] = set()
        held: set[str] = set()
        messages = size = 0
        while self._waiting:
            save = self._waiting[0]
            entries = save.entries
            messages += len(entries)
            size += sum([len(entry.body) for entry in entries])
            if taken and (messages > BATCH_MESSAGES or size > BATCH_BYTES):
                break
            self._waiting.popleft()
            if save.done.done():
                self._ways.ended(1)  # its caller was cancelled before anything was sent
                continue
            own = [entry.subject for entry in entries]
            alone = subjects.isdisjoint(own) and held.isdisjoint(own)
            if not alone and _waits(entries, subjects, held):
                held.update(own)
                later.append(save)  # it will see the outcome of the one before it
            else:
                subjects.update(own)
                taken.append(save)
        self._waiting.extendleft(reversed(later))
        return taken

    async def _commit(self, saves: list[_Save]) -> None:
        if not saves:
            return
        if len(saves) == 1:
            await self._commit_one(saves[0])
        elif self._is_shared(saves):
            await self._commit_together(saves)
        else:
            # In one write, and the next ones when all are answered: a trickle costs the server twice as much for each.
            await asyncio.gather(*(self._commit_one(save) for save in saves))

    def _is_shared(self, saves: Sequence[_Save]) -> bool:
        if any(len(save.entries) > 1 for save in saves):
            return True
        return self._ways.together and len(saves) >= SHARED_MIN

    async def _commit_one(self, save: _Save) -> None:
        try:
            _settle(save, await self._appender.append(save.entries))
        except MsgxcError as error:
            _fail(save, error)
        self._ways.ended(1)

    def _answer(self, saves: int = ANSWERS_A_TURN) -> None:
        """Tell so many of those that are stored, and the others in the turns to come."""
        for _ in range(min(saves, len(self._stored))):
            _settle(*self._stored.popleft())
        if self._stored:
            asyncio.get_running_loop().call_soon(self._answer)

    async def _commit_together(self, saves: list[_Save]) -> None:
        entries = [entry for save in saves for entry in save.entries]
        assert len(entries) <= BATCH_MESSAGES_MAX
        try:
            position = await self._appender.append(entries) - len(entries)
        except VersionConflict:
            half = len(saves) // 2
            await self._commit(saves[:half])
            await self._commit(saves[half:])
            return
        except MsgxcError as error:
            for save in saves:
                _fail(save, error)
        else:
            for save in saves:
                position += len(save.entries)
                self._stored.append((save, position))
            self._answer()
        self._ways.ended(len(saves))


def _waits(entries: Sequence[Entry], taken: Collection[str], held: Collection[str]) -> bool:
    """Whether what is before one of them on its subject must be decided first; what expects nothing only keeps its
    place.
    """
    return any(
        entry.subject in held or (entry.expect is not None and entry.subject in taken) for entry in entries
    )


def _settle(save: _Save, position: int) -> None:
    if not save.done.done():
        save.done.set_result(position)


def _fail(save: _Save, error: MsgxcError) -> None:
    if not save.done.done():
        save.done.set_exception(error)
