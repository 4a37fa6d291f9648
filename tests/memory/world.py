"""A whole exchange in memory: every process as it is, on shared streams, with a clock that a test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from commands.bus import Bus
from commands.port import ContentCheck
from commands.scope import Claim
from domain.contact import Contact
from domain.context import Caller, Context
from domain.ids import Ids
from domain.message import Content
from domain.notifications.sid import sid_key
from domain.recorded import DELIVERY, EVENTS, SIGNALS, Recorded
from domain.thread import Thread
from infra.figures.resolution import ResolutionFigures
from infra.lookups.own_directories import OwnApps
from infra.lookups.token_owners import CaughtUpOwners
from processes.devices.clicks import Clicks
from processes.devices.client_states import ClientStates
from processes.devices.contact_ids import ClientsMaintainer, ContactIdWriter
from processes.devices.resolution import ContactResolver, ExpiredWriter, Resolver
from processes.devices.suite_activity import SuiteActivity
from processes.devices.suite_updates import SuiteUpdater
from processes.devices.taken_tokens import TakenTokens
from processes.devices.triggers import Triggers
from processes.dispatching.dispatcher import Dispatcher
from processes.dispatching.scheduler import DueMessages, OverdueMessages, Scheduler
from processes.dispatching.settler import Settler
from processes.erasure import Erasure
from processes.feeding.feeder import Feeder
from processes.models.projector import Projector
from processes.models.watermark import Watermark
from processes.sending.channel import ChannelProcess
from processes.sending.feedback import Feedback, Retrier
from projections.catalogue import ALL
from tests.memory.clock import ManualClock
from tests.memory.gateway import Provider, ScriptedGateway
from tests.memory.lifeline import Lifeline
from tests.memory.ports.apps import StoredApps
from tests.memory.ports.contact_data import ContactBook, ScriptedContactData
from tests.memory.ports.contact_updates import ScriptedUpdates, SuiteQueue
from tests.memory.ports.event_store import MemoryEventStore
from tests.memory.ports.feeding import MemoryFeedLog, MemoryLease
from tests.memory.ports.keys import MemoryKeyStore, Vault
from tests.memory.ports.log import MemoryLog
from tests.memory.ports.read_models import MemoryReadModels
from tests.memory.ports.states import MemoryStates
from tests.memory.ports.streams import Streams
from tests.memory.senders import SomeSenders

REALM = "main"
IDS = Ids(b"an id key for tests, of 32 bytes")
SID_KEY = sid_key(b"an id key for tests, of 32 bytes")
QUIET_TURNS = 20
"""Turns of the event loop without any activity, after which nothing is going to happen by itself."""


class StoredThreads:
    """commands.port.ThreadDirectory, always up to date, but for what it has not heard of (behind)."""

    def __init__(self, store: MemoryEventStore) -> None:
        self._store = store
        self.behind: dict[UUID, Thread] = {}

    async def thread(self, id: UUID) -> Thread | None:
        return self.behind.get(id) or await self._store.load(Thread, id, fresh=True)

    async def is_erased(self, contact: UUID) -> bool:
        found = await self._store.load(Contact, contact, fresh=True)
        return found is not None and found.erased


def carries_anything(content: Content, channels: Sequence[str] | None, *, style: str = "") -> None:
    """commands.port.ContentCheck."""


@dataclass(slots=True)
class Connection:
    """One process's doors to the shared servers; when its life ends, none of them opens again."""

    life: Lifeline
    keys: MemoryKeyStore
    log: MemoryLog
    store: MemoryEventStore
    bus: Bus


@dataclass(slots=True)
class Running:
    role: str
    connection: Connection
    task: asyncio.Task[None]


@dataclass(slots=True)
class World:
    """slice_size: how many addresses a gateway sends at once. frames_at_once: as MemoryFeedLog has it.

    check: of processes that are started from now on.
    """

    clock: ManualClock = field(default_factory=ManualClock)
    vault: Vault = field(default_factory=Vault)
    models: MemoryReadModels = field(default_factory=MemoryReadModels)
    providers: dict[str, Provider] = field(default_factory=dict)
    contact_book: ContactBook = field(default_factory=ContactBook)
    resolved: ResolutionFigures = field(default_factory=ResolutionFigures)
    suite_queue: SuiteQueue = field(default_factory=SuiteQueue)
    senders: SomeSenders = field(default_factory=SomeSenders)
    slice_size: int = 2
    frames_at_once: int = 300
    check: ContentCheck = carries_anything
    running: list[Running] = field(default_factory=list)
    deaths: int = 0
    streams: Streams = field(init=False)
    watermark: Watermark = field(init=False)
    own: Connection = field(init=False)
    _nonces: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.streams = Streams(self.clock)
        self.watermark = Watermark(self.models, local=True)
        self.own = self.connect()

    def connect(self, life: Lifeline | None = None) -> Connection:
        life = life or Lifeline()
        keys = MemoryKeyStore(self.vault, life)
        store = MemoryEventStore(self.streams, keys, life=life)
        log = MemoryLog(self.streams, keys, life=life)
        bus = Bus(
            store=store,
            threads=StoredThreads(store),
            check=self.check,
            ids=IDS,
            clock=self.clock,
            nonce=lambda: f"{next(self._nonces):032x}",
            owners=CaughtUpOwners(log, self.models, self.watermark),
        )
        return Connection(life, keys, log, store, bus)

    async def do(
        self, command: msgspec.Struct, *, caller: Caller | None = None, claim: Claim | None = None
    ) -> Any:
        """Carry out a command as the API would."""
        return await self.own.bus.execute(
            command, Context(REALM, "test", "", "corr"), caller=caller, claim=claim
        )

    def provider(self, channel: str) -> Provider:
        return self.providers.setdefault(channel, Provider())

    def start(self, role: str, life: Lifeline | None = None) -> Running:
        """Start a process, as `roles` names it; several of the same role share its work."""
        connection = self.connect(life)
        number = sum(1 for each in self.running if each.role == role)
        task = asyncio.create_task(self._run(role, connection, f"{role}-{number}"), name=role)
        running = Running(role, connection, task)
        self.running.append(running)
        return running

    async def stop(self, running: Running) -> None:
        self.running.remove(running)
        running.connection.life.dead.set()
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)

    async def _run(self, role: str, to: Connection, name: str) -> None:
        if role.startswith("gateway-"):
            await self._channel(role.removeprefix("gateway-"), to, name).run()
            return
        with_models = {"models": self.models, "watermark": self.watermark}
        builders: dict[str, Callable[[], Awaitable[None]]] = {
            "project-events": self._projector(EVENTS, to).run,
            "project-delivery": self._projector(DELIVERY, to).run,
            "project-signals": self._projector(SIGNALS, to).run,
            "dispatcher": Dispatcher(
                log=to.log,
                store=to.store,
                keys=to.keys,
                bus=to.bus,
                models=self.models,
                watermark=self.watermark,
                clock=self.clock,
            ).run,
            "feeder": self._feeder(to).run,
            "scheduler": Scheduler(log=to.log).run,
            "due": DueMessages(log=to.log, bus=to.bus).run,
            "overdue": OverdueMessages(bus=to.bus, models=self.models, clock=self.clock).run,
            "feedback": Feedback(log=to.log, bus=to.bus, clock=self.clock).run,
            "retrier": Retrier(log=to.log, keys=to.keys, models=self.models, clock=self.clock).run,
            "settler": Settler(log=to.log, bus=to.bus, gather_s=0.0, **with_models).run,  # type: ignore[arg-type]
            "erasure": Erasure(log=to.log, bus=to.bus, keys=to.keys, **with_models).run,  # type: ignore[arg-type]
            "resolver": ContactResolver(log=to.log, resolver=self._resolver(to)).run,
            "expired-writer": ExpiredWriter(log=to.log, resolver=self._resolver(to)).run,
            "contact-id-writer": ContactIdWriter(log=to.log, bus=to.bus, **with_models).run,  # type: ignore[arg-type]
            "clients-maintainer": ClientsMaintainer(log=to.log, bus=to.bus).run,
            "taken-tokens": TakenTokens(log=to.log, bus=to.bus, **with_models).run,  # type: ignore[arg-type]
            "clicks": Clicks(log=to.log, sid_key=SID_KEY).run,
            "triggers": Triggers(log=to.log, store=to.store, bus=to.bus, apps=StoredApps(to.store, IDS)).run,
            "client-states": ClientStates(
                log=to.log,
                states=MemoryStates(self.streams, to.life),
                clock=self.clock,
                kept=timedelta(days=7),
            ).run,
            "suite-updater": self._suite_updater(to).run,
            "suite-activity": self._suite_activity(to).run,
        }
        await builders[role]()

    def _feeder(self, to: Connection) -> Feeder:
        return Feeder(
            log=to.log,
            feed=MemoryFeedLog(self.streams, to.life, at_once=self.frames_at_once),
            lease=MemoryLease(self.streams, "feeder", to.life),
            store=to.store,
            ids=IDS,
            clock=self.clock,
            again_s=0.0,
        )

    def _resolver(self, to: Connection) -> Resolver:
        data = ScriptedContactData(self.contact_book, life=to.life)
        return Resolver(
            log=to.log, store=to.store, bus=to.bus, data=data, clock=self.clock, note=self.resolved.note
        )

    def _suite_updater(self, to: Connection) -> SuiteUpdater:
        return SuiteUpdater(
            log=to.log,
            store=to.store,
            apps=OwnApps(to.store, IDS),
            models=self.models,
            watermark=self.watermark,
            updates=ScriptedUpdates(self.suite_queue, life=to.life),
        )

    def _suite_activity(self, to: Connection) -> SuiteActivity:
        updates = ScriptedUpdates(self.suite_queue, life=to.life)
        return SuiteActivity(log=to.log, store=to.store, apps=OwnApps(to.store, IDS), updates=updates)

    def _projector(self, stream: str, to: Connection) -> Projector:
        generations = [(each, self.models.generation(each.name, to.life)) for each in ALL]
        return Projector(to.log, stream, generations, self.watermark)

    def _channel(self, channel: str, to: Connection, name: str) -> ChannelProcess:
        gateway = ScriptedGateway(channel, self.provider(channel), slice_size=self.slice_size, life=to.life)
        return ChannelProcess(
            log=to.log,
            keys=to.keys,
            gateway=gateway,
            name=name,
            clock=self.clock,
            apps=self.senders,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        """By the manual clock."""
        until = self.clock.now.timestamp() + seconds
        while self.clock.now.timestamp() < until:
            await self.streams.changed()

    async def quiet(self) -> None:
        """Returns when nothing is going on any more at this time of the clock; the dead are replaced."""
        turns, seen = 0, -1
        while turns < QUIET_TURNS:
            await asyncio.sleep(0)
            turns = turns + 1 if self.streams.activity == seen else 0
            seen = self.streams.activity
            self.assert_running()
            for each in [each for each in self.running if each.connection.life.dead.is_set()]:
                await self.stop(each)
                self.start(each.role)
                self.deaths += 1
                turns = 0

    async def until(self, reached: Callable[[], bool], *, hours: float = 48.0) -> None:
        """Let time pass, from one thing that is due to the next, until a condition holds."""
        end = self.clock.now.timestamp() + hours * 3600
        while True:
            await self.quiet()
            if reached():
                return
            due = self.streams.next_due()
            assert due is not None, "nothing is left to happen, and the condition does not hold"
            assert due.timestamp() < end, "the condition did not come to hold in time"
            self.clock.move_to(max(due, self.clock.now))

    async def rest(self, *, hours: float = 48.0) -> None:
        """Let time pass until nothing is left to do."""
        await self.until(lambda: self.streams.next_due() is None, hours=hours)

    def assert_running(self) -> None:
        """A process that broke is a failure of the test, with its own error."""
        for each in self.running:
            if each.task.done():
                each.task.result()
                raise AssertionError(f"{each.role} came to an end")

    def facts(self, stream: str, subject: str = ">") -> list[Recorded]:
        found = self.streams.on_subject(stream, subject)
        return [self.own.log.unpack(stream, stored) for stored in found]

    def bodies[B](self, stream: str, kind: type[B]) -> list[B]:
        """Those facts of a stream that are of a kind."""
        return [fact.body for fact in self.facts(stream) if isinstance(fact.body, kind)]


WORKERS = ("dispatcher", "feeder", "scheduler", "due", "feedback", "retrier", "settler", "erasure")

ROLES = ("project-events", "project-delivery", *WORKERS)

RESOLUTION = ("resolver", "expired-writer", "contact-id-writer", "clients-maintainer", "suite-updater")


@asynccontextmanager
async def world(*channels: str, roles: Sequence[str] = ROLES, slice_size: int = 2) -> AsyncIterator[World]:
    """A world with the given processes at work, stopped in the end."""
    made = World(slice_size=slice_size)
    for role in (*roles, *(f"gateway-{channel}" for channel in channels)):
        made.start(role)
    try:
        yield made
    finally:
        for running in list(made.running):
            await made.stop(running)
