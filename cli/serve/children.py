"""Roles in processes of their own: started as the same commands an operator would use, stopped with their parent."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from infra.supervisor import DRAIN_S, Role, Stop

KILL_AFTER_S: Final = DRAIN_S + 5.0
"""A child drains as we do; one that has not ended by then never will."""


class ChildEnded(Exception):
    """A child ended without being told to; the supervisor starts it again."""


def child_roles(channels: Iterable[str]) -> list[Role]:
    commands = [("project",), ("dispatch",), ("resolve",), *(("gateway", channel) for channel in channels)]
    return [_child(command) for command in commands]


def _child(command: Sequence[str]) -> Role:
    async def run(stop: Stop) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", *command, "--with-parent", str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us, and we tell the children
        )
        await _until_ended(process, stop)

    return Role("-".join(command), run, drain_s=KILL_AFTER_S + 1.0)


async def _until_ended(process: asyncio.subprocess.Process, stop: Stop) -> None:
    ended = asyncio.ensure_future(process.wait())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            if not stop.is_set():
                raise ChildEnded(f"exit code {ended.result()}")
            return
        process.terminate()
        await asyncio.wait((ended,), timeout=KILL_AFTER_S)
    finally:
        stopping.cancel()
        if not ended.done():
            process.kill()
            await ended
