"""Memory of an idle `msgxc serve`, without nats-server, beside a bare Starlette process.

make bench-memory         or: .venv/bin/python bench/memory.py
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.rig.machine import machine
from bench.rig.serving import bare_route, child, environment, free_port

IDLE_S = 5.0
READY_S_MAX = 30.0


def resident_mib(pid: int) -> float:
    """What the kernel says the process holds in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        settings = environment(Path(name), MSGXC_HTTP_PORT=str(port))
        command = [sys.executable, "-m", "cli", "serve"]
        async with child(command, settings, port) as pid, bare_route(free_port()) as bare:
            async with asyncio.timeout(READY_S_MAX):
                while not await asyncio.to_thread(is_ready, port):  # noqa: ASYNC110  nothing would tell us
                    await asyncio.sleep(0.1)
            await asyncio.sleep(IDLE_S)
            ours, reference = resident_mib(pid), resident_mib(bare.pid)
    print(f"machine: {machine()}")
    print(f"msgxc serve, idle: {ours:.0f} MiB; a bare Starlette process: {reference:.0f} MiB")
    print(f"ratio: {ours / reference:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
