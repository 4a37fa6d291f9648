"""Accepting messages: rights, bounds, and what the event says."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from commands.contacts import EraseContact, PutContact
from commands.messaging import (
    CONTACTS_MAX,
    Accepted,
    Broadcast,
    Cancel,
    Draft,
    FallDue,
    Multicast,
    Publish,
    Send,
)
from commands.threads import ChangeThread, CloseThread, OpenThread, Subscribe
from domain.context import Caller, Context
from domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from domain.message import TTL_S_MAX, Message, ToContacts, ToEveryone, ToThread
from domain.recorded import EVENTS
from domain.text.nesting import DEPTH_MAX
from domain.thread import Settings
from tests.memory.clock import START
from tests.memory.world import IDS, REALM, World

HELLO = Draft(text="hello")
BOSS = Caller("boss")


def nested(levels: int) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = [value]
    return value


async def thread(made: World, **settings: Any) -> None:
    known = {"owner": "boss", "admins": ("admin",), "publishers": ("pub",)}
    await made.do(OpenThread(tid="news", settings=Settings(**{**known, **settings})))


def accepted(made: World) -> list[Message.Accepted]:
    return made.bodies(EVENTS, Message.Accepted)


CALLERS = {
    "owner": BOSS,
    "admin": Caller("admin"),
    "pub": Caller("pub"),
    "role": Caller("ann", roles=frozenset({"admin"})),
    "service": Caller("ann", method="svc"),
    "other": Caller("ann"),
}


@pytest.mark.parametrize(
    ("who", "open_publish", "open_subscribe", "subscribed"),
    list(product(CALLERS, (False, True), (False, True), (False, True))),
)
async def test_who_may_publish(who: str, open_publish: bool, open_subscribe: bool, subscribed: bool) -> None:
    """Who may publish does; who may at least see the thread is told 403; for anybody else there is no such thread."""
    made = World()
    await thread(made, open_publish=open_publish, open_subscribe=open_subscribe)
    if subscribed:
        await made.do(Subscribe(tid="news", uid="ann"))
    publish = made.do(Publish(tid="news", draft=HELLO), caller=CALLERS[who])
    if who != "other" or open_publish:
        assert (await publish).message is not None
    elif open_subscribe or subscribed:
        with pytest.raises(Forbidden):
            await publish
    else:
        with pytest.raises(NotFound):
            await publish


async def test_a_thread_that_is_not_there_or_closed_takes_nothing() -> None:
    """404 for an unknown tid and for a closed thread."""
    made = World()
    with pytest.raises(NotFound):
        await made.do(Publish(tid="news", draft=HELLO))
    await thread(made)
    await made.do(CloseThread(tid="news"))
    with pytest.raises(NotFound):
        await made.do(Publish(tid="news", draft=HELLO))


async def test_a_thread_that_is_switched_off_takes_and_drops() -> None:
    """As in the contract: accepted, and nothing stored."""
    made = World()
    await thread(made, channels=())
    assert await made.do(Publish(tid="news", draft=HELLO), caller=BOSS) == Accepted(None)
    assert accepted(made) == []


async def test_what_the_event_says() -> None:
    """Audience, content with the thread's defaults, sender, urgency, expiry; in the thread's partition."""
    made = World()
    await thread(made, name="News", defaults={"sound": "x"}, urgency=2, channels=("apns", "sms"))
    draft = Draft(text="hello", channels=("sms", "email"), ttl_s=60, parent="p")
    answer = await made.do(Publish(tid="news", draft=draft), caller=BOSS)
    [event] = accepted(made)
    assert event.originator_id == answer.message
    assert event.audience == ToThread(IDS.thread(REALM, "news"))
    assert event.content is not None
    assert (event.content.subject, event.content.opts) == ("News", {"sound": "x"})
    assert (event.sender, event.urgency, event.channels, event.parent) == ("boss", 2, ("sms",), "p")
    assert event.expires_at == START + timedelta(seconds=60)
    assert event.originator_id.bytes[0] == IDS.thread(REALM, "news").bytes[0]
    assert answer.position == len(made.streams.messages[EVENTS])


async def test_the_drafts_own_wishes_win_over_the_threads() -> None:
    """Subject, options and urgency of the draft; its channels within the thread's."""
    made = World()
    await thread(made, name="News", defaults={"sound": "x"}, urgency=2)
    draft = Draft(text="hello", subject="Hi", opts={"sound": "y"}, urgency=4, channels=("sms",))
    await made.do(Publish(tid="news", draft=draft), caller=BOSS)
    [event] = accepted(made)
    assert event.content is not None
    assert (event.content.subject, event.content.opts) == ("Hi", {"sound": "y"})
    assert (event.urgency, event.channels) == (4, ("sms",))


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (Draft(text="x"), "msg"),
        (Draft(text="hello", urgency=0), "opts.urgency"),
        (Draft(text="hello", urgency=5), "opts.urgency"),
        (Draft(text="hello", ttl_s=-1), "opts.ttl"),
        (Draft(text="hello", ttl_s=TTL_S_MAX + 1), "opts.ttl"),
        (Draft(text="hello", scheduled_at=START.replace(tzinfo=None)), "scheduled"),
        (Draft(text="hello", scheduled_at=START + timedelta(days=367)), "scheduled"),
        (Draft(text="hello", opts={"data": nested(DEPTH_MAX)}), "opts"),
    ],
)
async def test_a_draft_out_of_bounds_is_refused(draft: Draft, field: str) -> None:
    """The error names the field as the contract calls it, and nothing is stored."""
    made = World()
    await thread(made)
    with pytest.raises(Invalid) as refused:
        await made.do(Publish(tid="news", draft=draft), caller=BOSS)
    assert refused.value.field == field
    assert accepted(made) == []


async def test_multicast_names_each_contact_once() -> None:
    """Uids given twice are one contact; unknown ones are kept, for the audience page to say so."""
    made = World()
    await made.do(Multicast(uids=("ann", "bob", "ann"), draft=HELLO))
    [event] = accepted(made)
    assert event.audience == ToContacts((IDS.contact(REALM, "ann"), IDS.contact(REALM, "bob")))


@pytest.mark.parametrize("count", [0, CONTACTS_MAX + 1])
async def test_multicast_has_bounds(count: int) -> None:
    """Nobody, or more than fit in an event."""
    with pytest.raises(Invalid):
        await World().do(Multicast(uids=tuple(map(str, range(count))), draft=HELLO))


async def test_a_full_multicast_fits_on_the_log() -> None:
    """The largest audience by name is one event below a NATS message's size."""
    made = World()
    await made.do(Multicast(uids=tuple(map(str, range(CONTACTS_MAX))), draft=HELLO))
    assert len(made.streams.messages[EVENTS][0].data) < 1_000_000


async def test_send_needs_a_contact_that_is_there() -> None:
    """404 for an unknown uid and for one that was erased."""
    made = World()
    with pytest.raises(NotFound):
        await made.do(Send(uid="ann", draft=HELLO))
    await made.do(PutContact(uid="ann"))
    await made.do(Send(uid="ann", draft=HELLO))
    await made.do(EraseContact(uid="ann"))
    with pytest.raises(NotFound):
        await made.do(Send(uid="ann", draft=HELLO))
    assert len(accepted(made)) == 1


async def test_broadcast_is_for_everyone() -> None:
    """Its audience names nobody."""
    made = World()
    await made.do(Broadcast(draft=HELLO))
    assert accepted(made)[0].audience == ToEveryone()


async def test_a_time_in_the_past_means_at_once() -> None:
    """As in the original; a time ahead makes it scheduled, and it expires from then on."""
    made = World()
    later = START + timedelta(hours=1)
    await made.do(Broadcast(draft=Draft(text="hello", scheduled_at=START - timedelta(hours=1))))
    await made.do(Broadcast(draft=Draft(text="hello", scheduled_at=later, ttl_s=10)))
    now, planned = accepted(made)
    assert now.scheduled_at is None
    assert planned.scheduled_at == later
    assert planned.expires_at == later + timedelta(seconds=10)


async def scheduled(made: World) -> Any:
    await thread(made)
    draft = Draft(text="hello", scheduled_at=START + timedelta(hours=1))
    return (await made.do(Publish(tid="news", draft=draft), caller=BOSS)).message


async def test_cancel_and_start_by_hand() -> None:
    """A scheduled message can be cancelled, or started before its time, not both."""
    made = World()
    first = await scheduled(made)
    await made.do(Cancel(message=first, tid="news"))
    await made.do(Cancel(message=first, tid="news"))
    with pytest.raises(Conflict):
        await made.do(FallDue(message=first), caller=BOSS)
    await made.do(FallDue(message=first))  # the schedule itself fires in vain
    second = (
        await made.do(Broadcast(draft=Draft(text="hello", scheduled_at=START + timedelta(hours=1))))
    ).message
    await made.do(FallDue(message=second), caller=BOSS)
    with pytest.raises(Conflict):
        await made.do(Cancel(message=second))
    kinds = [type(fact.body) for fact in made.facts(EVENTS, "evt.message.>")]
    assert kinds == [Message.Accepted, Message.Cancelled, Message.Accepted, Message.Due]


async def test_cancel_names_the_right_thread() -> None:
    """A message of another thread is not found by this one's tid."""
    made = World()
    message = await scheduled(made)
    with pytest.raises(NotFound):
        await made.do(Cancel(message=message, tid="other"))


async def test_cancel_and_due_racing_have_one_winner() -> None:
    """Whatever the order, exactly one of the two events is there, and the loser is told or does nothing."""
    for order in (0, 1):
        made = World()
        message = await scheduled(made)
        calls = [made.do(Cancel(message=message)), made.do(FallDue(message=message))]
        answers = await asyncio.gather(*(calls if order else reversed(calls)), return_exceptions=True)
        kinds = {type(fact.body) for fact in made.facts(EVENTS, "evt.message.>")} - {Message.Accepted}
        assert len(kinds) == 1
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        assert all(isinstance(answer, Conflict) for answer in refused)
        assert bool(refused) == (kinds == {Message.Due})


@pytest.mark.parametrize("kind", [Cancel, FallDue])
async def test_a_message_of_another_realm_is_none(kind: type[Cancel | FallDue]) -> None:
    """Whoever knows its id can neither stop nor start it from elsewhere; its own realm can."""
    made = World()
    await thread(made)
    later = Draft(text="later", scheduled_at=made.clock() + timedelta(hours=1))
    message = (await made.do(Publish(tid="news", draft=later), caller=BOSS)).message
    stranger = Caller("eve", realm="elsewhere", roles=frozenset({"admin"}))
    with pytest.raises(NotFound):
        await made.own.bus.execute(kind(message=message), Context("elsewhere", "eve"), caller=stranger)
    await made.do(kind(message=message), caller=BOSS)


async def test_nothing_is_stored_when_the_log_is_away() -> None:
    """The caller is told, and the command is not tried again behind their back."""
    made = World()
    await thread(made)
    made.own.store.fail = [Unavailable("away")]
    with pytest.raises(Unavailable):
        await made.do(Publish(tid="news", draft=HELLO), caller=BOSS)
    assert accepted(made) == []


async def test_rights_changed_a_moment_ago_hold() -> None:
    """Settings changed just now decide who may publish."""
    made = World()
    await thread(made)
    publish = Publish(tid="news", draft=HELLO)
    with pytest.raises(NotFound):
        await made.do(publish, caller=Caller("ann"))
    await made.do(ChangeThread(tid="news", settings=Settings(publishers=("ann",))))
    await made.do(publish, caller=Caller("ann"))
