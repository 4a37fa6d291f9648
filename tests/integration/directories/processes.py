"""Processes on one log, each with its directory of apps: what the directory's tests play with."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from commands.apps import ChangeApp, RegisterApp
from commands.bus import Bus
from domain.app import AppFacts
from domain.app_settings import AppSettings
from domain.context import Context
from domain.errors import Unavailable
from domain.ids import Ids
from domain.message import Content
from infra.apps.directory import FollowedApps
from infra.apps.lookups import Level
from infra.apps.shared import SharedApps
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.lookups.directory import FollowedThreads
from infra.lookups.own_directories import OwnApps
from infra.lookups.removals import RememberedRemovals
from infra.nats.server import NatsServer
from processes.directories import AppMetadata
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.integration.log.scenes import until

IDS = Ids(b"an id key for tests, of 32 bytes")
REALM = "main"
BEHIND_S_MAX = 1.0


class Counting:
    """A source that says how often it was asked. away: it does not answer. held: it answers once this is set."""

    def __init__(self, source: AppMetadata) -> None:
        self._source, self.asked, self.away = source, 0, False
        self.held: asyncio.Event | None = None

    async def app(self, code: str) -> AppFacts | None:
        self.asked += 1
        if self.away:
            raise Unavailable("the source is away")
        found = await self._source.app(code)
        if self.held is not None:
            await self.held.wait()
        return found


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def carries_anything(content: Content, channels: object, **_more: object) -> None:
    """commands.port.ContentCheck."""


class Process:
    """One process on the log: its bus, and its directory of apps."""

    def __init__(self, log: JetStreamLog, source: AppMetadata | None = None, **options: int) -> None:
        self.log, self.clock = log, Clock()
        on_reconnect = log.js.connection.on_reconnect
        self.source = Counting(source or OwnApps(log.events, IDS))
        self.wall_s = time.time()
        self.shared = SharedApps(log.js, now_s=lambda: self.wall_s)
        self.apps = FollowedApps(
            log, self.source, self.shared, IDS, on_reconnect=on_reconnect, now_s=self.clock, **options
        )
        self.bus = Bus(
            store=log.events,
            threads=FollowedThreads(
                log, log.events, RememberedRemovals(log.events), on_reconnect=on_reconnect
            ),
            check=carries_anything,
            ids=IDS,
            clock=lambda: datetime.now(UTC),
            nonce=lambda: secrets.token_hex(16),
        )

    async def do(self, command: msgspec.Struct) -> None:
        await self.bus.execute(command, Context(REALM, "boss", "", ""))

    async def do_and_hear(self, command: msgspec.Struct) -> None:
        """Return once this process has heard of it."""
        changes = self.apps._changes
        await self.do(command)
        await until(said(lambda: self.apps._changes > changes))

    async def name(self, code: str = "SHOP") -> str | None:
        """The app's name as this process has it; None when there is no such app."""
        facts = await self.apps.app(code)
        return None if facts is None else facts.settings.name

    def count(self, level: Level) -> int:
        return self.apps.lookups.count(level)

    async def remembers(self, code: str = "SHOP") -> bool:
        before = self.count(Level.MEMORY)
        await self.apps.app(code)
        return self.count(Level.MEMORY) > before


@contextlib.asynccontextmanager
async def following(process: Process) -> AsyncIterator[Process]:
    """Its directory follows the log."""
    task = asyncio.create_task(process.apps.run())
    try:
        await until(lambda: process.remembers("WARM-UP"))
        process.source.asked = 0
        yield process
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def another(server: NatsServer, *, url: str | None = None) -> AsyncIterator[Process]:
    async with (
        open_log(log_config(server, url=url), master_key=MASTER_KEY) as log,
        following(Process(log)) as process,
    ):
        yield process


def register(name: str = "Shop", code: str = "SHOP") -> RegisterApp:
    return RegisterApp(code=code, settings=AppSettings(merchant=REALM, name=name))


def change(name: str) -> ChangeApp:
    return ChangeApp(code="SHOP", settings=AppSettings(merchant=REALM, name=name))


async def seen(look: Callable[[], Awaitable[str | None]], wanted: str | None) -> float:
    """How long it took until a look saw it, in seconds."""
    began_s = time.monotonic()

    async def has_come() -> bool:
        return await look() == wanted

    await until(has_come)
    return time.monotonic() - began_s


def said(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return condition()

    return asked
