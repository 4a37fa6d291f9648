"""The block of a stream that a projection is in: what its facts have written so far, until it can be summed.

Owns when a block is finished. Never writes; what a block comes to is the projection's (projections.port.Summing).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from domain.recorded import Recorded
from processes.port import Log
from projections.port import Projection, Put, Summing, Write, singly

READ_AT_ONCE = 1_000
Project = Callable[[Recorded], Awaitable[Sequence[Write]]]


class OpenBlock:
    """One generation's. after: the position that has been applied. is_whole: nothing of the block is missing."""

    def __init__(self, summing: Summing, after: int) -> None:
        self._summing = summing
        self._puts: list[Put] = []
        self.number = (after + 1) // summing.block
        self.is_whole = True

    @property
    def first(self) -> int:
        """The first position of the block."""
        return self.number * self._summing.block

    def sums(self, writes: Sequence[Write], position: int) -> list[Write]:
        """Of the blocks that are finished at a position, when these writes are made. Changes nothing here."""
        found: list[Write] = []
        for number in range(self.number, self._block_after(position)):
            if number == self.number and not self.is_whole:
                found += self._summing.unsummed(number)
                continue
            puts = [put for put in (*self._puts, *self._summed(writes)) if self._block(put) == number]
            found += self._summing.sums(number, puts)
        return found

    def keep(self, writes: Iterable[Write], position: int) -> None:
        """These have been made, up to a position."""
        after = self._block_after(position)
        if after > self.number:
            self.number, self.is_whole = after, True
            self._puts = []
        self._puts += [put for put in self._summed(writes) if self._block(put) == after]

    def _summed(self, writes: Iterable[Write]) -> list[Put]:
        return [put for put in singly(writes) if isinstance(put, Put) and put.table is self._summing.summed]

    def _block(self, put: Put) -> int:
        return put.position // self._summing.block

    def _block_after(self, position: int) -> int:
        return (position + 1) // self._summing.block


async def open_block(
    log: Log, stream: str, projection: Projection, after: int, project: Project
) -> OpenBlock | None:
    """The block after a position, with what the facts before have written; None when the projection sums nothing.

    project: the writes of a fact, none of one that has been put aside.
    """
    if not isinstance(projection, Summing) or projection.blocks_of != stream:
        return None
    block = OpenBlock(projection, after)
    read = before = max(block.first - 1, 0)
    while read < after:
        facts = await log.read(stream, ">", after=read, limit=READ_AT_ONCE)
        # The log may have forgotten how the block began; positions are missing nowhere else.
        if not facts or (read == before and facts[0].position > before + 1):
            block.is_whole = False
        if not facts:
            break
        for fact in facts:
            if fact.position <= after:
                block.keep(await project(fact), fact.position)
        read = facts[-1].position
    return block
