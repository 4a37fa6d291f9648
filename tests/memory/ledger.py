"""What must be true of every message when all work is done, counted naively from the log and the providers' books."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple
from uuid import UUID

from domain.deliveries.delivery import Attempt, AudiencePage, Dispatch, OutcomeSlice
from domain.deliveries.outcome import TERMINAL, Expired, Outcome, Retry, Suppressed, Unknown
from domain.deliveries.retry import HALTED
from domain.deliveries.routing import MOVED
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS
from projections import deliveries
from projections.catalogue import ALL
from tests.memory.world import REALM, World


class Delivery(NamedTuple):
    message: UUID
    channel: str
    contact: UUID | None
    client: UUID | None

    @property
    def send_id(self) -> str:
        return f"{self.message.hex}:{(self.client or self.contact or self.message).hex}"

    @property
    def client_hex(self) -> str:
        return self.client.hex if self.client else ""


class Ledger:
    """planned: deliveries of first dispatches. ended: what each came to, in order. repeated: attempts of each that are
    marked as a second one, or came to an end late.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.planned: set[Delivery] = set()
        self.ended: dict[Delivery, list[Outcome]] = defaultdict(list)
        self.sent: Counter[Delivery] = Counter()
        self.repeated: Counter[Delivery] = Counter()
        self.left_out: Counter[UUID] = Counter()
        self.sockets: Counter[UUID] = Counter()
        self.dispatches: dict[tuple[str, str], Dispatch] = {}
        for fact in world.facts(DELIVERY):
            match fact.body:
                case AudiencePage() as page:
                    self._page(page)
                case Dispatch() as dispatch:
                    self._dispatch(dispatch)
                case Attempt(repeats=int()) as attempt:
                    of = self.dispatches[attempt.channel, attempt.dispatch]
                    self.repeated.update(_deliveries(of)[attempt.first : attempt.last])
                case OutcomeSlice() as ended:
                    self._outcomes(ended)

    def _dispatch(self, dispatch: Dispatch) -> None:
        self.dispatches[dispatch.channel, dispatch.id] = dispatch
        if dispatch.is_first:
            planned = _deliveries(dispatch)
            assert self.planned.isdisjoint(planned), "a delivery is planned once"
            self.planned.update(planned)

    def _page(self, page: AudiencePage) -> None:
        self.left_out[page.message] += sum(1 for entry in page.entries if entry.suppressed)
        self.sockets[page.message] += sum(1 for entry in page.entries if "websocket" in entry.channels)

    def _outcomes(self, ended: OutcomeSlice) -> None:
        for result in ended.results:
            delivery = Delivery(ended.message, ended.channel, result.contact, result.client)
            if not ended.late:
                self.ended[delivery].append(result.outcome)
            if not _is_of_our_own(ended, result.outcome):
                self.sent[delivery] += 1
            if ended.late:
                self.repeated[delivery] += 1

    def assert_each_ended_once(self) -> None:
        """Every delivery that was planned has exactly one terminal outcome, the last; nothing else has any."""
        assert self.planned == set(self.ended)
        for delivery, outcomes in self.ended.items():
            final = [outcome for outcome in outcomes if isinstance(outcome, TERMINAL)]
            assert len(final) == 1, (delivery, outcomes)
            assert outcomes[-1] is final[0]
            assert all(isinstance(outcome, Retry | Unknown) for outcome in outcomes[:-1])

    def assert_sent_as_recorded(self) -> None:
        """The providers got each send that is on the log, and beyond that only what is marked as repeated."""
        for delivery in self.planned:
            got = self.world.provider(delivery.channel).sends().get(delivery.send_id, 0)
            recorded = self.sent[delivery]
            assert got <= recorded + self.repeated[delivery], delivery
            if not self.repeated[delivery]:
                assert got == recorded, delivery

    async def assert_twice_is_marked(self) -> None:
        """What a provider took twice says so."""
        for message in {delivery.message for delivery in self.planned}:
            rows, _ = await deliveries.of_message(
                self.world.models, REALM, message, cursor=None, limit=100_000
            )
            marked = {(row["channel"], row["contact"], row["client"]) for row in rows if row["repeated"]}
            for each in self.planned:
                taken = self.world.provider(each.channel).taken[each.send_id]
                if each.message == message and taken > 1:
                    assert (each.channel, each.contact or deliveries.NOBODY, each.client_hex) in marked, each

    async def assert_settled(self) -> None:
        """Each message was settled once, with the totals that one gets by counting."""
        messages = {
            fact.body.originator_id
            for fact in self.world.facts(EVENTS)
            if isinstance(fact.body, Message.Dispatched)
        }
        settled = [fact.body for fact in self.world.facts(EVENTS) if isinstance(fact.body, Message.Settled)]
        assert Counter(event.originator_id for event in settled) == Counter(messages)
        for event in settled:
            assert event.totals == self.totals(event.originator_id)
            shown = await deliveries.totals(self.world.models, REALM, event.originator_id)
            assert shown["open"] == 0
            rows, _ = await deliveries.of_message(
                self.world.models, REALM, event.originator_id, cursor=None, limit=100_000
            )
            by_status = Counter(row["status"] for row in rows)
            left_out = event.totals.get("left_out", 0)
            by_status["suppressed"] -= left_out
            assert +by_status == Counter({k: n for k, n in event.totals.items() if k != "left_out"})

    def totals(self, message: UUID) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for delivery, outcomes in self.ended.items():
            if delivery.message == message:
                counts[type(outcomes[-1]).__name__.lower()] += 1
        counts["accepted"] += self.sockets[message]
        counts["left_out"] += self.left_out[message]
        return {state: count for state, count in counts.items() if count}

    async def assert_read_models_hold(self) -> None:
        """What the projections check of themselves."""
        for projection in ALL:
            generation = self.world.models.generation(projection.name)
            assert await projection.check(generation) == []

    async def assert_balanced(self) -> None:
        assert self.world.streams.next_due() is None, "work is left"
        await self.assert_read_models_hold()
        self.assert_each_ended_once()
        self.assert_sent_as_recorded()
        await self.assert_twice_is_marked()
        await self.assert_settled()


def _deliveries(dispatch: Dispatch) -> list[Delivery]:
    return [Delivery(dispatch.message, dispatch.channel, to.contact, to.client) for to in dispatch.recipients]


def _is_of_our_own(ended: OutcomeSlice, outcome: Outcome) -> bool:
    """Whether no provider was asked: no try was left, or no time, no address, no right to."""
    match outcome:
        case Suppressed(code=code) | Retry(code=code) if code in (MOVED, HALTED):
            return True
        case _:
            return "-end" in ended.dispatch or isinstance(outcome, Expired)
