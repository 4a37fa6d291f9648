"""What a test expects of push addresses: who has which."""

from __future__ import annotations

from uuid import UUID


class Holdings:
    """Who has which push address, by what was told: at most one client each, the one that told it last."""

    def __init__(self) -> None:
        self.of: dict[UUID, tuple[str, str]] = {}
        self.seen: set[UUID] = set()

    def tell(self, client: UUID, channel: str, token: str) -> None:
        self.lose(client)
        self.of = {who: what for who, what in self.of.items() if what != (channel, token)}
        self.of[client] = channel, token

    def lose(self, client: UUID) -> None:
        self.of.pop(client, None)

    def move(self, source: UUID, to: UUID) -> None:
        """The device goes on as another client, and its token with it, if it still has one."""
        if (address := self.of.pop(source, None)) is not None:
            self.tell(to, *address)
