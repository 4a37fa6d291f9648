"""Endpoints that the original once had; clients that were written to them go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from itertools import batched
from typing import Any
from uuid import UUID

import msgspec

from api.doppler import messages
from api.doppler.contacts import GROUP
from api.doppler.dialect import PROBLEM, whole
from api.doppler.domains import EMPTY
from api.doppler.door import admit
from api.route import Answer, Call, Route, Who
from commands.push_contacts import BULK_MAX, DeletePushContact, push_contact_id
from domain.deliveries.channel import WEBPUSH
from domain.deliveries.delivery import Receipt
from domain.errors import Invalid
from projections import push_contacts
from projections.campaigns import FIRST_DAY
from projections.statistics import AHEAD, REPORTED

AT_ONCE = 50
"""Of the tokens or events of one call under way at a time: each is a round trip or two to the log."""
DETAIL_MAX = 1_000
"""Characters."""


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a sender of the older API saw come of a message."""

    device_token: str | None = None
    sent_success: bool = False
    event_date: datetime | None = None
    details: str | None = None
    message_id: UUID | None = None

    def happened_at(self, now: datetime) -> datetime:
        """In UTC, as a date without a zone is; now for a date that cannot be, such as .NET's first day."""
        said = self.event_date
        if said is None:
            return now
        try:
            at = said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)
        except OverflowError:
            return now
        return at if FIRST_DAY <= at <= now + AHEAD else now


class PagesQuery(msgspec.Struct, frozen=True, kw_only=True):
    page: str | None = None
    per_page: str | None = None


class GuidsByPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[str]
    page: int
    per_page: int


async def delete_many(call: Call[list[str], None]) -> Answer:
    """How many there were."""
    if len(call.body) > BULK_MAX:
        raise Invalid(f"give at most {BULK_MAX:,} tokens", field="body")
    deletions = [DeletePushContact(device_token=token) for token in dict.fromkeys(call.body)]
    return Answer(sum(await _each(lambda one: call.parts.bus.execute(one, call.context), deletions)))


async def _each[T](work: Callable[[T], Awaitable[Any]], items: Iterable[T]) -> list[Any]:
    """What the work makes of each, some at a time. Raises the first error, once nothing is under way any more."""
    found: list[Any] = []
    for some in batched(items, AT_ONCE):
        found += await asyncio.gather(*map(work, some), return_exceptions=True)
        for each in found[-len(some) :]:
            if isinstance(each, BaseException):
                raise each
    return found


async def note_history(call: Call[list[HistoryEvent], None]) -> Answer:
    """Each becomes a receipt of its message: delivered, or bounced."""
    if len(call.body) > BULK_MAX:
        raise Invalid(f"give at most {BULK_MAX:,} events", field="body")
    receipts = (
        Receipt(
            realm=call.caller.realm,
            message=event.message_id,
            channel=WEBPUSH,
            contact=None,
            client=push_contact_id(call.parts.ids, event.device_token),
            kind="delivered" if event.sent_success else "bounced",
            at=event.happened_at(call.parts.clock()),
            detail=f"{REPORTED}{event.details or ''}"[:DETAIL_MAX],
        )
        for event in call.body
        if event.device_token and event.message_id is not None
    )
    await _each(call.parts.receipts.take, receipts)
    return EMPTY


async def to_domain(call: Call[messages.MessageBody, None]) -> Answer:
    return await messages.to_domain(call)


async def to_visitor(call: Call[messages.MessageBody, None]) -> Answer:
    """A message of its own for one visitor."""
    facts = await messages.sending(call.parts, call.path["domain"], call.caller.realm)
    contact = messages.contact_of(call.parts, facts, call.path["visitorGuid"])
    id = await messages.send(call, facts, call.body.content(), contacts=(contact,))
    return Answer(messages.Sent(id))


async def kept_to_visitor(call: Call[str, None]) -> Answer:
    row, facts = await messages.stored(call)
    await messages.to_visitors(call, facts, row, [(call.body, {})])
    return Answer(messages.Sent(row["message"]))


async def guids(call: Call[None, PagesQuery]) -> Answer:
    page = whole(call.query.page, "page", 0, least=0, most=999_999_999)
    per_page = whole(call.query.per_page, "per_page", 1_000, least=1, most=1_000)
    domain = call.path["domain"].casefold()
    listed = await push_contacts.visitors(
        call.parts.models, call.caller.realm, domain, passing=page, limit=per_page
    )
    items = list(dict.fromkeys(row["visitor"] for row in listed))
    return Answer(GuidsByPage(items=items, page=page + len(listed), per_page=per_page))


ROUTES: tuple[Route, ...] = (
    Route(
        method="DELETE",
        path="/push-contacts/_bulk",
        handler=delete_many,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=PROBLEM,
        body=list[str],
        body_bytes_max=messages.BULK_BYTES_MAX,
        answer=int,
        summary="Delete push contacts by their device tokens; how many there were.",
        group=GROUP,
        reads=("push_contacts",),
    ),
    Route(
        method="POST",
        path="/history-events/_bulk",
        handler=note_history,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=PROBLEM,
        body=list[HistoryEvent],
        body_bytes_max=messages.BULK_BYTES_MAX,
        answer=str,
        media_type="text/plain",
        summary="What an older sender saw come of its messages.",
        group=GROUP,
    ),
    messages.posting(
        "/push-contacts/{domain}/message",
        to_domain,
        messages.MessageBody,
        202,
        "Send to a domain.",
    ),
    messages.posting(
        "/push-contacts/{domain}/{visitorGuid}/message",
        to_visitor,
        messages.MessageBody,
        200,
        "Send to one visitor of a domain.",
    ),
    messages.posting(
        "/message/{messageId}",
        kept_to_visitor,
        str,
        200,
        "Send a kept message to one visitor.",
    ),
    Route(
        method="GET",
        path="/push-contacts/{domain}/visitor-guids",
        handler=guids,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=PROBLEM,
        query=PagesQuery,
        answer=GuidsByPage,
        summary="A domain's visitors; page counts items, not pages.",
        group=GROUP,
        reads=("push_contacts",),
    ),
)
