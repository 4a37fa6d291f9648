"""Apps and web domains of a realm, by code; the retired ones stay, with the time of their end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from domain.app import App
from domain.app_settings import AppSettings
from domain.recorded import EVENTS, Recorded
from projections.checks import count
from projections.paging import walk
from projections.port import Generation, Put, ReadModels, Row, Table, Write

APPS = Table(
    projection="apps",
    name="apps",
    partition={"realm": "text"},
    clustering={"folded": "text"},
    columns={
        "code": "text",
        "settings": "json",
        "registered": "timestamp",
        "changed": "timestamp",
        "retired": "timestamp",
    },
)
"""folded: the code in one case, since its letters' case is nothing. A realm has hundreds of apps: one partition."""


LOOKED_AT = 100
"""Apps of a realm that are looked at together; nearly always the first is a live one."""


class Apps:
    """The projection."""

    name, version = "apps", 1
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.app.>",)}
    tables = (APPS,)

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case App.Event() as event:
                yield _write(fact, event)
            case _:
                return

    async def check(self, generation: Generation) -> list[str]:
        wrong = await count(generation, APPS, lambda row: row["registered"] is None)
        return [f"{wrong} apps were changed or retired without being registered"] if wrong else []


def _write(fact: Recorded, event: App.Event) -> Put:
    values: dict[str, Any]
    match event:
        case App.Registered():
            values = {
                "code": event.code,
                "settings": msgspec.to_builtins(event.settings),
                "registered": fact.at,
                "changed": fact.at,
            }
        case App.Changed():
            values = {"settings": msgspec.to_builtins(event.settings), "changed": fact.at}
        case App.Retired():
            values = {"retired": fact.at}
        case _:
            raise ValueError(f"no rule for {type(event).__qualname__}")
    return Put(APPS, (fact.realm, event.code.casefold()), values, fact.position)


def settings_of(row: Row) -> AppSettings:
    return msgspec.convert(row["settings"], AppSettings)


async def find(models: ReadModels, realm: str, code: str) -> Row | None:
    """The app with this code, retired or not."""
    row = await models.get(APPS, (realm, code.casefold()))
    return row if row is not None and row["code"] is not None else None


async def has_live(models: ReadModels, realm: str) -> bool:
    """Whether the realm has an app that is not retired."""
    cursor: str | None = None
    while True:
        rows, cursor = await listed(models, realm, retired=False, cursor=cursor, limit=LOOKED_AT)
        if rows:
            return True
        if cursor is None:
            return False


async def listed(
    models: ReadModels, realm: str, *, retired: bool, cursor: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """A realm's apps by code, a page at a time; the retired ones if they are wanted."""
    rows, cursor = await walk(models, APPS, [(realm,)], cursor=cursor, limit=limit)
    return [row for row in rows if row["code"] is not None and (retired or row["retired"] is None)], cursor
