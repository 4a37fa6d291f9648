"""A process's life: signals become one stop, the second one ends it at once; memory is tuned once all is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Iterator
from typing import Final

import structlog

from infra.supervisor import Stop

log = structlog.get_logger()

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

GC_THRESHOLD: Final = 10_000
"""Collections in the hot path make much of the p99: with everything loaded frozen they are rare, and as each looks at
what has come and stayed since the last one, short: 5 ms, where 50,000 took 30.
"""

PARENT_LOOK_S: Final = 0.5


@contextlib.contextmanager
def stop_on_signals(stop: Stop) -> Iterator[None]:
    """The first SIGINT or SIGTERM sets `stop`; the second ends the process without another word."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            # Children end with their parent: they ask the kernel or look for it.
            os._exit(128 + number)
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def stop_with_parent(parent: int, stop: Stop) -> None:
    """Set `stop` once the process that started us is gone, however it ended."""
    while os.getppid() == parent:  # noqa: ASYNC110  nothing would tell us
        await asyncio.sleep(PARENT_LOOK_S)
    log.warning("parent-gone", parent=parent)
    stop.set()


def settle_memory() -> None:
    """Call once, when everything that stays is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)
