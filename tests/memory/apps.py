"""Apps straight from their events: never behind, and never remembered."""

from __future__ import annotations

from commands.port import EventStore
from domain.ids import Ids
from infra.own_directories import OwnApps


class StoredApps(OwnApps):
    """processes.directories.AppDirectory. refreshed: the codes that were to be asked for anew."""

    def __init__(self, store: EventStore, ids: Ids) -> None:
        super().__init__(store, ids)
        self.refreshed: list[str] = []

    async def refresh(self, code: str) -> None:
        self.refreshed.append(code)
