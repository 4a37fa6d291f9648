"""Apps for every call: memory first, then the bucket that the processes share, then the source.

Owns what this process remembers of apps, and how it stays true: it follows the apps' own events, and hears of apps
that somebody had forgotten. Never decides anything, and never answers from a memory that may have missed an event for
longer than a second.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec
import structlog

from domain.app import AppFacts, is_code
from domain.devices.event_action import faults
from domain.errors import Unavailable
from domain.ids import Ids
from domain.recorded import EVENTS, Checkpoint
from infra.apps.lookups import Level, Lookups
from infra.apps.shared import Found, SharedApps
from infra.flights import Flights
from infra.nats.streams import DAY_S
from processes.directories import AppMetadata, Toll, Unreadable
from processes.port import Log

log = structlog.get_logger()

APPS_MAX: Final = 10_000
"""Apps remembered, some kilobytes each; the one unused for longest is forgotten first."""
KNOWN_S: Final = float(DAY_S)
"""How long an app is remembered, for a source that sends no events."""
UNKNOWN_MAX: Final = 20_000
"""Codes of no app remembered, apart from the apps, so that a flood of invented codes pushes out none."""
UNKNOWN_S: Final = 30.0
"""How long no app is remembered, or one that can't be read, or asked for again: our own events end it earlier, and who
has just made or mended an app waits little.
"""

OnReconnect = Callable[[Callable[[], None]], Callable[[], None]]
"""Has a function called after each reconnect to the log; returns what ends that."""


class _Remembered(msgspec.Struct, frozen=True):
    """fault: why nobody can say what the app is, though the source has answered. is_held: it had nothing new to say
    when it was asked last.
    """

    facts: AppFacts | None
    until_s: float
    fault: str = ""
    is_held: bool = False


class FollowedApps:
    """processes.directories.AppDirectory. `run` must be running; until it has begun, nothing is remembered."""

    def __init__(
        self,
        events: Log,
        source: AppMetadata,
        shared: SharedApps,
        ids: Ids,
        *,
        on_reconnect: OnReconnect,
        now_s: Callable[[], float] = time.monotonic,
        apps_max: int = APPS_MAX,
        unknown_max: int = UNKNOWN_MAX,
    ) -> None:
        self._log, self._source, self._shared, self._ids = events, source, shared, ids
        self._on_reconnect, self._now_s = on_reconnect, now_s
        self._apps_max, self._unknown_max = apps_max, unknown_max
        self.lookups = Lookups()
        self._known: OrderedDict[UUID, _Remembered] = OrderedDict()
        self._unknown: OrderedDict[UUID, _Remembered] = OrderedDict()
        self._by_code: dict[str, _Remembered] = {}
        self._flights: Flights[UUID, AppFacts | None] = Flights()
        self._changes = 0
        self._following = False

    def known(self, code: str) -> AppFacts | None:
        # Hot path: with every call of a device, whose app is nearly always one of a few. Emptied by any change.
        known = self._by_code.get(code)
        if known is None or known.until_s <= self._now_s():
            return None
        self.lookups.in_memory += 1
        return known.facts

    async def app(self, code: str, *, toll: Toll | None = None) -> AppFacts | None:
        facts = self.known(code)
        if facts is not None:
            return facts
        if not is_code(code):
            return None
        id = self._ids.app(code)
        remembered = self._known.get(id) or self._unknown.get(id)
        if remembered is not None and remembered.until_s > self._now_s():
            self.lookups.in_memory += 1
            if remembered.fault:
                raise Unreadable(remembered.fault)
            if remembered.facts is not None:
                self._known.move_to_end(id)
                if len(self._by_code) < self._apps_max:
                    self._by_code[code] = remembered
            return remembered.facts
        if remembered is not None and remembered.is_held and id in self._flights:
            # Somebody else waits for news that did not come the last time.
            self.lookups.note(Level.OUTDATED)
            return remembered.facts
        if toll is not None and id not in self._flights:
            toll()
        return await self._flights.share(id, lambda: self._look_up(id, code))

    async def refresh(self, code: str) -> None:
        """Have every process ask the source anew, for one that sends no events. Raises Unavailable."""
        # While it says nothing, what it said before is all there is.
        await self._source.app(code)
        id = self._ids.app(code)
        await self._shared.forget(id)
        self._drop(id)

    async def run(self) -> None:
        """Follow the apps' events, for ever."""
        start = Checkpoint(EVENTS, await self._log.end(EVENTS), await self._log.epoch(EVENTS))
        end_watch = self._on_reconnect(self._forget_all)
        end_hearing = await self._shared.watch(self._drop)
        # What is being looked up just now was read before `start`, perhaps: an event in between would go unseen.
        self._forget_all()
        self._following = True
        try:
            async for facts in self._log.follow(EVENTS, start, subjects=("evt.app.>",)):
                for fact in facts:
                    self._drop(UUID(fact.subject.rpartition(".")[2]))
        finally:
            self._following = False
            self._forget_all()
            end_watch()
            await end_hearing()
            await self._flights.aclose()

    async def _look_up(self, id: UUID, code: str) -> AppFacts | None:
        changes = self._changes
        found = await self._find(id)
        if found is not None and found.facts is not None:
            self.lookups.note(Level.SHARED)
            return self._keep(id, found.facts, changes, age_s=found.age_s)
        try:
            facts = await self._source.app(code)
        except Unavailable as error:
            self._keep_unanswered(id, code, error, changes)
            outdated = self._known.get(id)
            if outdated is None:
                raise
            # While the source is away, what it said a day ago is better than nothing.
            self.lookups.note(Level.OUTDATED)
            return outdated.facts
        self.lookups.note(Level.SOURCE)
        if facts is not None and found is not None:
            await self._shared.put(facts, found)
        return self._keep(id, facts, changes)

    async def _find(self, id: UUID) -> Found | None:
        """None while the log is away: the source may be elsewhere."""
        try:
            return await self._shared.find(id)
        except Unavailable:
            return None

    def _keep(self, id: UUID, facts: AppFacts | None, changes: int, *, age_s: float = 0.0) -> AppFacts | None:
        """age_s: how long ago the source said so, who perhaps sends no events."""
        _warn_of_faults(facts)
        # What changed meanwhile may be newer than what was read.
        if not self._following or changes != self._changes:
            return facts
        now_s = self._now_s()
        self._by_code.clear()
        self._known.pop(id, None)
        self._unknown.pop(id, None)
        if facts is None:
            _add(self._unknown, id, _Remembered(None, now_s + UNKNOWN_S), self._unknown_max)
        else:
            _add(self._known, id, _Remembered(facts, now_s + KNOWN_S - age_s), self._apps_max)
        return facts

    def _keep_unanswered(self, id: UUID, code: str, error: Unavailable, changes: int) -> None:
        """Ask again only in a while, where something is known or the answer cannot be read: no device's call mends it,
        and they would ask with each of them.
        """
        fault, outdated = error.detail if isinstance(error, Unreadable) else "", self._known.get(id)
        former = self._unknown.get(id)
        if fault and (former is None or former.fault != fault):
            log.warning("app-unreadable", app=code, reason=fault)
        if not self._following or changes != self._changes:
            return
        until_s = self._now_s() + UNKNOWN_S
        if outdated is not None:
            self._known[id] = _Remembered(outdated.facts, until_s, is_held=True)
        if fault:
            _add(self._unknown, id, _Remembered(None, until_s, fault), self._unknown_max)

    def _drop(self, id: UUID) -> None:
        self._changes += 1
        self._flights.part(id)
        self._by_code.clear()
        self._known.pop(id, None)
        self._unknown.pop(id, None)

    def _forget_all(self) -> None:
        """What was read over a connection that broke may have changed unseen."""
        self._changes += 1
        self._by_code.clear()
        self._known.clear()
        self._unknown.clear()


def _warn_of_faults(facts: AppFacts | None) -> None:
    """Settings of before a bound, or of a service that knows none: who reads them passes the faulty ones over."""
    for fault in faults(facts.settings.event_actions if facts is not None else ()):
        assert facts is not None
        log.warning("event-action-passed-over", app=facts.code, field=fault.field, reason=fault.detail)


def _add(memory: OrderedDict[UUID, _Remembered], id: UUID, entry: _Remembered, most: int) -> None:
    memory[id] = entry
    while len(memory) > most:
        memory.popitem(last=False)
