"""Live pages first, and bulk pages never held up for ever."""

from __future__ import annotations

import asyncio

from processes.sending.lanes import KEPT, Lanes


class Pages:
    """Bulk pages that begin as soon as they may, and end when they are told."""

    def __init__(self, lanes: Lanes, count: int) -> None:
        self.at_work = self.ended = 0
        self._lanes, self._go_on = lanes, asyncio.Semaphore(0)
        self._tasks = [asyncio.create_task(self._page()) for _ in range(count)]

    async def _page(self) -> None:
        async with self._lanes.bulk():
            self.at_work += 1
            await self._go_on.acquire()
            self.at_work -= 1
            self.ended += 1

    async def end_one(self) -> None:
        self._go_on.release()
        await settled()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def settled() -> None:
    """Whoever can go on has done so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_without_live_pages_all_bulk_pages_are_at_work() -> None:
    """They hold up only each other's worker, not themselves."""
    pages = Pages(Lanes(), 4)
    await settled()
    assert pages.at_work == 4
    await pages.stop()


async def test_beside_live_pages_bulk_pages_go_on_one_by_one() -> None:
    """However many live pages there are, and although they never stop coming: all bulk pages come to their end."""
    lanes = Lanes()
    with lanes.live(), lanes.live():
        pages = Pages(lanes, 5)
        for ended in range(5):
            await settled()
            assert (pages.at_work, pages.ended) == (KEPT, ended)
            await pages.end_one()
        assert pages.ended == 5


async def test_bulk_pages_go_on_together_when_the_last_live_one_has_ended() -> None:
    """Those that waited begin at once; live ones that come now wait for nobody."""
    lanes = Lanes()
    with lanes.live():
        with lanes.live():
            pages = Pages(lanes, 4)
            await settled()
        assert pages.at_work == KEPT
    await settled()
    assert pages.at_work == 4
    with lanes.live():
        await pages.end_one()
        assert pages.at_work == 3
    await pages.stop()


async def test_a_bulk_page_that_is_cancelled_gives_its_place_back() -> None:
    """Waiting or at work."""
    lanes = Lanes()
    with lanes.live():
        first = Pages(lanes, 2)
        await settled()
        await first.stop()
        second = Pages(lanes, 1)
        await settled()
        assert second.at_work == 1
        await second.stop()
