"""Two dispatch processes and open sockets: what is shown has the order of the log, also when one is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from uuid import uuid1, uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.fixtures.exchange import RunningExchange

pytestmark = pytest.mark.long

SOCKETS = 3
MESSAGES = 150
PATIENCE_S = 30.0
TID = "order"


@contextmanager
def dispatching(exchange: RunningExchange) -> Iterator[subprocess.Popen[bytes]]:
    """One more dispatch process, beside those that the exchange has."""
    with (exchange.folder / "dispatch.out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "dispatch"],
            cwd=exchange.folder,
            env=exchange.environment,
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def listen(exchange: RunningExchange, opened: AsyncExitStack, token: str) -> ClientConnection:
    address = exchange.address.replace("http", "ws", 1)
    socket = await opened.enter_async_context(connect(f"{address}/api/v2/connect/{uuid4()}/{uuid1()}"))
    await socket.send(json.dumps({"slug": "/api/v2/subscribe/thread", "tid": TID, "jwt": token}))
    assert json.loads(await socket.recv())["ok"] is True
    return socket


async def heard(socket: ClientConnection, count: int) -> list[str]:
    """The messages that come, by id."""
    mids: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(mids) < count:
            frame = json.loads(await socket.recv())
            if "msg" in frame:
                mids.append(frame["mid"])
    return mids


async def publish(client: httpx.AsyncClient, count: int) -> None:
    """All of them at once."""
    calls = (client.post("/api/v2/publish", json={"tid": TID, "msg": f"number {n}"}) for n in range(count))
    for answer in await asyncio.gather(*calls):
        assert answer.status_code == 200, answer.text


async def test_sockets_show_the_order_of_the_log(exchange: RunningExchange) -> None:
    """Messages at once, then the dispatch process that feeds is killed amid more: each once, in the log's order."""
    exchange.start("--processes")
    admin = exchange.token("ops", "admin")
    headers = {"authorization": f"Bearer {admin}"}
    with dispatching(exchange):
        async with AsyncExitStack() as opened:
            client = await opened.enter_async_context(
                httpx.AsyncClient(base_url=exchange.address, headers=headers, timeout=20)
            )
            answer = await client.post("/api/v2/threads", json={"tid": TID, "opens": True})
            assert answer.status_code in {200, 201}, answer.text
            sockets = [await listen(exchange, opened, admin) for _ in range(SOCKETS)]
            await publish(client, MESSAGES)
            publishing = asyncio.create_task(publish(client, MESSAGES))
            [feeding] = [pid for pid in exchange.family() if " dispatch " in exchange.program(pid)]
            os.kill(feeding, signal.SIGKILL)
            await publishing
            shown = [await heard(socket, 2 * MESSAGES) for socket in sockets]
    accepted = exchange.facts("--topic", "message.accepted")
    wanted = [fact["subject"].rpartition(".")[2] for fact in sorted(accepted, key=lambda f: f["position"])]
    assert len(wanted) == 2 * MESSAGES
    for mids in shown:
        assert [mid.replace("-", "") for mid in mids] == wanted
    assert exchange.stop() == 0
