"""A call under an idempotency key: carried out once, its twins get its answer."""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import product
from uuid import UUID

import pytest

from commands.clients import Enlist
from commands.contacts import EraseContact, PutContact
from commands.messaging import (
    Accepted,
    Cancel,
    Draft,
    Publish,
    Send,
)
from commands.scope import Claim, claim_for
from commands.threads import ChangeThread, CloseThread, Opened, OpenThread, Subscribe, Unsubscribe
from domain.aggregate import Event
from domain.contact import Contact
from domain.context import Caller
from domain.errors import ClaimMismatch, NotFound
from domain.message import Message
from domain.recorded import EVENTS
from domain.request import Request
from domain.subscription import Subscription
from domain.thread import Settings, Thread
from tests.memory.clock import START
from tests.memory.people import open_thread
from tests.memory.world import World

HELLO = Draft(text="hello")
OFF = Settings(owner="boss", channels=())


BOSS = Caller("boss")


def claim(draft: Draft = HELLO, *, key: str = "k", caller: Caller = BOSS) -> Claim:
    return claim_for(
        key, caller=caller, route="publish", thread="news", command=Publish(tid="news", draft=draft)
    )


async def test_a_twin_gets_the_first_answer() -> None:
    """The same call under the same key is one message; later, and after anything else, too."""
    made = World()
    await open_thread(made)
    first = await made.do(Publish(tid="news", draft=HELLO), caller=BOSS, claim=claim())
    await made.do(Publish(tid="news", draft=HELLO), caller=BOSS)
    made.clock.advance(3600)
    again = await made.do(Publish(tid="news", draft=HELLO), caller=BOSS, claim=claim())
    assert (again.message, again.position, again.repeated) == (first.message, first.position, True)
    assert len(made.bodies(EVENTS, Message.Accepted)) == 2


async def test_a_twin_gets_the_first_answer_though_it_would_be_refused_by_now() -> None:
    """The right was taken away, the thread closed, the contact erased: what was sent is not told to have failed."""
    made = World()
    await open_thread(made)
    command, pub = Publish(tid="news", draft=HELLO), Caller("pub")
    await made.do(ChangeThread(tid="news", settings=Settings(owner="boss", publishers=("pub",))))
    key = claim(caller=pub)
    first = await made.do(command, caller=pub, claim=key)
    await made.do(ChangeThread(tid="news", settings=Settings(owner="boss")))
    assert (await made.do(command, caller=pub, claim=key)).message == first.message
    with pytest.raises(NotFound):
        await made.do(command, caller=pub, claim=claim(caller=pub, key="another"))
    await made.do(CloseThread(tid="news"))
    assert (await made.do(command, caller=pub, claim=key)).message == first.message
    other = Draft(text="other")
    with pytest.raises(ClaimMismatch):
        await made.do(Publish(tid="news", draft=other), caller=pub, claim=claim(other, caller=pub))
    await made.do(PutContact(uid="ann"))
    send = Send(uid="ann", draft=HELLO)
    sent = await made.do(send, caller=BOSS, claim=claim())
    await made.do(EraseContact(uid="ann"))
    assert (await made.do(send, caller=BOSS, claim=claim())).message == sent.message


async def test_a_twin_gets_the_first_answer_though_the_thread_was_switched_off_since() -> None:
    """Where the message is; and other parameters are refused as ever."""
    made = World()
    await open_thread(made)
    command = Publish(tid="news", draft=HELLO)
    first = await made.do(command, caller=BOSS, claim=claim())
    await made.do(ChangeThread(tid="news", settings=OFF), caller=BOSS)
    again = await made.do(command, caller=BOSS, claim=claim())
    assert (again.message, again.position, again.repeated) == (first.message, first.position, True)
    other = Draft(text="other")
    with pytest.raises(ClaimMismatch):
        await made.do(Publish(tid="news", draft=other), caller=BOSS, claim=claim(other))
    assert await made.do(command, caller=BOSS, claim=claim(key="another")) == Accepted(None)
    assert await made.do(command, caller=BOSS) == Accepted(None)


async def test_what_was_dropped_or_refused_is_not_claimed() -> None:
    """A thread was switched off, or closed to the caller: repeated later under the same key, it is sent, and once."""
    made = World()
    await open_thread(made)
    pub = Caller("pub")
    await made.do(ChangeThread(tid="news", settings=OFF))
    command = Publish(tid="news", draft=HELLO)
    assert await made.do(command, caller=BOSS, claim=claim()) == Accepted(None)
    with pytest.raises(NotFound):
        await made.do(command, caller=pub, claim=claim(caller=pub))
    await made.do(ChangeThread(tid="news", settings=Settings(owner="boss", publishers=("pub",))))
    for caller in (BOSS, pub):
        answers = [await made.do(command, caller=caller, claim=claim(caller=caller)) for _ in range(2)]
        assert [answer.repeated for answer in answers] == [False, True]
    assert len(made.bodies(EVENTS, Message.Accepted)) == 2


async def test_leaving_what_one_never_joined_is_done_once() -> None:
    """A twin of that call ends no membership that has begun since."""
    made = World()
    await open_thread(made)
    command = Unsubscribe(tid="news", uid="ann")
    key = claim_for("k", caller=BOSS, route="unsubscribe", thread="news", command=command)
    await made.do(command, caller=BOSS, claim=key)
    await made.do(Subscribe(tid="news", uid="ann"))
    await made.do(command, caller=BOSS, claim=key)
    assert not made.bodies(EVENTS, Subscription.Ended)


async def test_a_key_belongs_to_its_caller() -> None:
    """The same key of another caller is another key."""
    made = World()
    await open_thread(made)
    for uid in ("boss", "admin"):
        caller = Caller(uid, roles=frozenset({"admin"}))
        await made.do(Publish(tid="news", draft=HELLO), caller=caller, claim=claim(caller=caller))
    assert len(made.bodies(EVENTS, Message.Accepted)) == 2


async def test_other_parameters_under_a_key_are_refused() -> None:
    """A key that was used for something else is an error, and stores nothing."""
    made = World()
    await open_thread(made)
    await made.do(Publish(tid="news", draft=HELLO), caller=BOSS, claim=claim())
    other = Draft(text="other")
    with pytest.raises(ClaimMismatch):
        await made.do(Publish(tid="news", draft=other), caller=BOSS, claim=claim(other))
    assert len(made.bodies(EVENTS, Message.Accepted)) == 1


async def test_twins_that_race_are_one_message() -> None:
    """Eight calls at once: one message, one answer for all."""
    made = World()
    await open_thread(made)
    calls = [made.do(Publish(tid="news", draft=HELLO), caller=BOSS, claim=claim()) for _ in range(8)]
    answers = await asyncio.gather(*calls)
    assert len({(answer.message, answer.position) for answer in answers}) == 1
    assert [answer.repeated for answer in answers].count(False) == 1
    assert len(made.bodies(EVENTS, Message.Accepted)) == 1


async def test_a_claim_on_what_creates_nothing_is_an_event_beside_it() -> None:
    """Subscribing under a key: carried out once, in one batch with its claim; a twin later changes nothing."""
    made = World()
    await open_thread(made)
    command = Subscribe(tid="news", uid="ann")
    key = claim_for("k", caller=BOSS, route="subscribe", thread="news", command=command)
    await asyncio.gather(*(made.do(command, caller=BOSS, claim=key) for _ in range(4)))
    made_once = [Request.Made, Contact.Created, Subscription.Started]
    assert [type(fact.body) for fact in made.facts(EVENTS)][1:] == made_once
    await made.do(Unsubscribe(tid="news", uid="ann"))
    await made.do(command, caller=BOSS, claim=key)
    assert isinstance(made.facts(EVENTS)[-1].body, Subscription.Ended)
    other = Subscribe(tid="news", uid="bob")
    wrong = claim_for("k", caller=BOSS, route="subscribe", thread="news", command=other)
    with pytest.raises(ClaimMismatch):
        await made.do(other, caller=BOSS, claim=wrong)


async def test_a_twin_gets_the_first_calls_answer() -> None:
    """A thread opened without a name under a key: all get the one name that was chosen, later ones too."""
    made = World()
    command = OpenThread(settings=Settings(name="News"))
    key = claim_for("k", caller=BOSS, route="threads", thread="", command=command)
    opened = [made.do(command, caller=BOSS, claim=key) for _ in range(4)]
    answers = [*await asyncio.gather(*opened), await made.do(command, caller=BOSS, claim=key)]
    assert len(set(answers)) == 1
    assert isinstance(answers[0], Opened)
    topics = [fact.body.TOPIC for fact in made.facts(EVENTS) if isinstance(fact.body, Event)]
    assert topics == [Request.Made.TOPIC, Thread.Opened.TOPIC]
    enlist = Enlist(uid="ann", channel="apns", identity="t", address="t")
    claimed = claim_for("k", caller=BOSS, route="enlist", thread="", command=enlist)
    first = await made.do(enlist, caller=BOSS, claim=claimed)
    assert isinstance(first, UUID)
    assert await made.do(enlist, caller=BOSS, claim=claimed) == first


def test_no_two_calls_share_a_claim_for_what_their_names_hold() -> None:
    """Names that hold the separator are told apart; all others have the scope that is on logs already."""
    command = Cancel(message=UUID(int=1))

    def scope(uid: str, route: str, thread: str, key: str) -> str:
        return claim_for(key, caller=Caller(uid), route=route, thread=thread, command=command).scope

    assert scope("ann", "publish", "news", "k|1") == "main|ann|publish|news|k|1"
    pairs = [
        (("ann", "publish", "a|b", "c"), ("ann", "publish", "a", "b|c")),
        (("ann|publish|x", "publish", "a", "c"), ("ann", "publish", "x", "publish|a|c")),
        (("a|b", "publish", "", "k"), ("a", "publish", "", "k")),
    ]
    for one, other in pairs:
        assert scope(*one) != scope(*other)


async def test_a_claimed_command_that_changes_nothing_is_claimed_all_the_same() -> None:
    """Enlisting a known device under a key: no event of the device, but the key is used."""
    made = World()
    command = Enlist(uid="ann", channel="apns", identity="t", address="t")
    for _ in range(2):
        await made.do(command)
    key = claim_for("k", caller=BOSS, route="enlist", thread="", command=command)
    await made.do(command, caller=BOSS, claim=key)
    assert isinstance(made.facts(EVENTS)[-1].body, Request.Made)


def test_digests_depend_on_every_parameter() -> None:
    """Two commands have one digest only if they are equal."""
    times: list[datetime | None] = [None, START]
    drafts = [
        Draft(text=text, ttl_s=ttl, scheduled_at=at, channels=channels, opts=opts)
        for text, ttl, at, channels, opts in product(
            ("aa", "bb"), (None, 0), times, (None, (), ("sms",)), ({}, {"a": 1})
        )
    ]
    assert len({claim(draft).digest for draft in drafts}) == len(drafts)
