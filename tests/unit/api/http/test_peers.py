"""What is done for a peer: as long as it is there, and no longer."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from api.http.peers import while_there
from tests.memory.site import PATIENCE_S


class Peer:
    """Sends something, and hangs up once it is told to."""

    def __init__(self) -> None:
        self._sent = asyncio.Queue[Message]()
        self._sent.put_nowait({"type": "http.request"})
        self.is_heard = True

    async def receive(self) -> Message:
        try:
            return await self._sent.get()
        except asyncio.CancelledError:
            self.is_heard = False
            raise

    def hang_up(self) -> None:
        self._sent.put_nowait({"type": "http.disconnect"})


async def test_what_is_done_ends_with_the_peer() -> None:
    """Wherever it waits, without an error; what comes behind it goes on."""
    peer, ended = Peer(), False
    async with asyncio.timeout(PATIENCE_S):
        async with while_there(peer.receive, "http.disconnect"):
            try:
                peer.hang_up()
                await asyncio.Event().wait()
            finally:
                ended = True
    assert ended


@pytest.mark.parametrize("error", [None, ValueError, TimeoutError])
async def test_what_comes_to_its_own_end_is_told_as_it_is(error: type[Exception] | None) -> None:
    """A result or an error, a time-out of its own among them; and the peer is heard no more."""
    peer, raised = Peer(), None
    try:
        async with while_there(peer.receive, "http.disconnect"):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if error is not None:
                raise error
    except (ValueError, TimeoutError) as one:
        raised = type(one)
    await asyncio.sleep(0)
    assert (raised, peer.is_heard) == (error, False)


async def test_whoever_is_cancelled_by_others_stays_so() -> None:
    """A process that shuts down is not taken for a peer that has gone."""
    peer = Peer()

    async def served() -> None:
        async with while_there(peer.receive, "http.disconnect"):
            await asyncio.Event().wait()

    serving = asyncio.create_task(served())
    await asyncio.sleep(0)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_a_peer_that_goes_as_the_work_ends_harms_nothing() -> None:
    """Both at once: nobody is cancelled who has left already."""
    peer = Peer()
    for turns in range(6):
        async with while_there(peer.receive, "http.disconnect"):
            peer.hang_up()
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        peer = Peer()
