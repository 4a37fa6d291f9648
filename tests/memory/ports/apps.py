"""Apps straight from their events: never behind, and what they say is never remembered."""

from __future__ import annotations

from commands.port import EventStore
from domain.app import AppFacts
from domain.errors import Unavailable
from domain.ids import Ids
from infra.lookups.own_directories import OwnApps
from processes.directories import Toll


class Realms:
    """infra.apps.merchants.WithApps: these have an app. is_away: nobody can say."""

    def __init__(self, *realms: str) -> None:
        self.realms, self.is_away = {*realms}, False

    async def has_app(self, merchant: str) -> bool:
        if self.is_away:
            raise Unavailable("nobody can say who has an app")
        return merchant in self.realms


class StoredApps(OwnApps):
    """processes.directories.AppDirectory. refreshed: the codes that were to be asked for anew."""

    def __init__(self, store: EventStore, ids: Ids) -> None:
        super().__init__(store, ids)
        self.refreshed: list[str] = []
        self._seen: set[str] = set()

    def known(self, code: str) -> AppFacts | None:
        return None

    async def app(self, code: str, *, toll: Toll | None = None) -> AppFacts | None:
        """A code that named an app before is looked up free of toll, as one in memory would be."""
        if toll is not None and code.casefold() not in self._seen:
            toll()
        facts = await super().app(code)
        if facts is not None:
            self._seen.add(code.casefold())
        return facts

    async def refresh(self, code: str) -> None:
        self.refreshed.append(code)
