"""A headless Chromium, driven by its own protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect

START_S_MAX = 30.0
PATIENCE_S = 10.0
EVENTS_MAX = 1_000


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_MAX)
        """What the browser said unasked while something was asked, the newest."""

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said = json.loads(await self._socket.recv())
                if said.get("id") == number:
                    assert "error" not in said, said
                    return said["result"]
                self.events.append(said)

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Return when the expression is true; fail when it is not for too long. A page still loading is not."""
        tried = f"(() => {{ try {{ return {expression} }} catch {{ return false }} }})()"
        async with asyncio.timeout(PATIENCE_S):
            while not await self.value(tried):
                await asyncio.sleep(0.01)


class Browser:
    def __init__(self, port: int) -> None:
        self._port = port

    @asynccontextmanager
    async def page(self, url: str) -> AsyncIterator[Page]:
        address = f"http://127.0.0.1:{self._port}/json/new?about:blank"
        made = await asyncio.to_thread(lambda: json.load(urlopen(Request(address, method="PUT"))))
        async with connect(made["webSocketDebuggerUrl"], max_size=None) as socket:
            page = Page(socket)
            await page.call("Page.navigate", url=url)
            yield page

    @asynccontextmanager
    async def worker(self, url: str) -> AsyncIterator[Page]:
        """The service worker of this address, which must run; it goes on running while it is watched."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await asyncio.to_thread(self._worker, url)):
                await asyncio.sleep(0.05)
        async with connect(found, max_size=None) as socket:
            yield Page(socket)

    def _worker(self, url: str) -> str | None:
        """Where it can be talked to."""
        listed = json.load(urlopen(f"http://127.0.0.1:{self._port}/json/list"))
        ours = (each for each in listed if each["type"] == "service_worker" and each["url"] == url)
        return next((str(each["webSocketDebuggerUrl"]) for each in ours), None)


@asynccontextmanager
async def chromium(folder: Path, *arguments: str) -> AsyncIterator[Browser]:
    """arguments: beside the usual ones. Skips the test, loudly, where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("NO BROWSER WAS TRIED: install chromium")
    process = await asyncio.create_subprocess_exec(
        program,
        "--headless=new",
        "--no-sandbox",  # as root, in a test
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "--no-first-run",
        *arguments,
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Browser(await _port(folder / "DevToolsActivePort"))
    finally:
        process.terminate()
        await process.wait()


async def _port(file: Path) -> int:
    """The browser writes it down once it listens."""
    async with asyncio.timeout(START_S_MAX):
        while not (said := _content(file)):
            await asyncio.sleep(0.05)
    return int(said.splitlines()[0])


def _content(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""
