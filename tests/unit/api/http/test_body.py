"""Bodies are bounded in time: one that dribbles is given up, others are not concerned."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.access.limits import BODY_BYTES_MAX as USUAL_BYTES_MAX
from api.emarsys.device_events.events import BODY_BYTES_MAX
from api.emarsys.dialect import V3, V4
from api.http.body import BODY_WAIT_S_MAX, BodyReader, BodyTooSlow, ClientGone, body_wait_s
from domain.errors import TooLarge


def arriving(*messages: dict[str, Any]) -> Any:
    """An ASGI receive that gives these, then waits for ever."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


async def test_a_body_that_does_not_arrive_is_given_up() -> None:
    """After the time for a body the caller is told so, whether nothing or half of it came."""
    reader = BodyReader(wait_s=0.05)
    half = {"type": "http.request", "body": b"{", "more_body": True}
    async with asyncio.timeout(2):
        for receive in (arriving(), arriving(half)):
            with pytest.raises(BodyTooSlow, match="did not arrive"):
                await reader.read({}, receive)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


@pytest.mark.parametrize("dialect", [V3(), V4()])
def test_a_device_whose_network_is_slow_keeps_what_it_has_gathered(dialect: V3 | V4) -> None:
    """408: at any other 4xx an SDK drops the whole request. What is still on its way is not read any more."""
    answer = dialect.refusal(BodyTooSlow("the body did not arrive within 64 s", field="body"))
    assert (answer.status, dict(answer.headers)) == (408, {b"connection": b"close"})


def test_a_large_body_has_the_time_that_a_poor_network_needs() -> None:
    """All that a device may have gathered, at 32 KiB a second; nobody has less than usual, or more than that."""
    assert body_wait_s(BODY_BYTES_MAX) == body_wait_s(8 << 20) == 64
    assert body_wait_s(USUAL_BYTES_MAX) == body_wait_s(0) == BODY_WAIT_S_MAX


async def test_a_slow_body_does_not_concern_the_others() -> None:
    """Bodies that are there are read at once, and in pieces; a caller that hangs up is no error of ours."""
    reader = BodyReader(wait_s=0.05)
    slow = asyncio.create_task(reader.read({}, arriving()))
    pieces = [
        {"type": "http.request", "body": part, "more_body": part != b"c"} for part in (b"a", b"b", b"c")
    ]
    assert await reader.read({}, arriving(*pieces)) == b"abc"
    with pytest.raises(ClientGone):
        await reader.read({}, arriving({"type": "http.disconnect"}))
    with pytest.raises(BodyTooSlow):
        await slow


def in_pieces(count: int) -> list[dict[str, Any]]:
    return [{"type": "http.request", "body": b"x", "more_body": left > 0} for left in reversed(range(count))]


@pytest.mark.parametrize("headers", [{}, {b"content-length": b"8"}])
async def test_the_rest_of_a_large_body_is_passed_over(headers: dict[bytes, bytes]) -> None:
    """Refused once all of it came: who is still sending would lose the answer. Up to a bound, and for a time."""
    reader = BodyReader(wait_s=0.05, passes_over=5)
    receive = arriving(*in_pieces(8))
    with pytest.raises(TooLarge):
        await reader.read(headers, receive, bytes_max=3)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await receive()  # nothing is left
    endless = arriving(*in_pieces(20))
    with pytest.raises(TooLarge):
        await reader.read({}, endless, bytes_max=3)
    assert await endless()
    for said, some in (({}, 6), ({b"content-length": b"8"}, 2)):
        with pytest.raises(TooLarge):
            await reader.read(said, arriving(*in_pieces(8)[:some]), bytes_max=3)
    assert await reader.read({}, arriving(*in_pieces(3)), bytes_max=3) == b"xxx"


@pytest.mark.parametrize(
    "headers", [{b"content-length": b"9"}, {b"content-length": b"8", b"expect": b"100-continue"}]
)
async def test_what_nobody_has_begun_to_send_is_refused_at_once(headers: dict[bytes, bytes]) -> None:
    """And what would be too much even to pass over."""
    with pytest.raises(TooLarge):
        await BodyReader(passes_over=5).read(headers, arriving(), bytes_max=3)


async def test_a_cancelled_request_stays_cancelled() -> None:
    """A server that shuts down cancels what it runs; that is not taken for a slow body."""
    reader = BodyReader()
    reading = asyncio.create_task(reader.read({}, arriving()))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize("announced", ["\xb2".encode("latin-1"), b"9" * 5_000, b"-1", b""])
async def test_a_size_that_is_none_counts_for_nothing(announced: bytes) -> None:
    """What comes is counted anyway."""
    body = {"type": "http.request", "body": b"{}", "more_body": False}
    assert await BodyReader().read({b"content-length": announced}, arriving(body)) == b"{}"
