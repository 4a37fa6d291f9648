"""Inboxes: what a contact has received, newest first, with the tags that its devices gave.

What was received comes from the audience pages; what it says, from the messages' own read model when it is asked for.
Tags come from signals and end with them: an older one is shown no longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.deliveries.delivery import AudiencePage
from domain.devices.device_actions import tagged
from domain.devices.signal import KEPT, DeviceEvent, DeviceEvents
from domain.recorded import DELIVERY, SIGNALS, Recorded
from projections.messages import MESSAGES
from projections.paging import pages
from projections.port import Generation, Key, Put, PutMany, ReadModels, Row, Table, Write

INBOX = Table(
    projection="inbox",
    name="inbox",
    partition={"realm": "text", "contact": "uuid"},
    clustering={"position": "bigint"},
    columns={"message": "uuid"},
    newest_first=True,
)
"""position: of the audience page that decided on the contact; it has each contact once."""

TAGS = Table(
    projection="inbox",
    name="inbox_tags",
    partition={"realm": "text", "contact": "uuid", "message": "uuid"},
    clustering={"tag": "text"},
    columns={"has": "boolean", "said": "timestamp"},
)
"""has: whether the message has the tag, by the last that was said of it."""

TAGS_MAX = 64
"""Tags of one message that are looked at, those that were taken away among them; devices know four or five."""
LOOKED_AT_MAX = 2_000
"""Rows of a contact that are looked at for one answer: who gets more than that in the time messages live reads the
newest.
"""
PAGE = 200
INLINE = "inline"
"""Of a message's opts: `{"viewId": ..., "html": ...}` is what an app shows inside its own pages."""

OPENED, READ, DELETED = "opened", "read", "deleted"
"""Tags that the SDKs know; a message that was deleted is not shown."""
OF_SDKS = (OPENED, READ, DELETED, "pinned", "seen")
"""Looked for by name where a message has more tags than are looked at."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A message in somebody's inbox. row: the message's own. updated: when its tags were last said, or received."""

    message: UUID
    received: datetime
    updated: datetime
    row: Row
    tags: tuple[str, ...]

    @property
    def is_opened(self) -> bool:
        return OPENED in self.tags or READ in self.tags


class Page(msgspec.Struct, frozen=True):
    """items: what was asked for. categories: names by ids, of all that was looked at for it, asked for or not."""

    items: list[Item]
    categories: Mapping[str, str]


class Inbox:
    """The projection."""

    name, version = "inbox", 1
    streams = (DELIVERY, SIGNALS)
    subjects = {DELIVERY: ("audience.>",)}
    tables = (INBOX, TAGS)

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case AudiencePage() as page:
                there = [entry.contact for entry in page.entries if not entry.suppressed]
                same = {"realm": fact.realm, "position": fact.position, "message": page.message}
                yield PutMany(INBOX, same, {"contact": there}, fact.position)
            case DeviceEvents(contact=contact) as signal if contact is not None:
                for (message, tag), has in _last_said(signal.events).items():
                    values = {"has": has, "said": fact.at}
                    yield Put(TAGS, (fact.realm, contact, message, tag), values, fact.position)
            case _:
                return

    async def check(self, generation: Generation) -> list[str]:
        """A page that is there was paged for a message."""
        lost = 0
        async for page in generation.scan(INBOX):
            lost += sum(1 for row in page if row["message"] is None)
        return [f"{lost} inbox rows name no message"] if lost else []


def _last_said(events: Iterable[DeviceEvent]) -> dict[tuple[UUID, str], bool]:
    """By message and tag, whether it has it: SDKs join what was said while they were offline, and the last holds."""
    changes = [change for event in events if (change := tagged(event)) is not None]
    return {(message, tag): has for message, tag, has in changes}


async def newest(
    models: ReadModels,
    realm: str,
    contact: UUID,
    *,
    app: str,
    now: datetime,
    limit: int,
    skip: int = 0,
    unopened: bool = False,
    topics: Sequence[str] = (),
    views: Sequence[str] = (),
) -> Page:
    """What a contact sees in an app: its messages, and those that no app sent; neither expired ones nor deleted ones.

    skip: so many of them first. topics: only messages with one of these categories. views: only those that an app shows
    in one of these places inside its own pages, as `place_of` writes them.
    """
    found: list[Item] = []
    categories: dict[str, str] = {}
    looked_at = 0
    async for rows in pages(models, INBOX, (realm, contact), chunk=PAGE):
        looked_at += len(rows)
        for item in await _items(models, realm, contact, rows, app, now):
            if DELETED in item.tags:
                continue
            for each in categories_of(item.row):
                categories.setdefault(each["id"], each["text"])
            if _has_topic(item, topics) and _is_for(item, views) and not (unopened and item.is_opened):
                found.append(item)
        if len(found) >= skip + limit or looked_at >= LOOKED_AT_MAX:
            break
    return Page(found[skip : skip + limit], categories)


async def _items(
    models: ReadModels, realm: str, contact: UUID, rows: Sequence[Row], app: str, now: datetime
) -> list[Item]:
    messages = await models.get_many(MESSAGES, [(realm, row["message"]) for row in rows])
    shown = [row for row in messages if row is not None and _is_shown(row, app, now)]
    partitions = [(realm, contact, row["message"]) for row in shown]
    said = await _tags(models, partitions) if partitions else {}
    return [
        _item(row, said.get(partition, ()), now) for row, partition in zip(shown, partitions, strict=True)
    ]


async def _tags(models: ReadModels, partitions: Sequence[Key]) -> Mapping[Key, Sequence[Row]]:
    """By message. An app may have any number of tags, and none of them may bring back what was deleted."""
    said = await models.range_many(TAGS, partitions, limit_each=TAGS_MAX)
    crowded = [each for each, rows in said.items() if len(rows) == TAGS_MAX]
    keys = [(*each, tag) for each in crowded for tag in OF_SDKS]
    for row in await models.get_many(TAGS, keys) if keys else ():
        rows = said[row["realm"], row["contact"], row["message"]] if row else []
        if row and row not in rows:
            rows.append(row)
    return said


def _item(row: Row, said: Sequence[Row], now: datetime) -> Item:
    """A tag that was taken away is a change as well as one that was given."""
    received: datetime = row["due"] or row["accepted"]
    updated = max((each["said"] for each in said), default=received)
    return Item(
        message=row["message"],
        received=received,
        updated=max(received, updated),
        row=row,
        tags=tags_of(said, now),
    )


def _is_shown(row: Row, app: str, now: datetime) -> bool:
    if row["text"] is None or row["accepted_at"] is None:
        return False  # confidential, or not projected yet
    if row["app"] and row["app"].casefold() != app.casefold():
        return False
    return row["expires"] is None or row["expires"] > now


def tags_of(rows: Iterable[Row], now: datetime) -> tuple[str, ...]:
    """What is set, and was said as long ago as signals are kept at most."""
    return tuple(row["tag"] for row in rows if row["has"] and now - row["said"] <= KEPT)


def _has_topic(item: Item, topics: Sequence[str]) -> bool:
    return not topics or any(each["id"] in topics for each in categories_of(item.row))


def _is_for(item: Item, views: Sequence[str]) -> bool:
    if not views:
        return True
    said = inline_of(item.row)
    return said is not None and place_of(said[0]) in views


def place_of(view: str) -> str:
    """A view's id as it is compared: SDKs do not tell large letters from small ones in it (EMSInlineInAppView.m at
    3.10.2, InlineInAppMessageFetcher.kt at 4.0.1).
    """
    return view.lower()


def inline_of(row: Row) -> tuple[str, str] | None:
    """The place inside an app's own pages that the message is for, and its HTML: opts.inline."""
    said = (row["opts"] or {}).get(INLINE)
    if not isinstance(said, dict):
        return None
    view, html = said.get("viewId"), said.get("html")
    return (view, html) if isinstance(view, str) and isinstance(html, str) else None


def categories_of(row: Row) -> list[Mapping[str, str]]:
    """What the sender put it under: opts.inbox.categories, each with `id` and `text`."""
    inbox = (row["opts"] or {}).get("inbox")
    given = inbox.get("categories") if isinstance(inbox, dict) else None
    if not isinstance(given, list):
        return []
    return [
        {"id": each["id"], "text": str(each.get("text", each["id"]))}
        for each in given
        if isinstance(each, dict) and isinstance(each.get("id"), str)
    ]
