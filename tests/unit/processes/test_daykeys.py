"""The keys of days: kept while a dispatch may need them, destroyed when none can."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from processes.daykeys import FIRST_LOOK_DAYS, KEPT_DAYS, DayKeys
from processes.sealing import day_key
from tests.memory.clock import START, ManualClock
from tests.memory.ports.keys import MemoryKeyStore


async def test_a_day_key_lives_thirty_five_days_and_no_longer() -> None:
    """Old ones are destroyed at the start, whatever the gaps between them; a day without a key gets none."""
    keys, clock = MemoryKeyStore(), ManualClock()
    ages = (0, 1, KEPT_DAYS, KEPT_DAYS + 1, KEPT_DAYS + 3, KEPT_DAYS + FIRST_LOOK_DAYS)
    names = {age: day_key(START - timedelta(days=age)) for age in ages}
    for name in names.values():
        await keys.key(name, create=True)
    running = asyncio.create_task(DayKeys(keys=keys, clock=clock).run())
    try:
        async with asyncio.timeout(5):
            while sum(key is None for key in keys.vault.held.values()) < 3:
                await asyncio.sleep(0)
    finally:
        running.cancel()
        await asyncio.wait((running,))
    assert {age for age, name in names.items() if keys.vault.held[name]} == {0, 1, KEPT_DAYS}
    assert set(keys.vault.held) == set(names.values())


async def test_each_day_the_next_key_goes() -> None:
    """From then on a short look is enough."""
    keys, clock = MemoryKeyStore(), ManualClock()
    name = day_key(START)
    await keys.key(name, create=True)
    clock.advance(KEPT_DAYS * 86_400.0)
    tidier = DayKeys(keys=keys, clock=clock)
    await tidier.tidy(1)
    assert keys.vault.held[name]
    clock.advance(86_400.0)
    await tidier.tidy(1)
    assert keys.vault.held[name] is None
