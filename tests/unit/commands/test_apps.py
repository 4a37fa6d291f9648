"""Commands on apps, and the numbers that contacts get where we ourselves are the directory."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.apps import ChangeApp, RegisterApp, RetireApp
from commands.contact_numbers import NUMBER_MAX, NumberContact, candidate, number_id
from domain.app import App
from domain.app_settings import AppSettings, RateLimits
from domain.contact_number import ContactNumber
from domain.context import Context
from domain.deliveries.channel import APP_CHANNELS
from domain.devices.event_action import EventAction
from domain.errors import Conflict, Invalid, NotFound, TooLarge
from domain.message import Content
from domain.recorded import EVENTS
from tests.memory.clock import START
from tests.memory.world import IDS, REALM, World

SHOP = AppSettings(merchant=REALM, name="Shop")
REGISTER = RegisterApp(code="SHOP", settings=SHOP)
ELSEWHERE = Context("other", "boss", "", "corr")


def events(made: World) -> list[type]:
    return [type(fact.body) for fact in made.facts(EVENTS)]


async def test_registering_twice_is_registering_once() -> None:
    """A repeated call changes nothing; other settings under the same code are a conflict, not a change."""
    made = World()
    first = await made.do(REGISTER)
    assert await made.do(REGISTER) == first == IDS.app("shop")
    assert events(made) == [App.Registered]
    with pytest.raises(Conflict, match="registered before, with other settings; change it instead"):
        await made.do(RegisterApp(code="Shop", settings=AppSettings(merchant=REALM, name="Another")))


async def test_who_changes_some_settings_leaves_the_others_as_they_are() -> None:
    """Whatever somebody else has made of them since they were looked at, as two who change an app at once do."""
    made = World()
    await made.do(REGISTER)
    one = msgspec.structs.replace(SHOP, name="Our shop")
    other = msgspec.structs.replace(SHOP, anonymous_allowed=False)
    await asyncio.gather(
        made.do(ChangeApp(code="SHOP", settings=one, names=("name",))),
        made.do(ChangeApp(code="SHOP", settings=other, names=("anonymous_allowed",))),
    )
    app = await made.own.store.load(App, IDS.app("SHOP"))
    assert app is not None
    assert app.settings == msgspec.structs.replace(one, anonymous_allowed=False)


async def test_a_code_belongs_to_one_realm_for_ever() -> None:
    """Another realm gets 409 for it, also after it was retired, and can neither see nor change it."""
    made = World()
    await made.do(REGISTER)
    bus = made.own.bus
    for code in ("SHOP", "shop"):
        with pytest.raises(Conflict, match="another realm"):
            await bus.execute(RegisterApp(code=code, settings=SHOP), ELSEWHERE)
        with pytest.raises(NotFound):
            await bus.execute(ChangeApp(code=code, settings=SHOP), ELSEWHERE)
        with pytest.raises(NotFound):
            await bus.execute(RetireApp(code=code), ELSEWHERE)
    await made.do(RetireApp(code="SHOP"))
    with pytest.raises(Conflict, match="another realm"):
        await bus.execute(REGISTER, ELSEWHERE)
    with pytest.raises(Conflict, match="retired"):
        await made.do(REGISTER)


async def test_a_message_that_no_channel_could_carry_is_refused() -> None:
    """When the app is set so, in the form of its style and with the place, and not when a device meets it."""
    made = World()

    def check(content: Content, channels: object, *, style: str = "") -> None:
        assert channels == APP_CHANNELS
        if len(content.text) > 100:
            raise TooLarge(f"too large for {style}")

    bus = replace(made.own.bus, check=check)
    short, long = (EventAction(event="e", campaign_id="1", message={"msg": "m" * n}) for n in (100, 101))
    large = msgspec.structs.replace(SHOP, event_actions=(short, long))
    context = Context(REALM, "boss")
    with pytest.raises(TooLarge, match="emarsys-v3") as refused:
        await bus.execute(RegisterApp(code="SHOP", settings=large), context)
    assert refused.value.field == "event_actions[1].message"
    await bus.execute(REGISTER, context)
    with pytest.raises(TooLarge):
        await bus.execute(ChangeApp(code="SHOP", settings=large), context)
    assert events(made) == [App.Registered]


async def test_the_merchant_is_the_realm_of_whoever_registers() -> None:
    """Whatever the settings say of it."""
    made = World()
    id = await made.do(RegisterApp(code="SHOP", settings=AppSettings(merchant="somebody else's")))
    app = await made.own.store.load(App, id)
    assert app is not None
    assert app.settings.merchant == REALM
    await made.do(ChangeApp(code="SHOP", settings=AppSettings(merchant="nobody", name="New")))
    changed = await made.own.store.load(App, id, fresh=True)
    assert changed is not None
    assert (changed.settings.merchant, changed.settings.name) == (REALM, "New")


async def test_nothing_is_written_of_settings_that_cannot_be() -> None:
    """Neither of a new app nor of one that is there."""
    made = World()
    wrong = AppSettings(merchant=REALM, rate_limits=RateLimits(client_per_minute=0))
    with pytest.raises(Invalid):
        await made.do(RegisterApp(code="SHOP", settings=wrong))
    assert events(made) == []
    await made.do(REGISTER)
    with pytest.raises(Invalid):
        await made.do(ChangeApp(code="SHOP", settings=wrong))
    assert events(made) == [App.Registered]


async def test_two_who_register_at_once_agree() -> None:
    """Of two realms one gets the code, and the other is told."""
    made = World()
    bus = made.own.bus
    answers = await asyncio.gather(
        *(bus.execute(REGISTER, Context(realm, "boss", "", "")) for realm in ("one", "two", "three")),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Conflict) for each in answers) == 2
    assert events(made) == [App.Registered]


async def test_a_contact_has_one_number() -> None:
    """Asked again, at once or later, it is the same, and one event."""
    made = World()
    numbers = await asyncio.gather(*(made.do(NumberContact(key="3|ann@example.org")) for _ in range(10)))
    assert len(set(numbers)) == 1
    assert await made.do(NumberContact(key="3|ann@example.org")) == numbers[0]
    assert 1 <= numbers[0] <= NUMBER_MAX
    assert events(made) == [ContactNumber.Taken]


async def test_nothing_of_the_key_is_kept() -> None:
    """A number's event names its owner by an id that only we can derive."""
    made = World()
    await made.do(NumberContact(key="3|ann@example.org"))
    [stored] = made.streams.on_subject(EVENTS, "evt.contact-number.>")
    assert b"ann" not in stored.data


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True), st.data())
async def test_no_two_contacts_share_a_number(keys: list[str], data: st.DataObject) -> None:
    """Also where a contact's first numbers are taken: it gets the next one, and keeps it."""
    made = World()
    for key in keys:
        owner = IDS.derive(REALM, "contact-key", key)
        for attempt in range(data.draw(st.integers(0, 3), label="taken before")):
            await _take(made, candidate(IDS, owner, attempt))
    order = data.draw(st.permutations(keys * 2))
    given_numbers: dict[str, set[int]] = {key: set() for key in keys}
    for key in order:
        given_numbers[key].add(await made.do(NumberContact(key=key)))
    assert all(len(numbers) == 1 for numbers in given_numbers.values())
    assert len(set.union(*given_numbers.values())) == len(keys)


async def test_realms_number_apart() -> None:
    """The same key elsewhere is another contact: its number says nothing of ours."""
    made = World()
    here = await made.do(NumberContact(key="3|ann"))
    there = await made.own.bus.execute(NumberContact(key="3|ann"), ELSEWHERE)
    assert here != there


async def _take(made: World, number: int) -> None:
    """Somebody else has this number."""
    owner = IDS.derive(REALM, "contact-key", f"somebody else with {number}")
    taken = ContactNumber.take(id=number_id(IDS, REALM, number), at=START, number=number, owner=owner)
    await made.own.store.save(taken, context=Context(REALM))
