"""One message's way through all processes: page, dispatches, attempts, outcomes, settled."""

from __future__ import annotations

from commands.clients import Enlist
from commands.contacts import PutContact
from commands.messaging import Draft, Publish
from commands.threads import OpenThread, Subscribe
from domain.deliveries.delivery import Attempt, AudiencePage, Dispatch, OutcomeSlice
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS
from domain.thread import Settings
from projections import deliveries
from tests.memory.world import REALM, World, world

PEOPLE = ("ann", "bob", "cem")


async def subscribed(made: World, *, phones: bool = True) -> None:
    """A thread with three subscribers: each has an iPhone and an e-mail address."""
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss")))
    for uid in PEOPLE:
        await made.do(PutContact(uid=uid, email=f"{uid}@example.org"))
        await made.do(Subscribe(tid="news", uid=uid))
        if phones:
            await made.do(Enlist(uid=uid, channel="apns", identity=f"t-{uid}", address=f"t-{uid}"))


async def test_one_publish_becomes_pages_dispatches_attempts_and_outcomes() -> None:
    """A publish is paged, sent on every channel, recorded step by step, and settled with its totals."""
    async with world("apns", "email") as made:
        await subscribed(made)
        accepted = await made.do(Publish(tid="news", draft=Draft(text="hello")))
        await made.rest()

        [page] = [f.body for f in made.facts(DELIVERY) if isinstance(f.body, AudiencePage)]
        assert page.cursor is None
        assert page.as_of == accepted.position
        assert {channel for entry in page.entries for channel in entry.channels} == {
            "websocket",
            "apns",
            "email",
        }
        dispatches = [f.body for f in made.facts(DELIVERY) if isinstance(f.body, Dispatch)]
        assert sorted((d.channel, len(d.recipients)) for d in dispatches) == [("apns", 3), ("email", 3)]
        attempts = [f.body for f in made.facts(DELIVERY) if isinstance(f.body, Attempt)]
        assert sorted((a.channel, a.first, a.last) for a in attempts) == [
            ("apns", 0, 2),
            ("apns", 2, 3),
            ("email", 0, 2),
            ("email", 2, 3),
        ]
        outcomes = [f.body for f in made.facts(DELIVERY) if isinstance(f.body, OutcomeSlice)]
        assert not any(outcome.repeated for outcome in outcomes)
        assert set(made.provider("apns").sends().values()) == {1}
        [settled] = [f.body for f in made.facts(EVENTS) if isinstance(f.body, Message.Settled)]
        assert settled.totals == {"accepted": 9}  # three sockets, three phones, three mailboxes
        rows, _ = await deliveries.of_message(made.models, REALM, accepted.message, cursor=None, limit=100)
        assert {row["status"] for row in rows} == {"accepted"}
        assert len(rows) == 9


async def test_a_message_for_sockets_alone_is_settled() -> None:
    """A message without any send through a gateway is settled as soon as it is paged."""
    async with world() as made:
        await subscribed(made, phones=False)
        await made.do(Publish(tid="news", draft=Draft(text="hello", channels=("websocket",))))
        await made.rest()
        [settled] = [f.body for f in made.facts(EVENTS) if isinstance(f.body, Message.Settled)]
        assert settled.totals == {"accepted": 3}


async def test_a_message_to_nobody_is_settled() -> None:
    """A thread without subscribers: the message is dispatched to nobody and settled with empty totals."""
    async with world() as made:
        await made.do(OpenThread(tid="news", settings=Settings(owner="boss")))
        await made.do(Publish(tid="news", draft=Draft(text="hello")))
        await made.rest()
        [settled] = [f.body for f in made.facts(EVENTS) if isinstance(f.body, Message.Settled)]
        assert settled.totals == {}
