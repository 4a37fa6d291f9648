"""Leases over a real log: one holder at a time, and none that was suspended."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from domain.errors import Conflict
from infra.log.log import JetStreamLog
from infra.nats.leases import ANSWER_S_MAX, TRY_S, Lease
from infra.nats.streams import LEASE_S
from infra.readstore.opening import read_store
from processes.models import filling
from projections.contacts import Contacts
from tests.memory.site import PATIENCE_S


async def _taken(lease: Lease) -> bool:
    async with asyncio.timeout(PATIENCE_S):
        return await lease.take()


async def test_one_holds_it_until_it_gives_it_back(log: JetStreamLog) -> None:
    """The next one has it at its next look, long before it would have ended; the first one knows."""
    stop = asyncio.Event()
    first, second = Lease(log.js, "x", stop), Lease(log.js, "x", stop)
    assert await _taken(first)
    waiting = asyncio.create_task(_taken(second))
    await first.give_back()
    began_s = time.monotonic()
    assert await waiting
    assert time.monotonic() - began_s < TRY_S + ANSWER_S_MAX
    assert (first.is_held, second.is_held) == (False, True)


async def test_a_holder_that_was_suspended_has_stopped_before_another_begins(log: JetStreamLog) -> None:
    """Nothing has renewed it: by the holder's own clock it ends first, and keep() says so."""
    stop = asyncio.Event()
    first, second = Lease(log.js, "x", stop), Lease(log.js, "x", stop)
    assert await _taken(first)
    began_s = time.monotonic()
    assert await _taken(second)
    assert not first.is_held
    assert LEASE_S - ANSWER_S_MAX < time.monotonic() - began_s < LEASE_S + 2 * TRY_S + ANSWER_S_MAX
    async with asyncio.timeout(PATIENCE_S):
        await first.keep()
    assert second.is_held


async def test_a_kept_lease_lasts(log: JetStreamLog) -> None:
    """Renewed, it outlives its time, and who waits gets it only after that; who is told to stop waits no more."""
    stop = asyncio.Event()
    first, second = Lease(log.js, "x", asyncio.Event()), Lease(log.js, "x", stop)
    assert await _taken(first)
    keeping, waiting = asyncio.create_task(first.keep()), asyncio.create_task(_taken(second))
    done, _ = await asyncio.wait((keeping, waiting), timeout=LEASE_S + TRY_S)
    assert not done
    assert first.is_held
    stop.set()
    assert not await waiting
    keeping.cancel()


async def test_names_are_held_apart(log: JetStreamLog) -> None:
    """Whoever holds one name is in nobody's way who wants another."""
    leases = [Lease(log.js, name, asyncio.Event()) for name in ("x", "y")]
    assert [await _taken(lease) for lease in leases] == [True, True]
    assert all(lease.is_held for lease in leases)


async def test_one_process_fills_a_generation(
    log: JetStreamLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one is refused after a moment, and may once the first one has ended."""
    monkeypatch.setattr(filling, "TAKE_S_MAX", TRY_S)
    projection = Contacts()

    def lease() -> Lease:
        return Lease(log.js, filling.lease_name(projection.name), asyncio.Event())

    async with read_store(tmp_path) as store:
        async with filling.filling(log, store, projection, lease()) as first:
            with pytest.raises(Conflict, match="another process"):
                async with filling.filling(log, store, projection, lease()):
                    pass
        async with filling.filling(log, store, projection, lease()) as second:
            assert second is first, "it was left unfinished"
