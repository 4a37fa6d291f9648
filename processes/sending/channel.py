"""One channel's gateway process: takes dispatches, sends slices, records what each send came to.

Before each slice an attempt is appended with the expected last sequence: the record, and the fence against a second
gateway. After it one outcome for the slice: the first that is written counts, one of a gateway that was fenced off
meanwhile is kept as late. What was attempted without an outcome, or without an answer, may have been sent: it is
repeated under the same collapse id, and marked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from commands.port import KeyStore, VersionConflict
from domain.deliveries.delivery import Attempt, Dispatch, Lane, OutcomeSlice, Result, Sealed, with_repeated
from domain.deliveries.outcome import NO_APP, Expired, Outcome, Retry, Suppressed, Unknown
from domain.deliveries.retry import HALTED
from domain.deliveries.routing import MOVED
from domain.recorded import DELIVERY
from gateways.port import AppSender, AppSending, ChannelHalted, Gateway, Notice, Target
from processes.port import Append, Log, Task
from processes.sealing import unseal
from processes.sending.lanes import Lanes
from processes.worker import Post, TakenOver, work

log = structlog.get_logger(__name__)

SEND_DEADLINE_S = 20.0
"""The longest a slice may take at the provider, whatever it does."""
DEADLINE_S_MIN = 0.5
"""For the last try of a message that is about to expire: less would be no try. More would not leave the gateway a
moment to end in before it is cut off.
"""
IN_FLIGHT = {"live": 4, "bulk": 4}
"""Pages of a lane under way at once: enough to hide the log's round trips."""
OVERRUN_S_MAX = 1.0
"""No deadline is passed by more: a gateway that does not end by itself is cut off then, and holds up nobody."""
FAULT = "gateway-failed"
SLICES_MAX = 500


class Progress:
    """What earlier work on a dispatch has left: slices done, and an attempt without an outcome.

    repeats: that one. repeats_before: the end of its slice. repeats_tries, repeats_since: with those that it repeats.
    """

    def __init__(self) -> None:
        self.last_attempt = self.last_outcome = 0
        self.first = 0
        self.repeats: int | None = None
        self.repeats_before = self.repeats_tries = 0
        self.repeats_since: datetime | None = None

    def perhaps_sent_to(self, dispatch: Dispatch, first: int, last: int) -> list[datetime | None]:
        """Since when this or an earlier dispatch may have been sent to each recipient of a slice; None: it was not."""
        if self.repeats_since is None and not dispatch.perhaps_sent and dispatch.attempt == 1:
            return [None] * (last - first)
        return [self._perhaps_sent(dispatch, index) for index in range(first, last)]

    def perhaps_sent_twice(self, dispatch: Dispatch, first: int, last: int) -> tuple[int, ...]:
        """The places in a slice to which two earlier tries may have been sent."""
        last = min(last, self.repeats_before)
        if not self.repeats_tries or first >= last:
            return ()
        if self.repeats_tries > 1:
            return tuple(range(last - first))
        return tuple(index - first for index in range(first, last) if dispatch.perhaps_sent_to(index))

    def _perhaps_sent(self, dispatch: Dispatch, index: int) -> datetime | None:
        earlier = dispatch.perhaps_sent_to(index)
        if self.repeats_since is None or index >= self.repeats_before:
            return earlier
        return min(earlier or self.repeats_since, self.repeats_since)


class ChannelProcess:
    """name: this process in the log's attempts. The gateway's own time-outs keep every send within its deadline.

    noted: told of what each slice's sends came to. sleep: how it waits while the channel is halted, by the same clock.
    """

    def __init__(
        self,
        *,
        log: Log,
        keys: KeyStore,
        gateway: Gateway,
        name: str,
        clock: Callable[[], datetime],
        apps: AppSending,
        noted: Callable[[Sequence[Outcome]], None] | None = None,
        deadline_s: float = SEND_DEADLINE_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log, self._keys, self._gateway = log, keys, gateway
        self._name, self._clock, self._deadline_s = name, clock, deadline_s
        self._apps, self._noted, self._sleep = apps, noted, sleep
        self._halted_until: datetime | None = None
        self._lanes = Lanes()

    @property
    def channel(self) -> str:
        return self._gateway.channel

    @property
    def halted_until(self) -> datetime | None:
        """Set while the provider refuses our credentials or configuration."""
        return self._halted_until

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work(self._log, self._post("live"), self._live))
            group.create_task(work(self._log, self._post("bulk"), self._bulk))

    def _post(self, lane: Lane) -> Post:
        return Post(
            DELIVERY,
            f"gateway-{self.channel}-{lane}",
            (f"dispatch.{self.channel}.{lane}.>",),
            in_flight=IN_FLIGHT[lane],
        )

    async def _live(self, task: Task) -> None:
        with self._lanes.live():
            await self._handle(task)

    async def _bulk(self, task: Task) -> None:
        async with self._lanes.bulk():
            await self._handle(task)

    async def _handle(self, task: Task) -> None:
        dispatch = task.fact.body
        assert isinstance(dispatch, Dispatch)
        progress = await self._progress(dispatch) if task.deliveries > 1 else Progress()
        hidden = await unseal(self._keys, dispatch)
        while progress.first < len(dispatch.recipients):
            await self._slice(dispatch, hidden, await self._sender(dispatch), progress)

    async def _sender(self, dispatch: Dispatch) -> AppSender | None:
        """Asked before the attempt is recorded: where nobody answers, nothing was attempted."""
        if not dispatch.app:
            return None
        return await self._apps.sender(dispatch.realm, dispatch.app, self.channel)

    async def _progress(self, dispatch: Dispatch) -> Progress:
        """Read back where the dispatch stands: attempts and outcomes, in order."""
        progress = Progress()
        outcome_of: set[int] = set()
        subject = f"outcome.{self.channel}.{dispatch.id}"
        for fact in await self._log.read(DELIVERY, subject, limit=SLICES_MAX):
            assert isinstance(fact.body, OutcomeSlice)
            outcome_of.add(fact.body.attempt)
            progress.first = max(progress.first, fact.body.first + len(fact.body.results))
            progress.last_outcome = fact.position
        subject = f"attempt.{self.channel}.{dispatch.id}"
        last = await self._log.last(DELIVERY, subject)
        if last is not None:
            assert isinstance(last.body, Attempt)
            progress.last_attempt = last.position
            if last.position not in outcome_of and last.body.last > progress.first:
                progress.repeats, progress.repeats_before = last.position, last.body.last
                lost = await lost_attempts(self._log, dispatch, last.position) or [last.body]
                progress.repeats_tries, progress.repeats_since = len(lost), lost[-1].started_at
        return progress

    async def _slice(
        self, dispatch: Dispatch, hidden: Sealed | None, sender: AppSender | None, progress: Progress
    ) -> None:
        """Send the next slice. Raises TakenOver when another gateway has the dispatch by now."""
        await self._until_not_halted()
        first = progress.first
        last = min(first + self._gateway.slice_size, len(dispatch.recipients))
        now = self._clock()
        try:
            attempt = await self._attempt(dispatch, first, last, progress, now)
        except VersionConflict as conflict:
            log.info("dispatch_taken_over", channel=self.channel, dispatch=dispatch.id)
            raise TakenOver from conflict
        perhaps_sent = progress.perhaps_sent_to(dispatch, first, last)
        outcomes = await self._send(dispatch, hidden, sender, first, perhaps_sent)
        ended = self._ended(
            dispatch,
            attempt,
            first,
            outcomes,
            repeated=progress.repeats is not None,
            started_at=now,
            perhaps_sent=(
                *(place for place, since in enumerate(perhaps_sent) if since),
                *progress.perhaps_sent_twice(dispatch, first, last),
            ),
        )
        await self._record(dispatch, ended, progress)
        progress.last_attempt, progress.first = attempt, last
        if last >= progress.repeats_before:
            progress.repeats = progress.repeats_since = None
            progress.repeats_tries = 0

    async def _attempt(
        self, dispatch: Dispatch, first: int, last: int, progress: Progress, now: datetime
    ) -> int:
        attempt = Attempt(
            realm=dispatch.realm,
            message=dispatch.message,
            channel=self.channel,
            dispatch=dispatch.id,
            first=first,
            last=last,
            gateway=self._name,
            started_at=now,
            repeats=progress.repeats,
        )
        subject = f"attempt.{self.channel}.{dispatch.id}"
        appends = [Append(subject, attempt, progress.last_attempt, dispatch.correlation)]
        if progress.repeats is not None:
            appends.append(self._nothing_known(dispatch, progress.repeats, first, progress.last_outcome))
        positions = await self._log.append(*appends)
        if progress.repeats is not None:
            progress.last_outcome = positions[-1]
        return positions[0]

    def _nothing_known(self, dispatch: Dispatch, attempt: int, first: int, last_outcome: int) -> Append:
        """An empty outcome in place of the one that is missing: should it still come, it finds that it was repeated,
        even if whoever repeats it dies, too.
        """
        ended = self._ended(dispatch, attempt, first, (), repeated=True)
        return Append(f"outcome.{self.channel}.{dispatch.id}", ended, last_outcome, dispatch.correlation)

    async def _send(
        self,
        dispatch: Dispatch,
        hidden: Sealed | None,
        sender: AppSender | None,
        first: int,
        perhaps_sent: Sequence[datetime | None],
    ) -> Sequence[Outcome]:
        last = first + len(perhaps_sent)
        if hidden is None:
            return [Expired("key-destroyed")] * (last - first)
        if dispatch.app and sender is None:
            return [Suppressed(NO_APP)] * (last - first)
        left_s = (dispatch.expires_at - self._clock()).total_seconds()
        # A time to live of zero still means one try at once.
        if left_s <= 0 and (dispatch.expires_at > dispatch.accepted_at or dispatch.attempt > 1):
            return [Expired()] * (last - first)
        notice = Notice(
            realm=dispatch.realm,
            message=dispatch.message,
            tid=dispatch.tid,
            sender=dispatch.sender,
            content=hidden.content,
            urgency=dispatch.urgency,
            expires_at=dispatch.expires_at,
            app=sender,
        )
        addresses = hidden.addresses[first:last]
        targets = [
            Target(address, recipient.contact, recipient.client, sent_at)
            for address, recipient, sent_at in zip(
                addresses, dispatch.recipients[first:last], perhaps_sent, strict=True
            )
            if address
        ]
        deadline_s, cut_off_s = deadlines(left_s, self._deadline_s)
        outcomes = iter(await self._answers(notice, targets, deadline_s, cut_off_s) if targets else ())
        return [next(outcomes) if address else Suppressed(MOVED) for address in addresses]

    async def _answers(
        self, notice: Notice, targets: Sequence[Target], deadline_s: float, cut_off_s: float
    ) -> Sequence[Outcome]:
        """What the provider says about each target."""
        try:
            async with asyncio.timeout(cut_off_s):
                outcomes = await self._gateway.send(notice, targets, deadline_s=deadline_s)
        except ChannelHalted as halt:
            self._halt(halt)
            outcomes = [_of_halted(outcome) for outcome in halt.outcomes]
        except Exception as fault:
            # A fault of the gateway's own: nobody knows what was sent, and the record must not stay open.
            log.exception("gateway_failed", channel=self.channel)
            outcomes = [Unknown(FAULT, type(fault).__name__)] * len(targets)
        assert len(outcomes) == len(targets), "a gateway answers for every target"
        if self._noted is not None:
            self._noted(outcomes)
        return outcomes

    def _ended(
        self,
        dispatch: Dispatch,
        attempt: int,
        first: int,
        outcomes: Sequence[Outcome],
        *,
        repeated: bool,
        started_at: datetime | None = None,
        perhaps_sent: tuple[int, ...] = (),
    ) -> OutcomeSlice:
        results = tuple(
            Result(recipient.contact, recipient.client, outcome)
            for recipient, outcome in zip(dispatch.recipients[first:], outcomes, strict=False)
        )
        return OutcomeSlice(
            realm=dispatch.realm,
            message=dispatch.message,
            channel=self.channel,
            dispatch=dispatch.id,
            source=dispatch.subject,
            attempt=attempt,
            first=first,
            results=results,
            ended_at=self._clock(),
            repeated=repeated,
            started_at=started_at,
            perhaps_sent=perhaps_sent,
        )

    async def _record(self, dispatch: Dispatch, ended: OutcomeSlice, progress: Progress) -> None:
        """Write what the slice came to: as the outcome that counts, or as late if another gateway was faster.

        A conflict says that another one has been at work on it: either way the slice may have been sent twice.
        """
        subject = f"outcome.{self.channel}.{dispatch.id}"
        sent = ended
        for _ in range(SLICES_MAX):
            expect = None if ended.late else progress.last_outcome
            try:
                [progress.last_outcome] = await self._log.append(
                    Append(subject, ended, expect, dispatch.correlation)
                )
            except VersionConflict:
                there = await self._log.read(DELIVERY, subject, limit=SLICES_MAX)
                progress.last_outcome = there[-1].position
                late = any(_covers(fact.body, ended) for fact in there)
                perhaps_sent = sent.perhaps_sent_beside(fact.body for fact in there)
                ended = msgspec.structs.replace(ended, late=late, repeated=True, perhaps_sent=perhaps_sent)
            else:
                return
        raise TakenOver

    def _halt(self, halt: ChannelHalted) -> None:
        self._halted_until = self._clock() + timedelta(seconds=halt.retry_after_s)
        log.critical("channel_halted", channel=self.channel, code=halt.code, detail=halt.detail)

    async def _until_not_halted(self) -> None:
        while self._halted_until is not None:
            left_s = (self._halted_until - self._clock()).total_seconds()
            if left_s <= 0:
                self._halted_until = None
                return
            await self._sleep(left_s)


def deadlines(left_s: float, longest_s: float) -> tuple[float, float]:
    """Seconds after which a gateway is to end a slice, and after which it is cut off.

    left_s: until the message expires; what a provider has not taken by then would come too late. 0 or less: one try
    is made at once all the same.
    """
    ends_s = min(left_s, longest_s) if left_s > 0 else longest_s
    return min(max(ends_s, DEADLINE_S_MIN), longest_s), ends_s + OVERRUN_S_MAX


async def lost_attempts(log: Log, dispatch: Dispatch, attempt: int) -> list[Attempt]:
    """The attempt at a position, the one that it repeats, and so on to the first."""
    facts = await log.read(DELIVERY, f"attempt.{dispatch.channel}.{dispatch.id}", limit=SLICES_MAX)
    attempts = {fact.position: fact.body for fact in facts if isinstance(fact.body, Attempt)}
    return with_repeated(attempts, attempt)


def _of_halted(outcome: Outcome) -> Outcome:
    """What a halted channel could not send is tried again without counting as a try."""
    return Retry(HALTED, outcome.after_s, outcome.code) if isinstance(outcome, Retry) else outcome


def _covers(other: object, ended: OutcomeSlice) -> bool:
    """Whether an outcome on the log already counts for some of the same recipients."""
    assert isinstance(other, OutcomeSlice)
    ends = ended.first + len(ended.results)
    return not other.late and other.first < ends and ended.first < other.first + len(other.results)
