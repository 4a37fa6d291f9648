"""FEED as a feeder writes it, as every implementation has to be: each append behind an end that it names."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from commands.port import VersionConflict
from domain.errors import TooLarge
from domain.recorded import EVENTS, Checkpoint
from processes.port import Frame
from tests.conformance.doors import BACKENDS, Doors, open_doors

LARGE = bytes(1 << 24)


@pytest.fixture(params=BACKENDS)
def doors(request: pytest.FixtureRequest) -> Doors:
    return open_doors(request)


def frames(*indices: int, position: int = 7) -> list[Frame]:
    return [
        Frame(
            subject=f"feed.contact.{UUID(int=index).hex}",
            body=b'{"n":%d}' % index,
            message="m",
            position=position,
            index=index,
            correlation="corr %",
        )
        for index in indices
    ]


async def test_the_end_says_what_the_last_frame_shows(doors: Doors) -> None:
    """Its event's position and its place among that event's frames, as they were given; of an empty feed nothing."""
    tail = await doors.feed.tail()
    assert (tail.end, tail.last) == (0, None)
    assert await doors.feed.append(frames(0), after=0) == 1
    assert await doors.feed.append(frames(1, 2, 3), after=1) == 4
    tail = await doors.feed.tail()
    assert (tail.end, tail.last) == (4, frames(3)[0])


@pytest.mark.parametrize("count", [1, 2, 3, 40, 700])
async def test_frames_count_behind_the_end_they_name_alone(doors: Doors, count: int) -> None:
    """Behind another one, earlier or later, nothing is stored, of one frame or of many."""
    wanted = frames(*range(count))
    assert await doors.feed.append(wanted, after=0) == count
    for wrong in (0, count - 1, count + 1):
        with pytest.raises(VersionConflict):
            await doors.feed.append(frames(*range(count), position=8), after=wrong)
    tail = await doors.feed.tail()
    assert (tail.end, tail.last) == (count, wanted[-1])


async def test_of_two_at_once_one_is_stored(doors: Doors) -> None:
    """Whole, and the other one is told; many times over."""
    end = 0
    for turn in range(20):
        both = [doors.feed.append(frames(*range(n + 1), position=turn + 1), after=end) for n in (turn % 4, 2)]
        results = await asyncio.gather(*both, return_exceptions=True)
        stored = [result for result in results if isinstance(result, int)]
        assert [type(result) for result in results if result not in stored] == [VersionConflict]
        [end] = stored
        assert (await doors.feed.tail()).end == end


async def test_what_no_append_takes_is_told_before(doors: Doors) -> None:
    """So that one message is put aside, and not all that go with it."""
    doors.feed.assert_fits(b"{}")
    with pytest.raises(TooLarge):
        doors.feed.assert_fits(LARGE)


async def test_the_last_note_counts(doors: Doors) -> None:
    """None at first."""
    assert await doors.feed.noted() is None
    for position in (3, 9):
        await doors.feed.note(Checkpoint(EVENTS, position, "epoch", "digest"))
        assert await doors.feed.noted() == Checkpoint(EVENTS, position, "epoch", "digest")
