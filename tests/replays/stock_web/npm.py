"""The stock SDK as npm has it, fetched once. Starts nothing."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(__file__).parents[3] / ".cache" / "stock-web"
"""Within the working copy, where git ignores it."""
WANTED = ("package.json", "package-lock.json")
FETCH_S_MAX = 300.0


class NoStockSdkError(Exception):
    """It can't run here; the message says what is missing."""


def node_modules() -> Path:
    """The folder with the SDK and what it needs, as the lock says. Several processes may ask at once."""
    npm = shutil.which("npm")
    if npm is None:
        raise NoStockSdkError("there is no npm on the PATH")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(_is_as_wanted(name) for name in WANTED):
            _fetch(npm)
    return CACHE / "node_modules"


def _is_as_wanted(name: str) -> bool:
    file = CACHE / name
    return file.exists() and file.read_bytes() == (HERE / name).read_bytes()


def _fetch(npm: str) -> None:
    """What is wanted is noted last, so that a fetch that was broken off is made again."""
    folder = CACHE / "fetching"
    folder.mkdir(exist_ok=True)
    for name in WANTED:
        shutil.copy(HERE / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoStockSdkError(f"npm ci took more than {FETCH_S_MAX:.0f} s") from None
    if done.returncode:
        raise NoStockSdkError(f"npm ci failed: {' '.join(done.stderr.split())[-400:]}")
    shutil.rmtree(CACHE / "node_modules", ignore_errors=True)
    (folder / "node_modules").rename(CACHE / "node_modules")
    for name in WANTED:
        shutil.copy(folder / name, CACHE)
