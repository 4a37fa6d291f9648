"""Inboxes and in-line messages, as each generation of SDKs reads them.

Native SDKs get epoch seconds; generation 4 reads its times as milliseconds (TimeStampFormatter.kt at 4.0.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from api.emarsys.device_events.batches import ClickItem, Inline, read_inline
from api.emarsys.device_events.events import client_of
from api.emarsys.device_events.wanted import unwanted
from api.emarsys.dialect import V3, V4
from api.emarsys.door import Visitor
from api.emarsys.identity.belonging import belongs
from api.emarsys.inboxes.tagging import VERSION, append
from api.route import Answer, Call
from domain.errors import Invalid
from domain.message import Content
from domain.notifications.push import Action, PushContent, push_of
from projections import inbox
from projections.inbox import Item

V3_ITEMS_MAX = 100
"""v3 has no pages: the device gets the newest."""
V4_PAGE = 20
"""What `top` says; the SDK asks for more with $skip."""
BADGE_MAX = 100
"""Counted up to here; devices show "99+"."""
VIEW_IDS_MAX = 100


class InboxItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Times: epoch seconds. ems: the buttons. tags: Android's SDK tags no message that comes without any list."""

    id: str
    campaign_id: str
    title: str
    body: str
    received_at: int
    updated_at: int
    tags: list[str]
    expires_at: int | None = None
    image_url: str | None = None
    image_alt_text: str | None = None
    properties: dict[str, str] | None = None
    ems: dict[str, Any] | None = None


class InboxAnswer(msgspec.Struct, frozen=True):
    """Newest first."""

    messages: list[InboxItem]


class Thumbnail(msgspec.Struct, frozen=True):
    src: str
    alt: str | None


class EmbeddedItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Every field must be there, though it may be null. Times: epoch milliseconds."""

    id: str
    title: str
    lead: str
    list_thumbnail_image: Thumbnail | None
    default_action: dict[str, Any] | None
    actions: list[dict[str, Any]]
    tags: list[str]
    category_ids: list[str]
    received_at: int
    expires_at: int | None
    properties: dict[str, str]
    tracking_info: str


class Category(msgspec.Struct, frozen=True):
    id: str
    value: str


class EmbeddedMeta(msgspec.Struct, frozen=True):
    categories: list[Category]


class EmbeddedAnswer(msgspec.Struct, frozen=True):
    """top: how many there are on a page."""

    version: str
    top: int
    meta: EmbeddedMeta
    messages: list[EmbeddedItem]


class EmbeddedQuery(msgspec.Struct, frozen=True):
    """filterCategoryIds: with commas. $skip: any number, since beyond the last message the SDK finds the end
    (ListPageModel.kt at 4.0.1), and at a 400 a page that it offers to try again.
    """

    skip: Annotated[int, Meta(ge=0)] = msgspec.field(name="$skip", default=0)
    categories: str = msgspec.field(name="filterCategoryIds", default="")
    unopened: bool = msgspec.field(name="filterUnopened", default=False)


class BadgeCount(msgspec.Struct, frozen=True):
    version: str
    count: int


class Labels(msgspec.Struct, frozen=True, rename="camel"):
    """Those without which the SDK reads none; it has words of its own for the rest."""

    pinned_messages_title: str = "Pinned"
    empty_state_title: str = "No messages"
    empty_state_description: str = "There is nothing for you here yet."


class MetaAnswer(msgspec.Struct, frozen=True):
    """design None: the app's own."""

    version: str
    labels: Labels
    design: None = None


class InlineBody(msgspec.Struct, frozen=True, rename="camel"):
    """viewIds: the places that the app has. clicks: on what they showed (v3)."""

    view_ids: Annotated[list[str], Meta(max_length=VIEW_IDS_MAX)] = []
    clicks: list[ClickItem] = []


class InlineV3(V3):
    """Bodies are read item by item."""

    def body(self, kind: Any, content: bytes) -> Any:
        return read_inline(content, views_max=VIEW_IDS_MAX)


class InlineV5(V4):
    """Likewise."""

    def body(self, kind: Any, content: bytes) -> Any:
        return read_inline(content, views_max=VIEW_IDS_MAX)


class InlineMessage(msgspec.Struct, frozen=True, rename="camel"):
    view_id: str
    html: str
    campaign_id: str


class InlineAnswer(msgspec.Struct, frozen=True, rename="camel"):
    inline_messages: list[InlineMessage]


class InlineMessageV5(msgspec.Struct, frozen=True, rename="camel"):
    view_id: str
    type: str
    content: str
    tracking_info: str


class InlineAnswerV5(msgspec.Struct, frozen=True, rename="camel"):
    inline_messages: list[InlineMessageV5]


async def v3_inbox(call: Call[None, None]) -> Answer:
    items = await _items(call, limit=V3_ITEMS_MAX)
    return Answer(InboxAnswer([_v3_item(each) for each in items]))


async def messages(call: Call[None, EmbeddedQuery]) -> Answer:
    """With the categories of the whole inbox: the SDK offers those of the last answer alone (ListPageViewModel.kt at
    4.0.1), so that with a page's own nobody could go from one to another.
    """
    query = call.query
    wanted = [each for each in query.categories.split(",") if each]
    page = await _page(call, limit=V4_PAGE, skip=query.skip, unopened=query.unopened, topics=wanted)
    categories = [Category(id, text) for id, text in page.categories.items()]
    found = [_v4_item(each) for each in page.items]
    return Answer(EmbeddedAnswer(VERSION, V4_PAGE, EmbeddedMeta(categories), found))


async def badge_count(call: Call[None, None]) -> Answer:
    items = await _items(call, limit=BADGE_MAX, unopened=True)
    return Answer(BadgeCount(VERSION, len(items)))


async def meta(_call: Call[None, None]) -> Answer:
    return Answer(MetaAnswer(VERSION, Labels()))


async def inline(call: Call[Inline, None]) -> Answer:
    if call.body.clicks or call.body.refused:
        await append(call, clicks=call.body.clicks, refused=call.body.refused)
    found = [InlineMessage(view, html, str(item.message)) for view, html, item in await _inline(call)]
    return Answer(InlineAnswer(found))


async def inline_v5(call: Call[Inline, None]) -> Answer:
    found = [
        InlineMessageV5(view, inbox.INLINE, html, item.message.hex)
        for view, html, item in await _inline(call)
    ]
    return Answer(InlineAnswerV5(found))


async def _inline(call: Call[Inline, None]) -> list[tuple[str, str, Item]]:
    """The newest message for each view that has one."""
    wanted = dict.fromkeys(map(inbox.place_of, call.body.views))
    if not wanted:
        return []
    newest: dict[str, tuple[str, str, Item]] = {}
    for item in await _items(call, limit=V3_ITEMS_MAX, views=tuple(wanted)):
        if (said := inbox.inline_of(item.row)) is not None:
            view, html = said
            newest.setdefault(inbox.place_of(view), (view, html, item))
    return [newest[view] for view in wanted if view in newest]


async def _items(call: Call[Any, Any], **asked: Any) -> list[Item]:
    """Raises Unauthenticated."""
    return (await _page(call, **asked)).items


async def _page(
    call: Call[Any, Any],
    *,
    limit: int,
    skip: int = 0,
    unopened: bool = False,
    topics: Iterable[str] = (),
    views: Sequence[str] = (),
) -> inbox.Page:
    """Raises Unauthenticated."""
    visitor: Visitor = call.visitor
    client, contact = client_of(visitor), visitor.proof.whose
    if contact is None or await unwanted(call) or not await belongs(call, client, contact):
        return inbox.Page([], {})
    return await inbox.newest(
        call.parts.models,
        visitor.app.realm,
        contact,
        app=visitor.app.code,
        now=call.parts.clock(),
        limit=limit,
        skip=skip,
        unopened=unopened,
        topics=tuple(topics),
        views=views,
    )


def _v3_item(item: Item) -> InboxItem:
    row, push = item.row, _push(item)
    return InboxItem(
        id=str(item.message),
        campaign_id=_campaign(item.message, push),
        title=row["subject"] or "",
        body=row["text"],
        received_at=_seconds(item.received),
        updated_at=_seconds(item.updated),
        expires_at=_seconds(row["expires"]) if row["expires"] else None,
        image_url=push.image or None,
        tags=list(item.tags),
        properties=_properties(push),
        ems={"actions": [_action(each) for each in push.actions]} if push.actions else None,
    )


def _v4_item(item: Item) -> EmbeddedItem:
    row, push = item.row, _push(item)
    tap = push.tap or (Action(url=push.link) if push.link else None)
    return EmbeddedItem(
        id=str(item.message),
        title=row["subject"] or "",
        lead=row["text"],
        list_thumbnail_image=Thumbnail(push.image, None) if push.image else None,
        default_action=_deed(tap) if tap else None,
        actions=[_action(each) for each in push.actions],
        tags=list(item.tags),
        category_ids=[each["id"] for each in inbox.categories_of(row)],
        received_at=_seconds(item.received) * 1000,
        expires_at=_seconds(row["expires"]) * 1000 if row["expires"] else None,
        properties=_properties(push) or {},
        tracking_info=item.message.hex,
    )


def _push(item: Item) -> PushContent:
    """Messages that no app sent may say anything under the same key; one of them must not close the inbox."""
    row = item.row
    try:
        return push_of(Content(row["text"], row["subject"] or "", row["opts"] or {}))
    except Invalid:
        return PushContent()


def _campaign(message: UUID, push: PushContent) -> str:
    return push.campaign or str(message)


def _properties(push: PushContent) -> dict[str, str] | None:
    """Texts alone: SDKs read no other values."""
    return {name: value for name, value in push.data.items() if isinstance(value, str)} or None


def _action(action: Action) -> dict[str, Any]:
    return {"id": action.id, "title": action.title or action.id, **_deed(action)}


def _deed(action: Action) -> dict[str, Any]:
    """reporting: generation 4 must have one."""
    deed: dict[str, Any] = {"type": action.type, "reporting": action.id}
    if action.type == "OpenExternalUrl":
        return {**deed, "url": action.url} if action.url else {**deed, "type": "Dismiss"}
    if action.type == "Dismiss":
        return deed
    return {**deed, "name": action.name, "payload": action.payload}


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
