"""Messages of a domain: to all its push contacts, or kept and sent to one visitor after another.

An answer means that the message is on the log; the fan-out is the dispatcher's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import batched
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from api.access.limits import BODY_BYTES_MAX
from api.doppler.dialect import ERROR
from api.doppler.domains import context_in, enabled, web_domain
from api.doppler.door import admit
from api.parts import Parts
from api.route import Answer, Call, Route, Who
from commands.messaging import Draft, SendToApp
from commands.push_contacts import visitor_uid
from commands.scope import claim_for
from commands.web_domains import Copy, KeepMessage, SendCopies
from domain.app import AppFacts
from domain.errors import ClaimMismatch, Invalid, NotFound
from domain.message import Content
from domain.notifications.placeholders import fill, missing
from domain.notifications.push import Action, PushContent, opts_of
from projections import messages
from projections.port import Row

GROUP = "web domains"
VISITORS_MAX = 10_000
"""Visitors of one call: each may be a message of its own, and the answer waits until all are on the log."""
BULK_BYTES_MAX = 8 << 20
"""Of a body that lists so many, or as many tokens or events: 800 bytes for each."""
FILLED_A_TURN = 100
"""Visitors for whom a message is filled in before others get their turn: some milliseconds."""
NOT_FOUND = "there is no such message"


class ActionBody(msgspec.Struct, frozen=True, kw_only=True):
    action: str | None = None
    title: str | None = None
    icon: str | None = None
    link: str | None = None


class MessageBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    title: str | None = None
    body: str | None = None
    on_click_link: str | None = None
    image_url: str | None = None
    icon_url: str | None = None
    prefer_large_image: bool | None = None
    actions: list[ActionBody] | None = None

    def content(self) -> Content:
        """Raises Invalid."""
        if not self.title:
            raise Invalid("'title' cannot be null or empty", field="title")
        if not self.body:
            raise Invalid("'body' cannot be null or empty", field="body")
        return Content(self.body, self.title, dict(opts_of(self._push())))

    def _push(self) -> PushContent:
        image, icon = _https(self.image_url, "imageUrl"), _https(self.icon_url, "iconUrl")
        if image and self.prefer_large_image is False:
            image, icon = "", image
        return PushContent(
            image=image,
            icon=icon,
            link=_https(self.on_click_link, "onClickLink"),
            actions=tuple(_action(number, each) for number, each in enumerate(self.actions or (), 1)),
        )


class DomainMessageBody(msgspec.Struct, frozen=True, kw_only=True):
    domain: str | None = None
    message: MessageBody | None = None


class VisitorSend(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    replacement_is_mandatory: bool = False
    fields: dict[str, str | None] | None = None


class VisitorFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    visitor_guid: str | None = None
    fields: dict[str, str | None] | None = None


class VisitorsSend(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    replacement_is_mandatory: bool = False
    visitors_fields_list: list[VisitorFields] | None = None


class Sent(msgspec.Struct, frozen=True, rename="camel"):
    message_id: UUID


class Missing(msgspec.Struct, frozen=True, rename="camel"):
    error: str
    missing_fields_in_title: list[str]
    missing_fields_in_body: list[str]


async def keep(call: Call[DomainMessageBody, None]) -> Answer:
    """To be sent to visitors later."""
    body = call.body
    if body.message is None:
        raise Invalid("'message' cannot be null", field="message")
    facts = await sending(call.parts, body.domain, call.caller.realm)
    return Answer(Sent(await kept(call, facts, body.message.content())))


async def kept(call: Call[Any, Any], facts: AppFacts, content: Content) -> UUID:
    id: UUID = await _once(call, facts, "keep", KeepMessage(domain=facts.code, content=content))
    return id


async def _once(
    call: Call[Any, Any], facts: AppFacts, what: str, asked: KeepMessage | SendCopies | SendToApp
) -> Any:
    """Carry it out for the domain, once for each Idempotency-Key.

    asked: as the caller says it; the form of the domain's payloads, which may change, is added here.
    """
    key, caller = call.idempotency_key, call.caller
    claim = (
        claim_for(key, caller=caller, route=f"web-domains/{what}", thread=facts.code, command=asked)
        if key
        else None
    )
    command: msgspec.Struct = asked
    if not isinstance(asked, KeepMessage):
        command = msgspec.structs.replace(asked, style=facts.settings.push_style)
    return await call.parts.bus.execute(command, context_in(call, facts.realm), claim=claim)


async def to_domain(call: Call[MessageBody, None]) -> Answer:
    facts = await sending(call.parts, call.path["domain"], call.caller.realm)
    content = call.body.content()
    return Answer(Sent(await send(call, facts, content)), status=202)


async def to_visitor(call: Call[VisitorSend, None]) -> Answer:
    row, facts = await stored(call)
    fields = call.body.fields or {}
    if call.body.replacement_is_mandatory and (said := _missing(row, fields)):
        return Answer(said, status=400)
    await to_visitors(call, facts, row, [(call.path["visitorGuid"], fields)])
    return Answer(Sent(row["message"]), status=202)


async def to_many(call: Call[VisitorsSend, None]) -> Answer:
    row, facts = await stored(call)
    listed = call.body.visitors_fields_list or []
    if not 1 <= len(listed) <= VISITORS_MAX:
        raise Invalid(f"give 1 to {VISITORS_MAX:,} visitors", field="visitorsFieldsList")
    whole = (
        (each.visitor_guid or "", each.fields or {})
        for each in listed
        if not (call.body.replacement_is_mandatory and _missing(row, each.fields or {}))
    )
    await to_visitors(call, facts, row, whole)
    return Answer(Sent(row["message"]), status=202)


async def sending(parts: Parts, name: str | None, realm: str) -> AppFacts:
    """The domain that a message is for. Raises Invalid for one that sends nothing."""
    if not name or not name.strip():
        raise Invalid("'domain' cannot be null or empty", field="domain")
    facts = await web_domain(parts, name, realm)
    if facts is None or not enabled(facts):
        raise Invalid(f"push messages are not enabled for the domain {name!r}", field="domain")
    return facts


async def stored(call: Call[Any, None]) -> tuple[Row, AppFacts]:
    """The message of the path, and its domain. Raises NotFound, Invalid."""
    try:
        id = UUID(call.path["messageId"])
    except ValueError:
        raise Invalid("messageId is no UUID", field="messageId") from None
    row = await messages.find(call.parts.models, call.caller.realm, id)
    if row is None or not row["app"]:
        raise NotFound(NOT_FOUND, field="messageId")
    return row, await sending(call.parts, row["app"], call.caller.realm)


def contact_of(parts: Parts, facts: AppFacts, visitor: str) -> UUID:
    """Raises Invalid for a guid that says nothing."""
    if not visitor.strip():
        raise Invalid("'visitorGuid' cannot be blank", field="visitorGuid")
    return parts.ids.contact(facts.realm, visitor_uid(parts.ids, facts.realm, visitor))


async def to_visitors(
    call: Call[Any, None], facts: AppFacts, row: Row, visitors: Iterable[tuple[str, dict[str, str | None]]]
) -> None:
    """Visitors for whom it reads the same get one message; one who is listed twice, each of theirs once.

    Raises Invalid, and then nobody gets any.
    """
    groups: dict[tuple[str, str], dict[UUID, str]] = {}
    for some in batched(visitors, FILLED_A_TURN):
        for visitor, fields in some:
            read = (fill(row["subject"] or "", fields), fill(row["text"] or "", fields))
            groups.setdefault(read, {}).setdefault(contact_of(call.parts, facts, visitor), visitor)
        await asyncio.sleep(0)
    copies = [
        Copy(visitor=next(iter(named.values())), title=title, body=body, contacts=tuple(named))
        for (title, body), named in groups.items()
    ]
    command = SendCopies(
        domain=facts.code,
        kept=row["message"],
        opts=_counting_for(row),
        copies=copies,
    )
    await _once(call, facts, "visitors", command)


async def send(
    call: Call[Any, Any],
    facts: AppFacts,
    content: Content,
    *,
    contacts: tuple[UUID, ...] | None = None,
) -> UUID:
    """The message's id, once it is on the log."""
    draft = Draft(text=content.text, subject=content.subject, opts=content.opts)
    command = SendToApp(app=facts.code, draft=draft, contacts=contacts)
    accepted = await _once(call, facts, "send", command)
    id: UUID = accepted.message
    return id


def _counting_for(row: Row) -> dict[str, Any]:
    """The message's opts, with the mark that says whose statistics a copy counts in."""
    opts = dict(row["opts"] or {})
    push = dict(opts.get("push") or {})
    return {**opts, "push": {**push, "campaign": str(row["message"])}}


def _missing(row: Row, fields: dict[str, str | None]) -> Missing | None:
    in_title = missing(row["subject"] or "", fields)
    in_body = missing(row["text"] or "", fields)
    if not in_title and not in_body:
        return None
    return Missing("some fields of the message have no value", in_title, in_body)


def _https(url: str | None, field: str) -> str:
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise Invalid(f"'{field}' must be an absolute URL with HTTPS scheme", field=field)
    return url


def _action(number: int, given: ActionBody) -> Action:
    return Action(
        id=given.action or f"action{number}",
        title=given.title or f"title{number}",
        icon=given.icon or "",
        url=given.link or "",
    )


def posting(
    path: str, handler: Any, body: Any, status: int, summary: str, *, bytes_max: int = BODY_BYTES_MAX
) -> Route:
    """A call of a superuser that sends, or keeps what is to be sent."""
    return Route(
        method="POST",
        path=path,
        handler=handler,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=ERROR,
        body=body,
        body_bytes_max=bytes_max,
        answer=Sent,
        statuses=(status,),
        summary=summary,
        group=GROUP,
        idempotent=True,
        reads=("messages",) if "messageId" in path else (),
        errors=(NotFound, ClaimMismatch) if "messageId" in path else (ClaimMismatch,),
    )


ROUTES: tuple[Route, ...] = (
    posting("/message", keep, DomainMessageBody, 200, "Keep a message, to be sent to visitors."),
    posting(
        "/messages/domains/{domain}", to_domain, MessageBody, 202, "Send to all push contacts of a domain."
    ),
    posting("/message/domains/{domain}", to_domain, MessageBody, 202, "The same at its former address."),
    posting(
        "/messages/{messageId}/visitors/send",
        to_many,
        VisitorsSend,
        202,
        "Send a kept message to many visitors.",
        bytes_max=BULK_BYTES_MAX,
    ),
    posting(
        "/messages/{messageId}/visitors/{visitorGuid}/send",
        to_visitor,
        VisitorSend,
        202,
        "Send a kept message to one visitor.",
    ),
)
