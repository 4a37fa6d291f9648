"""What outcomes lead to: dead addresses are retired, unwanted channels suppressed, unfinished sends scheduled again.

Every step can be repeated: commands change nothing the second time, a schedule written again replaces itself, and a
try is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from commands.bus import Bus
from commands.clients import FindAddressGone, QuarantineAddress
from commands.contacts import DoubtContactAddress, FindContactAddressGone, SuppressChannel
from commands.port import KeyStore, VersionConflict
from domain.context import Context
from domain.deliveries.delivery import Dispatch, OutcomeSlice, Recipient, Result, Sealed
from domain.deliveries.outcome import NO_APP, Accepted, Expired, Gone, Outcome, Rejected, Suppressed, Unknown
from domain.deliveries.routing import MOVED
from domain.recorded import DELIVERY, SCHEDULES
from processes.port import Append, Log, Task
from processes.sealing import day_key, seal, unseal
from processes.sending.channel import lost_attempts
from processes.sending.tries import Again, Group, due_subject, next_dispatch, planned, retry_id
from processes.worker import Post, work
from projections import reach
from projections.port import ReadModels

OUTCOMES = Post(DELIVERY, "feedback", ("outcome.>",), in_flight=16)
DUE = Post(SCHEDULES, "retrier", ("due.retry.>",), in_flight=16)

OURS = frozenset({MOVED, NO_APP})
"""Why we have left somebody out ourselves: what follows for them, others know. All other reasons are the person's."""
EXHAUSTED = "tries-exhausted"
PERHAPS_SENT = "the answer to the last try was lost: it may have been sent"


class Feedback:
    """Works on outcomes."""

    def __init__(self, *, log: Log, bus: Bus, clock: Callable[[], datetime]) -> None:
        self._log, self._bus, self._clock = log, bus, clock

    async def run(self) -> None:
        await work(self._log, OUTCOMES, self.handle)

    async def handle(self, task: Task) -> None:
        fact = task.fact
        ended = fact.body
        assert isinstance(ended, OutcomeSlice)
        if all(_is_final_and_quiet(result.outcome) for result in ended.results):
            return
        source = await self._log.last(DELIVERY, ended.source)
        if source is None:
            raise ValueError("an outcome without its dispatch")
        dispatch = source.body
        assert isinstance(dispatch, Dispatch)
        context = Context(ended.realm, "feedback", f"{DELIVERY}:{fact.position}", fact.correlation)
        for offset, result in enumerate(ended.results):
            recipient = dispatch.recipients[ended.first + offset]
            tried_at = ended.started_at or ended.ended_at
            await self._learn(dispatch, recipient, result.outcome, tried_at, context)
        if not ended.late:
            await self.plan(dispatch, ended)

    async def _learn(
        self,
        dispatch: Dispatch,
        recipient: Recipient,
        outcome: Outcome,
        tried_at: datetime,
        context: Context,
    ) -> None:
        """Retire or suppress what the provider said is dead or unwanted."""
        match outcome:
            case Gone() if recipient.client is not None:
                gone = FindAddressGone(
                    client=recipient.client,
                    token=recipient.token,
                    code=outcome.code,
                    since=outcome.since or tried_at,
                    tried_at=tried_at,
                    confirm=outcome.confirm,
                )
                await self._bus.execute(gone, context)
            case Gone(confirm=True) if recipient.contact is not None:
                doubt_own = DoubtContactAddress(
                    contact=recipient.contact,
                    channel=dispatch.channel,
                    code=outcome.code,
                    report=dispatch.message.hex,
                    since=outcome.since or dispatch.accepted_at,
                )
                await self._bus.execute(doubt_own, context)
            case Gone() if recipient.contact is not None:
                since = outcome.since or dispatch.accepted_at
                lost = FindContactAddressGone(
                    contact=recipient.contact,
                    channel=dispatch.channel,
                    code=outcome.code,
                    since=since,
                )
                await self._bus.execute(lost, context)
            case Rejected(quarantine=True) if recipient.client is not None:
                doubt = QuarantineAddress(client=recipient.client, token=recipient.token, code=outcome.code)
                await self._bus.execute(doubt, context)
            case Suppressed() if recipient.contact is not None and outcome.code not in OURS:
                stop = SuppressChannel(contact=recipient.contact, channel=dispatch.channel, code=outcome.code)
                await self._bus.execute(stop, context)

    async def plan(self, dispatch: Dispatch, ended: OutcomeSlice) -> None:
        """Schedule another try for what was not taken, or end it where no try is left."""
        plan = planned(dispatch, ended)
        if plan.expired is not None:
            await self._end(dispatch, ended, plan.expired, Expired())
        if plan.exhausted is not None:
            await self._end(dispatch, ended, plan.exhausted, Rejected(EXHAUSTED))
            await self._exhausted(dispatch, plan.exhausted.which)
        for each in plan.tries:
            perhaps = await self._perhaps_sent(dispatch, ended, each.group.which)
            again = Again(dispatch.subject, *each.group, counted=each.counted, perhaps_sent=perhaps)
            id = retry_id(dispatch, each.group)
            await self._log.schedule(id, each.due, target=due_subject(id), body=msgspec.json.encode(again))

    async def _perhaps_sent(
        self, dispatch: Dispatch, ended: OutcomeSlice, which: Sequence[int]
    ) -> tuple[datetime | None, ...]:
        """For each recipient: since when a try whose answer was lost may have been sent. A Retry was not sent."""
        known = [dispatch.perhaps_sent_to(index) for index in which]
        earlier = _perhaps_sent_before(ended)
        lost = [
            at is None and (isinstance(_outcome(ended, index), Unknown) or index - ended.first in earlier)
            for at, index in zip(known, which, strict=True)
        ]
        if any(lost):
            attempts = await lost_attempts(self._log, dispatch, ended.attempt)
            since = attempts[-1].started_at if attempts else dispatch.accepted_at
            known = [since if now else at for at, now in zip(known, lost, strict=True)]
        return tuple(known) if any(known) else ()

    async def _end(
        self, dispatch: Dispatch, ended: OutcomeSlice, group: Group, outcome: Expired | Rejected
    ) -> None:
        """Work ends by an outcome, never because a stream forgot it."""
        last = msgspec.structs.replace(
            ended,
            dispatch=f"{dispatch.id}-end{group.first}",
            results=tuple(
                Result(
                    dispatch.recipients[i].contact,
                    dispatch.recipients[i].client,
                    _final(outcome, _outcome(ended, i)),
                )
                for i in group.which
            ),
            ended_at=self._clock(),
            perhaps_sent=(),
        )
        subject = f"outcome.{dispatch.channel}.{last.dispatch}"
        try:
            await self._log.append(Append(subject, last, 0, dispatch.correlation))
        except VersionConflict:
            return

    async def _exhausted(self, dispatch: Dispatch, which: Sequence[int]) -> None:
        body = msgspec.json.encode({"which": which})
        await self._log.triage("feedback", dispatch.subject, reason=EXHAUSTED, body=body, position=0)


class Retrier:
    """Works on due tries: writes the next dispatch. A recipient whose token has moved since stays in it, without an
    address, so that one record decides what became of all of them.
    """

    def __init__(
        self, *, log: Log, keys: KeyStore, models: ReadModels, clock: Callable[[], datetime]
    ) -> None:
        self._log, self._keys, self._models, self._clock = log, keys, models, clock

    async def run(self) -> None:
        await work(self._log, DUE, self.handle)

    async def handle(self, task: Task) -> None:
        again = msgspec.json.decode(task.raw, type=Again)
        source = await self._log.last(DELIVERY, again.source)
        if source is None:
            raise ValueError("a try without its dispatch")
        dispatch = source.body
        assert isinstance(dispatch, Dispatch)
        following = await self._sealed(dispatch, next_dispatch(dispatch, again), again.which)
        try:
            await self._log.append(Append(following.subject, following, 0, dispatch.correlation))
        except VersionConflict:
            # The schedule fired twice, or the answer to the first append was lost: it is written.
            return

    async def _sealed(self, dispatch: Dispatch, following: Dispatch, which: Sequence[int]) -> Dispatch:
        """The next dispatch with its own addresses. Without the key it stays shut, and the gateway lets it expire."""
        hidden = await unseal(self._keys, dispatch)
        if hidden is None:
            return following
        owned = await self._still_owned(dispatch.realm, following.recipients)
        addresses = [hidden.addresses[i] if mine else "" for i, mine in zip(which, owned, strict=True)]
        name = day_key(self._clock())
        kept = Sealed(hidden.content, tuple(addresses))
        blob = await seal(self._keys, name, kept, bound_to=following.id)
        return msgspec.structs.replace(following, key=name, sealed=blob)

    async def _still_owned(self, realm: str, recipients: Sequence[Recipient]) -> list[bool]:
        """For each recipient: whether no other client has registered the same token since."""
        pairs = [(to.token, to.client) for to in recipients if to.token and to.client]
        owned = iter(await reach.owned(self._models, realm, pairs))
        return [next(owned) if to.token and to.client else True for to in recipients]


def _outcome(ended: OutcomeSlice, index: int) -> Outcome:
    """Of a recipient, by its place in the dispatch."""
    return ended.results[index - ended.first].outcome


def _perhaps_sent_before(ended: OutcomeSlice) -> frozenset[int]:
    """The places in the slice to which a try before its own may have been sent."""
    if ended.perhaps_sent is None:
        return frozenset(range(len(ended.results)) if ended.repeated else ())
    return frozenset(ended.perhaps_sent)


def _final(outcome: Expired | Rejected, last: Outcome) -> Outcome:
    """How it ends, and whether the last try was perhaps successful."""
    return msgspec.structs.replace(outcome, detail=PERHAPS_SENT) if isinstance(last, Unknown) else outcome


def _is_final_and_quiet(outcome: Outcome) -> bool:
    """Nothing to learn and nothing to try again."""
    match outcome:
        case Accepted() | Expired():
            return True
        case Rejected():
            return not outcome.quarantine
        case Suppressed():
            return outcome.code in OURS
        case _:
            return False
