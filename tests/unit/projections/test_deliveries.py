"""Deliveries and totals: whatever comes, in whatever order, one state each, and sums that are right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from typing import get_args
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.deliveries.delivery import (
    Attempt,
    AudienceEntry,
    AudiencePage,
    Dispatch,
    OutcomeSlice,
    Receipt,
    ReceiptKind,
    Recipient,
    Result,
)
from domain.deliveries.outcome import (
    TERMINAL,
    Accepted,
    Expired,
    Gone,
    Outcome,
    Rejected,
    Retry,
    Suppressed,
    Unknown,
)
from domain.recorded import DELIVERY, DeliveryRecord, Recorded
from projections import deliveries
from projections.deliveries import STATES_BY_RANK, Deliveries, status_of
from projections.port import Row
from tests.memory.clock import START
from tests.unit.projections.histories import REALM, projected, record

MESSAGE = UUID(int=7)
outcomes: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        Accepted("id"),
        Accepted("id"),
        Retry("busy"),
        Unknown("timeout"),
        Gone("unregistered"),
        Rejected("payload"),
        Suppressed("opted-out"),
        Expired(),
    ]
)


@dataclass
class Way:
    """One message's way, played: records in the order of the log, and what one would count by hand."""

    records: list[DeliveryRecord] = field(default_factory=list)
    ended: dict[tuple[UUID, str], list[Outcome]] = field(default_factory=dict)
    sockets: int = 0
    left_out: int = 0

    @property
    def facts(self) -> list[Recorded]:
        return [record(DELIVERY, body, position) for position, body in enumerate(self.records, 1)]

    def page(self, number: int, people: list[tuple[UUID, tuple[str, ...]]]) -> None:
        entries = tuple(
            AudienceEntry(who, channels, "" if channels else "erased") for who, channels in people
        )
        self.left_out += sum(1 for entry in entries if entry.suppressed)
        self.sockets += sum(1 for entry in entries if "websocket" in entry.channels)
        sends = sum(1 for entry in entries for channel in entry.channels if channel != "websocket")
        self.records.append(AudiencePage(REALM, MESSAGE, number, 1, entries, sends, None))

    def dispatch(self, channel: str, page: str, to: list[UUID], *, attempt: int = 1) -> Dispatch:
        sent = Dispatch(
            realm=REALM,
            message=MESSAGE,
            channel=channel,
            lane="live",
            page=page,
            attempt=attempt,
            tid=None,
            sender="boss",
            urgency=3,
            accepted_at=START,
            expires_at=START + timedelta(days=1),
            recipients=tuple(Recipient(who, who) for who in to),
            key="day",
            sealed=b"",
        )
        self.records.append(sent)
        for who in to:
            self.ended.setdefault((who, channel), [])
        return sent

    def outcome(
        self,
        sent: Dispatch,
        first: int,
        results: list[Outcome],
        *,
        late: bool = False,
        began: datetime | None = None,
    ) -> None:
        to = sent.recipients[first : first + len(results)]
        attempt = Attempt(REALM, MESSAGE, sent.channel, sent.id, first, first + len(to), "g", START)
        self.records.append(attempt)
        found = tuple(Result(r.contact, r.client, o) for r, o in zip(to, results, strict=True))
        self.records.append(
            OutcomeSlice(
                realm=REALM,
                message=MESSAGE,
                channel=sent.channel,
                dispatch=sent.id,
                source=sent.subject,
                attempt=len(self.records),
                first=first,
                results=found,
                ended_at=START,
                repeated=late,
                late=late,
                started_at=began,
            )
        )
        if not late:
            for result in found:
                assert result.contact is not None
                self.ended[result.contact, sent.channel].append(result.outcome)


@st.composite
def ways(draw: st.DrawFn) -> Way:
    """Pages, dispatches in slices, some slices answered twice, retries until all has ended."""
    way = Way()
    number = 0
    for page in range(draw(st.integers(1, 3))):
        people = []
        for _ in range(draw(st.integers(0, 4))):
            channels = draw(st.sets(st.sampled_from(["websocket", "apns", "email"])))
            people.append((UUID(int=1000 + number), tuple(sorted(channels))))
            number += 1
        way.page(page, people)
        for channel in ("apns", "email"):
            to = [who for who, channels in people if channel in channels]
            if to:
                _play(draw, way, way.dispatch(channel, str(page), to))
    return way


def _play(draw: st.DrawFn, way: Way, sent: Dispatch) -> None:
    first, size = 0, draw(st.integers(1, 3))
    while first < len(sent.recipients):
        width = min(size, len(sent.recipients) - first)
        results = [draw(outcomes) for _ in range(width)]
        if sent.attempt >= 3:
            results = [o if isinstance(o, TERMINAL) else Expired() for o in results]
        way.outcome(sent, first, results)
        if draw(st.booleans()):
            way.outcome(sent, first, [draw(outcomes) for _ in range(width)], late=True)
        again = [
            r.contact
            for r, o in zip(sent.recipients[first:], results, strict=False)
            if not isinstance(o, TERMINAL)
        ]
        if again:
            page = sent.page if first == 0 else f"{sent.page}f{first}"
            to = [who for who in again if who is not None]
            _play(draw, way, way.dispatch(sent.channel, page, to, attempt=sent.attempt + 1))
        first += width


async def rows_of(facts: list[Recorded]) -> tuple[dict[tuple[UUID, str], str], dict[str, int]]:
    models = projected([Deliveries()], facts)
    rows, cursor = await deliveries.of_message(models, REALM, MESSAGE, cursor=None, limit=1000)
    assert cursor is None
    assert await Deliveries().check(models.generation("deliveries")) == []
    return (
        {(row["contact"], row["channel"]): row["status"] for row in rows},
        await deliveries.totals(models, REALM, MESSAGE),
    )


@settings(max_examples=80)
@given(ways())
async def test_totals_are_what_one_counts_by_hand(way: Way) -> None:
    """Sums over retries, repeats and slices equal the naive count, and nothing is open in the end."""
    statuses, totals = await rows_of(way.facts)
    by_hand = Counter(type(ended[-1]).__name__.lower() for ended in way.ended.values())
    by_hand["accepted"] += way.sockets
    assert totals["sends"] == len(way.ended)
    assert totals["open"] == 0
    for state in deliveries.TERMINAL:
        assert totals.get(state, 0) == by_hand[state], state
    assert totals.get("left_out", 0) == way.left_out
    assert totals["contacts"] == sum(len(r.entries) for r in way.records if isinstance(r, AudiencePage))
    for (who, channel), ended in way.ended.items():
        assert statuses[who, channel] == type(ended[-1]).__name__.lower()


@settings(max_examples=80)
@given(ways(), st.data())
async def test_order_and_repetition_make_no_difference(way: Way, data: st.DataObject) -> None:
    """Rows and totals are the same for any permutation of the facts, some of them twice."""
    twice = data.draw(st.lists(st.sampled_from(way.facts), max_size=5))
    shuffled = data.draw(st.permutations(way.facts + twice))
    before, after = projected([Deliveries()], way.facts), projected([Deliveries()], shuffled)
    assert after.content() == before.content()


@settings(max_examples=60)
@given(ways(), st.data())
async def test_open_counts_what_has_not_ended_yet(way: Way, data: st.DataObject) -> None:
    """At any point of the log: planned sends without a terminal outcome so far."""
    upto = data.draw(st.integers(0, len(way.records)))
    facts = way.facts[:upto]
    if not any(isinstance(fact.body, AudiencePage) for fact in facts):
        return
    _, totals = await rows_of_partly(facts)
    planned = {
        (r.contact, f.body.channel) for f in facts if isinstance(f.body, Dispatch) for r in f.body.recipients
    }
    ended = {
        (result.contact, f.body.channel)
        for f in facts
        if isinstance(f.body, OutcomeSlice) and not f.body.late
        for result in f.body.results
        if isinstance(result.outcome, TERMINAL)
    }
    assert totals["open"] == len(planned - ended)


async def rows_of_partly(facts: list[Recorded]) -> tuple[None, dict[str, int]]:
    models = projected([Deliveries()], facts)
    return None, await deliveries.totals(models, REALM, MESSAGE)


async def test_totals_of_many_parts_are_summed_whole() -> None:
    """A message of more than a thousand parts: all of them are counted."""
    way = Way()
    for page in range(700):
        way.page(page, [(UUID(int=1000 + page), ("apns",))])
        way.outcome(way.dispatch("apns", str(page), [UUID(int=1000 + page)]), 0, [Accepted("id")])
    _, totals = await rows_of(way.facts)
    assert (totals["contacts"], totals["sends"], totals["accepted"], totals["open"]) == (700, 700, 700, 0)


def _row(*states: str) -> dict[str, object]:
    return {state: (START if state in states else None) for state in STATES_BY_RANK}


def test_the_highest_state_is_the_status() -> None:
    """Of any two states the one of higher rank shows, and a delivery of which nothing is known is planned."""
    for higher, lower in combinations(STATES_BY_RANK, 2):
        assert status_of(_row(higher, lower)) == higher
    assert status_of(_row()) == "planned"


@pytest.mark.parametrize("kind", get_args(ReceiptKind))
async def test_receipts_raise_the_status_and_leave_the_totals(kind: ReceiptKind) -> None:
    """What comes back later shows on the delivery, once or twice, before the outcome or after it."""
    way = Way()
    who = UUID(int=1000)
    way.page(0, [(who, ("apns",))])
    sent = way.dispatch("apns", "0", [who])
    receipt = Receipt(REALM, MESSAGE, "apns", who, who, kind, START, "detail")
    way.records.append(receipt)
    way.outcome(sent, 0, [Accepted("id")])
    way.records.append(msgspec.structs.replace(receipt, at=START + timedelta(seconds=9)))
    statuses, totals = await rows_of(way.facts)
    assert statuses == {(who, "apns"): kind}
    assert (totals["accepted"], totals["open"]) == (1, 0)


async def test_a_late_outcome_marks_the_delivery_as_repeated() -> None:
    """It changes no state and no total."""
    way = Way()
    who = UUID(int=1000)
    way.page(0, [(who, ("apns",))])
    sent = way.dispatch("apns", "0", [who])
    way.outcome(sent, 0, [Rejected("payload")])
    way.outcome(sent, 0, [Accepted("id")], late=True)
    models = projected([Deliveries()], way.facts)
    [row], _ = await deliveries.of_message(models, REALM, MESSAGE, cursor=None, limit=10)
    assert (row["status"], row["repeated"], row["provider_id"]) == ("rejected", True, None)


async def test_what_is_under_way_is_attempted_since_it_began() -> None:
    """Those of the slice alone, of one dispatch of several, clients and contacts; afterwards the time stays true."""
    way = Way()
    people = [UUID(int=1000 + number) for number in range(6)]
    sent = [way.dispatch("apns", "0", people[:4]), way.dispatch("email", "0", people[4:])]
    own = tuple(Recipient(who, None) for who in people[4:])
    sent[1] = way.records[-1] = msgspec.structs.replace(sent[1], recipients=own)
    began = START + timedelta(seconds=5)
    for each, first, last in ((sent[0], 1, 3), (sent[1], 0, 1)):
        way.records.append(Attempt(REALM, MESSAGE, each.channel, each.id, first, last, "g", began))
    assert await attempted(way) == {people[1]: began, people[2]: began, people[4]: began}
    assert (await statuses(way))[people[1]] == "attempted"
    for each, first in ((sent[0], 1), (sent[1], 0)):
        way.outcome(each, first, [Accepted("id")] * (2 - first // 2), began=began)
        way.records.pop(-2)
    assert await attempted(way) == {people[1]: began, people[2]: began, people[4]: began, people[5]: began}
    assert (await statuses(way))[people[1]] == "accepted"


async def test_an_attempt_whose_gateway_died_is_under_way_until_its_repeat_has_ended() -> None:
    """The note that nothing is known of it is no end."""
    way = Way()
    who = UUID(int=1000)
    sent = way.dispatch("apns", "0", [who])
    first, again = START + timedelta(seconds=1), START + timedelta(seconds=20)
    attempt = Attempt(REALM, MESSAGE, "apns", sent.id, 0, 1, "g", first)
    way.records.append(attempt)
    way.outcome(sent, 0, [])
    way.records.pop(-2)
    assert await attempted(way) == {who: first}
    way.records.append(msgspec.structs.replace(attempt, started_at=again, repeats=2))
    assert await attempted(way) == {who: again}
    way.outcome(sent, 0, [Accepted("id")], began=again)
    assert await attempted(way) == {who: again}


async def _rows(way: Way) -> list[Row]:
    models = projected([Deliveries()], way.facts)
    rows, _ = await deliveries.of_message(models, REALM, MESSAGE, cursor=None, limit=100)
    return rows


async def attempted(way: Way) -> dict[UUID, datetime]:
    return {row["contact"]: row["attempted"] for row in await _rows(way) if row["attempted"] is not None}


async def statuses(way: Way) -> dict[UUID, str]:
    return {row["contact"]: row["status"] for row in await _rows(way)}


async def test_a_client_without_a_contact_has_its_delivery() -> None:
    """It is kept under nobody's id."""
    way = Way()
    client = UUID(int=5)
    sent = way.dispatch("apns", "0", [])
    way.records[-1] = msgspec.structs.replace(sent, recipients=(Recipient(None, client),))
    models = projected([Deliveries()], way.facts)
    [row], _ = await deliveries.of_message(models, REALM, MESSAGE, cursor=None, limit=10)
    assert (row["contact"], row["client"]) == (deliveries.NOBODY, client.hex)
