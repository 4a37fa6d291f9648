"""Which merchants have an app here, for callers who name one and prove nothing.

Owns the two answers to that: the read model, where the apps are our own; and notes in the bucket that all processes
share, where a service says what the apps are. Never makes a merchant known by being asked.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from domain.app import AppFacts
from domain.errors import TooLarge, Unavailable
from infra.nats.appending.appends import Appender, Entry
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream
from infra.nats.streams import APPS_BUCKET, APPS_STREAM
from processes.directories import AppMetadata
from projections import apps
from projections.port import ReadModels

_PREFIX: Final = f"$KV.{APPS_BUCKET}.merchant."
_NOTE: Final = b"1"
NOTE_S_MAX: Final = 0.5
"""A call of a device waits for it, whose app is found even while the log is away."""


class WithApps(Protocol):
    """Merchants by their apps."""

    async def has_app(self, merchant: str) -> bool:
        """Whether it has a live app here, as far as this deployment knows. Raises Unavailable."""
        ...


class ModelledMerchants:
    """WithApps, of our own apps: as far behind their events as the read models are."""

    def __init__(self, models: ReadModels) -> None:
        self._models = models

    async def has_app(self, merchant: str) -> bool:
        return await apps.has_live(self._models, merchant)


class NotedMerchants:
    """WithApps, of apps that a service keeps: a merchant is known for a day after one of its apps was looked up."""

    def __init__(self, js: JetStream) -> None:
        self._js = js
        # A cache, as the apps beside it are: no check whether the bucket is still the one of before.
        self._appender = Appender(js, Guard(js), APPS_STREAM)

    async def has_app(self, merchant: str) -> bool:
        return await self._js.leader_get(APPS_STREAM, last_by_subj=_subject(merchant)) is not None

    async def note(self, merchant: str) -> None:
        """From now on it is known. Lost when the log does not answer at once: the next look-up notes it."""
        try:
            async with asyncio.timeout(NOTE_S_MAX):
                await self._appender.append([Entry(_subject(merchant), b"", _NOTE, deduplicate=False)])
        except (TimeoutError, TooLarge, Unavailable):
            return


class NotingApps:
    """processes.directories.AppMetadata: another one, whose apps' merchants are noted."""

    def __init__(self, source: AppMetadata, merchants: NotedMerchants) -> None:
        self._source, self._merchants = source, merchants

    async def app(self, code: str) -> AppFacts | None:
        facts = await self._source.app(code)
        if facts is not None:
            await self._merchants.note(facts.realm)
        return facts


def _subject(merchant: str) -> str:
    return _PREFIX + merchant.encode().hex()
