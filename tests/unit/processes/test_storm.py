"""Everything at once: two of each process, each with a fault of its own somewhere, while people come and go."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from commands.clients import Enlist
from commands.contacts import EraseContact, PutContact
from commands.messaging import Broadcast, Cancel, Draft, FallDue, Multicast, Publish
from commands.threads import OpenThread, Subscribe, Unsubscribe
from domain.deliveries.outcome import (
    Accepted,
    Gone,
    Outcome,
    Rejected,
    Retry,
    Suppressed,
    Unknown,
)
from domain.errors import MsgxcError
from domain.message import Message
from domain.recorded import EVENTS
from domain.thread import Settings
from gateways.port import Target
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.ports.read_models import MemoryReadModels
from tests.memory.projecting import project
from tests.memory.world import WORKERS, World

UIDS = tuple(f"u{number}" for number in range(6))
TIDS = ("news", "jobs")
SENDERS = (*WORKERS, "gateway-apns", "gateway-email")
ANSWERS: tuple[Callable[[], Outcome], ...] = (
    lambda: Accepted("id"),
    lambda: Accepted("id"),
    lambda: Accepted("id"),
    lambda: Retry("busy"),
    lambda: Retry("quota", after_s=600.0),
    lambda: Unknown("timeout"),
    lambda: Gone("unregistered"),
    lambda: Gone("unregistered", confirm=True),
    lambda: Rejected("payload"),
    lambda: Rejected("BadDeviceToken", quarantine=True),
    lambda: Suppressed("opted-out"),
)


class Storm:
    """A run that one number decides."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(slice_size=self.dice.randint(1, 4))
        self.lives: list[Lifeline] = []

    async def rage(self) -> None:
        for role in ("project-events", "project-delivery"):
            self._start(role, (Fault.DEATH,))
        for role in SENDERS:
            self._start(role, tuple(Fault))
            self._start(role, (Fault.DEATH, Fault.LOST_ANSWER, Fault.LOST_WORD))
        for channel in ("apns", "email"):
            self.world.provider(channel).script = self._says
            if self.dice.random() < 0.3:
                self.world.provider(channel).halts_s = [self.dice.choice([5.0, 400.0])]
        for tid in TIDS:
            await self.world.do(OpenThread(tid=tid, settings=Settings(owner="boss")))
        for uid in UIDS:
            await self.world.do(PutContact(uid=uid, email=f"{uid}@example.org"))
            await self.world.do(Enlist(uid=uid, channel="apns", identity=uid, address=uid))
            await self.world.do(Subscribe(tid="news", uid=uid))
        for _ in range(40):
            await self._something()
        await self.world.rest()
        for life in self.lives:
            life.awake.set()
        await self.world.rest()

    def _start(self, role: str, faults: tuple[Fault, ...]) -> None:
        life = Lifeline(self.dice.choice(faults), self.dice.randint(1, 12))
        self.lives.append(life)
        self.world.start(role, life)

    def _says(self, target: Target, times: int) -> Outcome:
        return self.dice.choice(ANSWERS)()

    async def _something(self) -> None:
        """Somebody does something, or time passes, or one who slept wakes up."""
        if self.dice.random() < 0.3:
            self.world.clock.advance(self.dice.choice([0.5, 3.0, 13.0, 100.0]))
        if self.dice.random() < 0.1:
            self.dice.choice(self.lives).awake.set()
        if self.dice.random() < 0.5:
            await self.world.quiet()
        try:
            await self.world.do(self._command())
        except MsgxcError:
            return  # refused, as it may be: the ledger judges what was accepted

    def _command(self) -> Any:
        dice, uid, tid = self.dice, self.dice.choice(UIDS), self.dice.choice(TIDS)
        token = dice.choice(UIDS)
        later = self.world.clock.now + timedelta(seconds=dice.randint(1, 2000))
        channels = dice.choice([None, ("apns",), ("email", "websocket")])
        draft = Draft(
            text="hello",
            channels=channels,
            ttl_s=dice.choice([None, 0, 300]),
            scheduled_at=dice.choice([None, None, later]),
        )
        return dice.choice(
            [
                PutContact(uid=uid, email=dice.choice(["", f"{uid}@example.org"])),
                Enlist(uid=uid, channel="apns", identity=token, address=token),
                Enlist(uid=uid, channel="apns", identity=token, address=token),
                Subscribe(tid=tid, uid=uid),
                Subscribe(tid=tid, uid=uid, channels=dice.choice([None, ("email",), ()])),
                Unsubscribe(tid=tid, uid=uid),
                *[Publish(tid=tid, draft=draft)] * 4,
                Multicast(uids=(uid, token, "nobody"), draft=draft),
                Broadcast(draft=draft),
                self._of_some_message(Cancel) or PutContact(uid=uid),
                self._of_some_message(FallDue) or PutContact(uid=uid),
                EraseContact(uid=uid) if dice.random() < 0.2 else Subscribe(tid=tid, uid=uid),
            ]
        )

    def _of_some_message(self, kind: type) -> Any:
        events = [fact.body for fact in self.world.facts(EVENTS, "evt.message.>")]
        found = [event.originator_id for event in events if isinstance(event, Message.Accepted)]
        return kind(message=self.dice.choice(found)) if found else None


async def weather(seed: int) -> None:
    """A storm, and then the books: all deliveries ended once, totals right, read models what a rebuild gives."""
    storm = Storm(seed)
    try:
        await storm.rage()
        await Ledger(storm.world).assert_balanced()
        rebuilt = MemoryReadModels()
        await project(storm.world, rebuilt)
        grown = storm.world.models.content()
        names = {name for name in rebuilt.content() if name != "messages"}
        assert {name: rebuilt.content()[name] for name in names} == {name: grown.get(name) for name in names}
    finally:
        for running in list(storm.world.running):
            await storm.world.stop(running)


@pytest.mark.parametrize("seed", range(20))
async def test_after_a_storm_the_books_are_balanced(seed: int) -> None:
    """Whatever fails, whenever: nothing is lost, nothing is sent twice unmarked, every total is right."""
    await weather(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1300))
async def test_after_many_storms_too(seed: int) -> None:
    """The same, for three hundred other runs."""
    await weather(seed)
