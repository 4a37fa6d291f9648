"""The settler: once, when everything has ended, with totals that are final."""

from __future__ import annotations

from commands.contacts import PutContact
from domain.deliveries.outcome import Accepted, Outcome, Retry
from domain.message import Message
from domain.recorded import EVENTS
from gateways.port import Target
from tests.memory.ledger import Ledger
from tests.memory.people import open_thread, publish, subscribe
from tests.memory.world import ROLES, World, world

PEOPLE = ("ann", "bob", "cem", "dan", "eva")


def settled(made: World) -> list[dict[str, int]]:
    return [fact.body.totals for fact in made.facts(EVENTS) if isinstance(fact.body, Message.Settled)]


def busy_once(target: Target, times: int) -> Outcome:
    return Retry("busy") if target.address == "t-eva" and not times else Accepted("ok")


async def test_a_message_is_open_while_one_send_is() -> None:
    """Four of five are through: not settled; the fifth, too: settled."""
    async with world("apns") as made:
        made.provider("apns").script = busy_once
        await open_thread(made)
        await subscribe(made, *PEOPLE, phone=True)
        await publish(made, channels=("apns",))
        await made.quiet()
        assert settled(made) == []
        await made.rest()
        assert settled(made) == [{"accepted": 5}]


async def test_several_settlers_settle_once() -> None:
    """They share the work, and a message is settled by one of them."""
    async with world("apns", "email", roles=[*ROLES, "settler", "settler"]) as made:
        await open_thread(made)
        await subscribe(made, *PEOPLE, phone=True, mail=True)
        for _ in range(5):
            await publish(made)
        await made.rest()
        assert settled(made) == [{"accepted": 15}] * 5
        await Ledger(made).assert_balanced()


async def test_outcomes_that_are_faster_than_the_read_models_are_not_forgotten() -> None:
    """All has ended before the message's own row says that it was dispatched: it is settled all the same."""
    async with world("apns", roles=[role for role in ROLES if role != "project-delivery"]) as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made)
        await made.quiet()
        assert settled(made) == []
        made.start("project-delivery")
        await made.rest()
        assert settled(made) == [{"accepted": 2}]


async def test_a_store_that_is_down_delays_it() -> None:
    """Everybody who waited for the same look is looked at again when the store is back."""
    async with world("apns", roles=[role for role in ROLES if role != "settler"], slice_size=1) as made:
        await open_thread(made)
        await subscribe(made, *PEOPLE, phone=True)
        await publish(made)
        await made.quiet()
        made.models.down = True
        made.start("settler")
        await made.quiet()
        assert settled(made) == []
        made.models.down = False
        await made.rest()
        assert settled(made) == [{"accepted": 10}]
        assert made.streams.aside == {}


async def test_who_was_left_out_is_counted() -> None:
    """Contacts without any way are part of the totals."""
    async with world("apns") as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await subscribe(made, "bob")
        await publish(made, channels=("apns",))
        await made.rest()
        assert settled(made) == [{"accepted": 1, "left_out": 1}]


async def test_a_message_for_sockets_alone_waits_for_no_read_model() -> None:
    """Nothing of it is sent: whoever is not left out is shown it, and that is what the read models count, too."""
    async with world("apns", roles=[role for role in ROLES if role != "project-delivery"]) as made:
        await open_thread(made)
        await subscribe(made, *PEOPLE, phone=True)
        await made.do(PutContact(uid="bob", channels=("apns",)))
        await publish(made, channels=("websocket",))
        await made.quiet()
        assert settled(made) == [{"accepted": 4, "left_out": 1}]
        made.start("project-delivery")
        await made.rest()
        await Ledger(made).assert_balanced()
