"""The newest messages of one shop as a RES collection, and the events that take a mirror of it along. Pure."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import NamedTuple

LAST = 50
"""Updates in a collection: what a merchant's page shows at once; older ones are in the archive."""


class Item(NamedTuple):
    """One value of a collection; sorts as the collection does: by the till's time, then as published."""

    created_us: int
    position: int
    body: bytes

    @property
    def value(self) -> bytes:
        return b'{"data":' + self.body + b"}"


class Ring:
    """The newest LAST items of one shop. Gateways mirror it as soon as it is loaded."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.is_loaded = False
        self.lock = asyncio.Lock()

    def add(self, item: Item) -> list[tuple[str, bytes]]:
        """Put it in its place; the events that tell so. Once is enough."""
        index = bisect_left(self.items, item[:2], key=lambda held: held[:2])
        if index < len(self.items) and self.items[index].position == item.position:
            return []
        if index == 0 and len(self.items) == LAST:
            return []
        self.items.insert(index, item)
        events = [("add", b'{"value":' + item.value + b',"idx":%d}' % index)]
        if len(self.items) > LAST:
            del self.items[0]
            events.append(("remove", b'{"idx":0}'))
        return events

    def result(self) -> bytes:
        return b'{"result":{"collection":[' + b",".join([item.value for item in self.items]) + b"]}}"
