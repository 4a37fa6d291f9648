"""Routes of device events, inboxes and in-line messages, in every generation and under both names for an app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from api.emarsys.device_events import events
from api.emarsys.dialect import V3, V4
from api.emarsys.door import Checks, Contract, Door
from api.emarsys.inboxes import inbox, tagging
from api.emarsys.interactions import note_untold
from api.emarsys.route import V3_BASES, V4_BASE, V5_BASES, device_route
from api.route import Dialect, Handler, Route

GROUP = "device events"
EMBEDDED = "/embedded-messaging/api/v1/{app}"


def _route(
    method: str, path: str, handler: Handler, summary: str, contract: Contract, dialect: Dialect, **more: Any
) -> Route:
    door: Door = more.pop("door", None) or Door(contract)
    return device_route(method, path, handler, summary, group=GROUP, dialect=dialect, door=door, **more)


def _events(base: str, contract: Contract) -> Route:
    is_v3 = contract is Contract.V3
    return _route(
        "POST",
        f"{base}/client/events",
        events.take_v3 if base in V3_BASES else events.take,
        "Tell what happened on the device.",
        contract,
        events.EventsV3() if is_v3 else events.EventsV5(),
        body=events.EventsBody,
        answer=events.EventsAnswer if is_v3 else events.CampaignsAnswer,
        statuses=(204, 200),
        door=events.EventsDoor(contract, Checks.FRESH_CONTACT, from_abroad=not is_v3),
        body_bytes_max=events.BODY_BYTES_MAX,
        body_passed_over=events.BODY_PASSED_OVER,
        noted=note_untold,
    )


def _inline(base: str, contract: Contract) -> Route:
    is_v3 = contract is Contract.V3
    return _route(
        "POST",
        f"{base}/inline-messages",
        inbox.inline if is_v3 else inbox.inline_v5,
        "What the app shows inside its own pages.",
        contract,
        inbox.InlineV3() if is_v3 else inbox.InlineV5(),
        body=inbox.InlineBody,
        answer=inbox.InlineAnswer if is_v3 else inbox.InlineAnswerV5,
    )


def _v3_inbox(base: str) -> Route:
    return _route(
        "GET",
        f"{base}/inbox",
        inbox.v3_inbox,
        "What the contact has received, newest first.",
        Contract.V3,
        V3(),
        answer=inbox.InboxAnswer,
        reads=("messages",),
    )


def _embedded() -> Iterator[Route]:
    def route(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Route:
        dialect: Dialect = more.pop("dialect", None) or V4()
        return _route(method, f"{EMBEDDED}{path}", handler, summary, Contract.V4, dialect, **more)

    yield route(
        "GET",
        "/messages",
        inbox.messages,
        "A page of what the contact has received, newest first.",
        query=inbox.EmbeddedQuery,
        answer=inbox.EmbeddedAnswer,
        reads=("messages",),
    )
    yield route(
        "GET",
        "/badge-count",
        inbox.badge_count,
        "How many messages were not opened, up to 100.",
        answer=inbox.BadgeCount,
        reads=("messages",),
    )
    yield route("GET", "/meta", inbox.meta, "Words for the inbox's own page.", answer=inbox.MetaAnswer)
    yield route(
        "PATCH",
        "/tags",
        tagging.tags,
        "Tag messages as opened, pinned, deleted.",
        dialect=tagging.TagsV4(),
        body=list[tagging.TagUpdate],
        answer=tagging.TagsAnswer,
    )


# Native SDKs of v3 send their events to the base of v4; all else about these calls is v3.
EVENT_ROUTES: tuple[Route, ...] = (
    *(_events(base, Contract.V3) for base in (V4_BASE, *V3_BASES)),
    *(_events(base, Contract.V4) for base in V5_BASES),
)
"""The hot ones."""

ROUTES: tuple[Route, ...] = (
    *(_v3_inbox(base) for base in V3_BASES),
    *(_inline(base, Contract.V3) for base in (*V3_BASES, V4_BASE)),
    *(_inline(base, Contract.V4) for base in V5_BASES),
    *_embedded(),
)
