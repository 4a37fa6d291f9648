"""What the tests of stock SDKs have in common: fetching one, and waiting for what it does by itself."""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 30.0
LOOK_PAUSE_S = 0.05


class NoStockSdkError(Exception):
    """It can't run here; the message says what is missing."""


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """One process at a time fetches into this folder."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "fetch.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(name: str, command: Sequence[str], *, s_max: float, folder: Path | None = None) -> None:
    """Run what fetches. Raises NoStockSdkError."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=s_max, check=False)
    except subprocess.TimeoutExpired:
        raise NoStockSdkError(f"{name} was not done within {s_max:.0f} s") from None
    if done.returncode != 0:
        raise NoStockSdkError(f"{name} failed: {(done.stdout + done.stderr).strip()[:400]}")


async def until[T](look: Callable[[], T]) -> T:
    """What `look` finds, as soon as it finds something."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := look()):
            await asyncio.sleep(LOOK_PAUSE_S)
    return found
