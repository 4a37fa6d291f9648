"""Look-ups that are shared by whoever asks at the same time."""

from __future__ import annotations

import asyncio

import pytest

from infra.flights import Flights


class Source:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.may_answer = 0, asyncio.Event()
        self.failure: Exception | None = None

    async def look_up(self) -> int:
        self.asked += 1
        answer = self.asked
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return answer


async def test_a_thousand_who_ask_at_once_ask_once() -> None:
    """All get the one answer; who asks afterwards asks anew."""
    source, flights = Source(), Flights[str, int]()
    waiting = [asyncio.create_task(flights.share("a", source.look_up)) for _ in range(1000)]
    await asyncio.sleep(0)
    source.may_answer.set()
    assert set(await asyncio.gather(*waiting)) == {1}
    assert await flights.share("a", source.look_up) == 2


async def test_keys_do_not_wait_for_each_other() -> None:
    """A slow look-up holds up those who ask for the same alone."""
    slow, quick, flights = Source(), Source(), Flights[str, int]()
    waiting = asyncio.create_task(flights.share("slow", slow.look_up))
    quick.may_answer.set()
    assert await flights.share("quick", quick.look_up) == 1
    slow.may_answer.set()
    assert await waiting == 1
    assert len(flights) == 0


async def test_all_are_told_of_a_failure() -> None:
    """And it is not kept."""
    source, flights = Source(), Flights[str, int]()
    source.failure = ValueError("broken")
    source.may_answer.set()
    answers = await asyncio.gather(
        *(flights.share("a", source.look_up) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in answers] == [ValueError] * 3
    source.failure = None
    assert await flights.share("a", source.look_up) == 2


async def test_who_gives_up_ends_nothing_for_the_others() -> None:
    """Not even the one who asked first."""
    source, flights = Source(), Flights[str, int]()
    first = asyncio.create_task(flights.share("a", source.look_up))
    await asyncio.sleep(0)
    second = asyncio.create_task(flights.share("a", source.look_up))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.may_answer.set()
    assert await second == 1


async def test_after_a_change_a_look_up_begins_anew() -> None:
    """Who asked before gets what was under way; who asks now gets what is."""
    source, flights = Source(), Flights[str, int]()
    before = asyncio.create_task(flights.share("a", source.look_up))
    await asyncio.sleep(0)
    flights.part("a")
    after = asyncio.create_task(flights.share("a", source.look_up))
    await asyncio.sleep(0)
    source.may_answer.set()
    assert (await before, await after) == (1, 2)


async def test_closing_ends_what_is_under_way() -> None:
    """Nothing runs on behind a directory that has stopped."""
    source, flights = Source(), Flights[str, int]()
    waiting = asyncio.create_task(flights.share("a", source.look_up))
    await asyncio.sleep(0)
    flights.part("a")
    await flights.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
