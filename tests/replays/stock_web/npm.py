"""The stock SDK as npm has it, fetched once. Starts nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.replays.stock import NoStockSdkError, fetch, locked

HERE = Path(__file__).parent
CACHE = Path(__file__).parents[3] / ".cache" / "stock-web"
"""Within the working copy, where git ignores it."""
WANTED = ("package.json", "package-lock.json")
FETCH_S_MAX = 300.0


def node_modules() -> Path:
    """The folder with the SDK and what it needs, as the lock says. Several processes may ask at once."""
    npm = shutil.which("npm")
    if npm is None:
        raise NoStockSdkError("there is no npm on the PATH")
    with locked(CACHE):
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
    fetch("npm ci", command, s_max=FETCH_S_MAX, folder=folder)
    shutil.rmtree(CACHE / "node_modules", ignore_errors=True)
    (folder / "node_modules").rename(CACHE / "node_modules")
    for name in WANTED:
        shutil.copy(folder / name, CACHE)
