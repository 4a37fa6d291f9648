"""Starts what the benchmarks measure, as children on free loopback ports, and ends it again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from infra.nats.server import NatsServer

ROOT = Path(__file__).parents[2]
READY_S_MAX = 30.0
STOP_S_MAX = 15.0


class Running(NamedTuple):
    """A child that listens on `port`."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """Processor time that it has used so far, in seconds: says more than the clock on a machine that is shared."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """No setting of the caller's own environment reaches a benchmark."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MSGXC_")}
    return {**clean, "MSGXC_DATA_DIR": str(folder / "data"), "MSGXC_HTTP_HOST": "127.0.0.1", **settings}


@asynccontextmanager
async def api_alone(folder: Path, server: NatsServer, **further: str) -> AsyncIterator[Running]:
    """One API process on the given nats-server, and nothing else. further: settings."""
    port = free_port()
    settings = environment(
        folder,
        MSGXC_HTTP_PORT=str(port),
        MSGXC_NATS_URL=f"nats://{server.token}@{server.url.partition('//')[2]}",
        MSGXC_NATS_SYNC=server.config.sync,
        MSGXC_RATE_PER_MINUTE="100000000",
        **further,
    )
    async with child([sys.executable, "-m", "cli", "api"], settings, port) as pid:
        yield Running(port, pid)


@asynccontextmanager
async def bare_route(port: int) -> AsyncIterator[Running]:
    """A Starlette route that reads its body and answers true, under the same uvicorn settings."""
    async with child(
        [sys.executable, str(ROOT / "bench" / "rig" / "bare.py"), str(port)], dict(os.environ), port
    ) as pid:
        yield Running(port, pid)


@asynccontextmanager
async def child(command: list[str], settings: Mapping[str, str], port: int) -> AsyncIterator[int]:
    """A process that listens on `port`; its pid. It gets SIGTERM at the end, and SIGKILL if that is not enough."""
    process = await asyncio.create_subprocess_exec(*command, env=dict(settings), cwd=ROOT)
    try:
        async with asyncio.timeout(READY_S_MAX):
            while not await _listens(port):
                if process.returncode is not None:
                    raise RuntimeError(f"{command[-1]} ended with {process.returncode}")
                await asyncio.sleep(0.05)
        yield process.pid
    finally:
        await _end(process)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def token_for(folder: Path, uid: str, *roles: str) -> str:
    """A token as an operator makes it."""
    command = [sys.executable, "-m", "cli", "token", "--uid", uid, "--ttl", "1h"]
    for role in roles:
        command += ["--role", role]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(folder), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode().strip()
