"""The stock Android SDK in a process of its own: a JVM with Robolectric, told line by line what the app does."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S_MAX = 90.0
CALL_S_MAX = 30.0
STOP_S_MAX = 20.0
MARK = b"@phone "
LINE_BYTES_MAX = 1024 * 1024


class SdkError(Exception):
    """What a completion listener was given."""


@dataclass(slots=True)
class Phone:
    """`events`: the app events that the SDK handed to the app."""

    process: Process
    events: list[str] = field(default_factory=list)
    _waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _number: int = 0

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.startswith(MARK):
                self._told(json.loads(line.removeprefix(MARK)))

    def _told(self, what: dict[str, Any]) -> None:
        if "ready" in what:
            self._ready.set()
        elif "event" in what:
            self.events.append(what["event"])
        elif (waiting := self._waiting.pop(what["call"], None)) and not waiting.done():
            if (error := what.get("error")) is not None:
                waiting.set_exception(SdkError(error))
            else:
                waiting.set_result(what.get("value"))

    async def until_ready(self) -> None:
        async with asyncio.timeout(START_S_MAX):
            await self._ready.wait()

    async def begin(self, name: str, *arguments: object) -> asyncio.Future[Any]:
        """Have the app call the SDK; the future is done when the SDK's callback says so."""
        self._number += 1
        done = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = done
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([self._number, name, *arguments]).encode() + b"\n")
        await self.process.stdin.drain()
        return done

    async def call(self, name: str, *arguments: object) -> Any:
        """And wait for the callback. Raises SdkError with what it said."""
        async with asyncio.timeout(CALL_S_MAX):
            return await (await self.begin(name, *arguments))


@asynccontextmanager
async def phone(command: list[str], log: Path) -> AsyncIterator[Phone]:
    with log.open("ab") as said:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=said, limit=LINE_BYTES_MAX
        )
        one = Phone(process)
        listening = asyncio.create_task(one.listen())
        try:
            await one.until_ready()
            yield one
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            await listening
