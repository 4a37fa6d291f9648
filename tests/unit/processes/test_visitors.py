"""Visitors whose mail address became known are told to the site's own system, and what that says stops nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from commands.push_contacts import PushAddress, RegisterPushContact, SetPushEmail, SetPushVisitor
from domain.deliveries.channel import FCM
from domain.errors import Unavailable
from processes.devices.visitors import Visitors
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.world import World, world

DOMAIN = "example.org"
TOLD = (DOMAIN, "v-1", "ann@example.org")


class Register:
    """A system of the site's own. broken: it takes nothing."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.broken = False

    async def save(self, *, domain: str, visitor: str, email: str) -> None:
        self.told.append((domain, visitor, email))
        if self.broken:
            raise Unavailable("answered 500")


@asynccontextmanager
async def telling(made: World, register: Register, life: Lifeline | None = None) -> AsyncIterator[None]:
    """The process at work, until everything said so far is done with, or it has died."""
    connection = made.connect(life)
    task = asyncio.create_task(Visitors(log=connection.log, register=register).run())
    try:
        yield
        await made.quiet()
    finally:
        connection.life.dead.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def registered(
    made: World, token: str = "token-1", *, email: str | None = None, visitor: str | None = None
) -> None:
    to = PushAddress(FCM, token, token)
    await made.do(
        RegisterPushContact(domain=DOMAIN, device_token=token, address=to, email=email, visitor=visitor)
    )


async def test_a_registration_with_guid_and_address_is_told_once() -> None:
    """Again when the address changes; a repeated registration is none."""
    register = Register()
    async with world(roles=()) as made, telling(made, register):
        await registered(made, email="ann@example.org", visitor="v-1")
        await registered(made, email="other@example.org", visitor="v-1")
        await made.quiet()
        assert register.told == [TOLD]
        await made.do(SetPushEmail(device_token="token-1", email="new@example.org"))
        await made.quiet()
        assert register.told == [TOLD, (DOMAIN, "v-1", "new@example.org")]


async def test_an_address_that_comes_later_is_told_with_the_visitor_known_by_then() -> None:
    """Guid and address each set after the registration: told once, when all is known."""
    register = Register()
    async with world(roles=()) as made, telling(made, register):
        await registered(made)
        await made.do(SetPushVisitor(device_token="token-1", visitor="v-1"))
        await made.do(SetPushEmail(device_token="token-1", email="ann@example.org"))
        await made.quiet()
        assert register.told == [TOLD]


async def test_without_all_three_nobody_is_told() -> None:
    """Neither an address without a visitor nor a visitor without an address is told."""
    register = Register()
    async with world(roles=()) as made, telling(made, register):
        await registered(made, "token-1", email="ann@example.org")
        await registered(made, "token-2", visitor="v-2")
        await made.do(SetPushEmail(device_token="token-1", email="bob@example.org"))
        await made.quiet()
        assert register.told == []


async def test_a_system_that_refuses_stops_nobody_behind_it() -> None:
    """It is told once, as in the original: what it says is logged, no more."""
    register = Register()
    async with world(roles=()) as made, telling(made, register):
        register.broken = True
        await registered(made, "token-1", email="ann@example.org", visitor="v-1")
        await made.quiet()
        register.broken = False
        await registered(made, "token-2", email="bob@example.org", visitor="v-2")
        await made.quiet()
        assert register.told == [TOLD, (DOMAIN, "v-2", "bob@example.org")]


async def test_who_dies_before_the_word_tells_it_again() -> None:
    """A crash between the call and the acknowledgement costs one repetition, and never a visitor."""
    register = Register()
    async with world(roles=()) as made:
        await registered(made, email="ann@example.org", visitor="v-1")
        life = Lifeline(at=1, fault=Fault.LOST_WORD)
        async with telling(made, register, life):
            await made.quiet()
        assert life.hit
        async with telling(made, register):
            await made.rest()
        assert register.told == [TOLD, TOLD]
