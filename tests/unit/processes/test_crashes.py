"""Every process meets every fault after every single step it takes: nothing is lost, nothing is sent twice but what
was in flight, and that is marked.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from commands.clients import Enlist
from commands.contacts import EraseContact, PutContact
from commands.messaging import Draft, Multicast, Publish
from commands.threads import OpenThread, Subscribe
from domain.client import Client
from domain.contact import Contact
from domain.deliveries.outcome import Accepted, Gone, Outcome, Rejected, Retry, Suppressed, Unknown
from domain.message import Message
from domain.recorded import EVENTS
from domain.thread import Settings
from gateways.port import Target
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.world import IDS, REALM, ROLES, WORKERS, World, world

CHANNELS = ("apns", "email")


def _says(target: Target, times: int) -> Outcome:
    """One address for each way a send can end."""
    name = target.address.removeprefix("t-").partition("@")[0]
    match name, times:
        case ("bob" | "cem", 0):
            return Retry("busy")
        case "cem", 1:
            return Unknown("timeout")
        case "dan", _:
            return Gone("unregistered")
        case "eva", _:
            return Rejected("payload") if "@" not in target.address else Suppressed("opted-out")
        case _:
            return Accepted(f"id-{name}")


async def _scenario(made: World) -> None:
    for channel in CHANNELS:
        made.provider(channel).script = _says
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss")))
    for uid in ("ann", "bob", "cem", "dan", "eva"):
        await made.do(PutContact(uid=uid, email=f"{uid}@example.org"))
        await made.do(Subscribe(tid="news", uid=uid))
        await made.do(Enlist(uid=uid, channel="apns", identity=f"t-{uid}", address=f"t-{uid}"))
    await made.quiet()
    made.clock.advance(1)
    await made.do(Publish(tid="news", draft=Draft(text="hello")))
    later = made.clock.now + timedelta(minutes=10)
    await made.do(Multicast(uids=("ann", "nobody"), draft=Draft(text="later", scheduled_at=later)))
    await made.rest()
    await made.do(EraseContact(uid="ann"))
    await made.rest()


async def _assert_all_done(made: World) -> None:
    await Ledger(made).assert_balanced()
    due = [fact.body for fact in made.facts(EVENTS) if isinstance(fact.body, Message.Due)]
    assert len(due) == 1
    dan = await made.own.store.load(Contact, IDS.contact(REALM, "dan"))
    assert dan is not None
    assert dan.addresses == {}
    eva = await made.own.store.load(Contact, IDS.contact(REALM, "eva"))
    assert eva is not None
    assert set(eva.suppressed) == {"email"}
    retired = [fact.body.code for fact in made.facts(EVENTS) if isinstance(fact.body, Client.AddressRetired)]
    assert sorted(retired) == ["erased", "unregistered"]
    assert made.vault.held[f"contact.{IDS.contact(REALM, 'ann').hex}"] is None
    assert made.streams.aside == {}


async def test_the_scenario_without_a_crash() -> None:
    """The scenario that the crashes run through comes out right by itself."""
    async with world(*CHANNELS) as made:
        await _scenario(made)
        await _assert_all_done(made)
        assert made.deaths == 0


SENDERS = (*WORKERS, "gateway-apns")


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("role", SENDERS)
async def test_a_fault_at_any_step_leaves_the_books_balanced(role: str, fault: Fault) -> None:
    """Killed, stopped, or cut off after its first, second, third... effect, a process loses nothing and repeats
    nothing unmarked: its successor, or a second one beside it, finishes what it began.
    """
    steps = ["", *await _steps_of(role)]
    for number in range(1, len(steps)):
        if _is_worth_it(fault, steps[number - 1], steps[number]):
            await _steps_of(role, Lifeline(fault, number))


def _is_worth_it(fault: Fault, before: str, step: str) -> bool:
    """After an acknowledgement nothing is under way; one that follows on another says that nothing was done."""
    acknowledged = step.startswith("ack")
    return acknowledged and not before.startswith("ack") if fault is Fault.LOST_WORD else not acknowledged


@pytest.mark.parametrize(("stream", "stride"), [("events", 9), ("delivery", 2)])
async def test_a_projector_may_die_between_any_rows_and_their_checkpoint(stream: str, stride: int) -> None:
    """Rows come first, then the checkpoint: a projector killed in between writes the same rows again."""
    steps = await _steps_of(f"project-{stream}")
    for number in range(1, len(steps), stride):
        await _steps_of(f"project-{stream}", Lifeline(Fault.DEATH, number))


async def _steps_of(role: str, life: Lifeline | None = None) -> list[str]:
    """Run the scenario with a fault in one process, and check the books; the steps that process took."""
    life = life or Lifeline()
    others = [each for each in ROLES if each != role]
    channels = [channel for channel in CHANNELS if f"gateway-{channel}" != role]
    async with world(*channels, roles=others) as made:
        made.start(role, life)
        if life.fault is Fault.PAUSE:
            made.start(role)
        await _scenario(made)
        life.awake.set()
        await made.rest()
        await _assert_all_done(made)
        return life.steps
