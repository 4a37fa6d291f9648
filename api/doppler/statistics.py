"""What came of a domain's messages: totals, by hour ranges, grouped by day, week, month or year."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from api.doppler.dialect import ERROR, PROBLEM, span
from api.doppler.domains import PageQuery
from api.doppler.door import admit
from api.parts import Parts
from api.route import Answer, Call, Route, Who
from domain.errors import Invalid
from projections import apps, statistics
from projections.campaigns import messages_of
from projections.messages import MESSAGES

GROUP = "web domains"
IDS_MAX = 500
PERIODS = ("day", "week", "month", "year")


class Span(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """Times in ISO 8601; without a zone they are UTC. Hours that touch [from, to) count."""

    start: str | None = None
    end: str | None = None


class GroupedQuery(Span, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    LISTS: ClassVar[frozenset[str]] = frozenset({"messageIds"})

    messageIds: list[str] = []  # noqa: N815  the contract's name
    period: str | None = None


class ResultsQuery(PageQuery, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    start: str | None = None
    end: str | None = None


class Consumed(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    domain: str
    start: datetime
    end: datetime
    consumed: int


class Totals(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    domain: str
    message_id: UUID
    sent: int
    delivered: int
    not_delivered: int
    billable_sends: int
    clicks: int
    received: int
    action_click: int


class Grouped(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    domain: str
    message_ids: list[UUID]
    date_from: datetime
    date_to: datetime
    grouped_period: str
    totals: dict[str, int]
    periods: list[dict[str, Any]]


class Result(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    domain: str
    sent_quantity: int
    delivered: int
    not_delivered: int
    date: datetime


class ResultsPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Result]
    page: int
    per_page: int


async def consumed(call: Call[None, Span]) -> Answer:
    start, end = span(call.query.start, call.query.end)
    domain, until = call.path["domain"], _by_now(call, end)
    sends = await statistics.consumed(call.parts.models, call.caller.realm, domain.casefold(), start, until)
    answer = Consumed(domain=domain, start=start, end=end, consumed=sends)
    return Answer(answer, headers=((b"cache-control", b"max-age=60"),))


async def of_message(call: Call[None, Span]) -> Answer:
    start, end = span(call.query.start, call.query.end)
    id = _id(call.path["messageId"])
    counts = statistics.total(await _hours(call, id, start, end))
    return Answer({"domain": call.path["domain"], "messageId": id, **counts})


async def grouped(call: Call[None, GroupedQuery]) -> Answer:
    start, end = span(call.query.start, call.query.end)
    period = (call.query.period or "day").lower()
    if period not in PERIODS:
        raise Invalid(f"period is one of {', '.join(PERIODS)}", field="period")
    ids = list(dict.fromkeys(_id(text) for text in call.query.messageIds))
    if not 1 <= len(ids) <= IDS_MAX:
        raise Invalid(f"give 1 to {IDS_MAX} messageIds", field="messageIds")
    summed: dict[datetime, Counter[str]] = {}
    for each in ids:
        for hour, counts in (await _hours(call, each, start, end)).items():
            summed.setdefault(period_of(hour, period), Counter()).update(counts)
    answer = Grouped(
        domain=call.path["domain"],
        message_ids=ids,
        date_from=start,
        date_to=end,
        grouped_period=period,
        totals=_click(statistics.total(summed)),
        periods=[{"date": at, **_click(statistics.with_sent(summed[at]))} for at in sorted(summed)],
    )
    return Answer(answer)


async def delivery_results(call: Call[None, ResultsQuery]) -> Answer:
    start, end = span(call.query.start, call.query.end)
    page, per_page = call.query.bounds()
    models, realm = call.parts.models, call.caller.realm
    rows, passed = [], 0
    is_domain: dict[str, bool] = {}
    async for row in messages_of(models, realm, "", start, _by_now(call, end)):
        if (name := row["name"]) not in is_domain:
            is_domain[name] = await _is_domain(call.parts, realm, name)
        if not is_domain[name]:
            continue
        passed += 1
        if passed > page:
            rows.append(row)
        if len(rows) == per_page:
            break
    counts = await asyncio.gather(
        *(
            statistics.hours_of(models, realm, row["message"], statistics.FIRST, statistics.LAST)
            for row in rows
        )
    )
    items = [
        Result(
            domain=row["name"],
            sent_quantity=(total := statistics.total(hours))["sent"],
            delivered=total["delivered"],
            not_delivered=total["notDelivered"],
            date=row["accepted"],
        )
        for row, hours in zip(rows, counts, strict=True)
    ]
    return Answer(ResultsPage(items=items, page=page + len(items), per_page=per_page))


async def _is_domain(parts: Parts, realm: str, name: str) -> bool:
    """Whether it is no app, nor was one; of those that an app service has retired nobody knows."""
    facts = await parts.apps.app(name)
    if facts is not None:
        return facts.settings.kind == "web-domain"
    retired = await apps.find(parts.models, realm, name)
    return retired is None or apps.settings_of(retired).kind == "web-domain"


def _by_now(call: Call[None, Any], end: datetime) -> datetime:
    """Where what has happened ends, so that a far end costs no more than a near one."""
    return min(end, call.parts.clock() + statistics.AHEAD)


def period_of(hour: datetime, period: str) -> datetime:
    """The start of the day, the week (Monday), the month or the year that an hour lies in."""
    day = hour.replace(hour=0)
    match period:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
        case _:
            return day


async def _hours(
    call: Call[None, Any], id: UUID, start: datetime, end: datetime
) -> dict[datetime, Counter[str]]:
    """Nothing for a message that is not the domain's."""
    row = await call.parts.models.get(MESSAGES, (call.caller.realm, id))
    if row is not None and (row["app"] or "").casefold() != call.path["domain"].casefold():
        return {}
    return await statistics.hours_of(call.parts.models, call.caller.realm, id, start, end)


def _click(counts: dict[str, int]) -> dict[str, int]:
    """Grouped statistics say `click` for what the others call `clicks`."""
    return {"click" if name == "clicks" else name: number for name, number in counts.items()}


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Invalid("a message id is a UUID", field="messageId") from None


def _route(path: str, handler: Any, query: Any, answer: Any, summary: str, *, dialect: Any = ERROR) -> Route:
    return Route(
        method="GET",
        path=path,
        handler=handler,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=dialect,
        query=query,
        answer=answer,
        summary=summary,
        group=GROUP,
        errors=(Invalid,),
    )


ROUTES: tuple[Route, ...] = (
    _route(
        "/domains/{domain}/push-sends-consumed-count", consumed, Span, Consumed, "A domain's billable sends."
    ),
    _route(
        "/domains/{domain}/messages/stats/grouped",
        grouped,
        GroupedQuery,
        Grouped,
        "Messages' totals by period.",
    ),
    _route("/domains/{domain}/messages/{messageId}/stats", of_message, Span, Totals, "A message's totals."),
    _route(
        "/push-contacts/messages/delivery-results",
        delivery_results,
        ResultsQuery,
        ResultsPage,
        "Messages of all domains, oldest first; page counts items, not pages.",
        dialect=PROBLEM,
    ),
    _route(
        "/push-contacts/{domain}/messages/{messageId}/details",
        of_message,
        Span,
        Totals,
        "A message's totals, at their former address.",
    ),
)
