"""The suite contact updater: what a suite learns, when, and that it learns it whatever breaks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from commands.apps import RegisterApp
from domain.app_settings import AppSettings
from domain.client import Client
from domain.people.suite import accepts_push, suite_fields
from processes.devices.suite_updates import ContactUpdate
from processes.directories import Identified
from projections import clients
from tests.memory.devices import APP, CONTEXT, DEVICE, FIELD, client_of, device, identify
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.ports.contact_data import FIRST
from tests.memory.world import IDS, REALM, RESOLUTION, World, world

ROLES = ("project-events", *RESOLUTION)
INSTALLED, ACCEPTED, ACTIVE = 101, 102, 103


async def make_app(made: World, **settings: Any) -> None:
    fields = {
        "contact_field_app_installed": INSTALLED,
        "contact_field_push_accepted": ACCEPTED,
        "contact_field_last_mobile_activity": ACTIVE,
        **settings,
    }
    await made.do(RegisterApp(code=APP, settings=AppSettings(merchant=REALM, **fields)))


async def set_token(made: World, client: Client, token: str | None, *, code: str = "cleared") -> None:
    if token is None:
        client.retire_address(at=made.clock.now, code=code)
    else:
        known = IDS.token(REALM, "fcm", token)
        client.set_address(at=made.clock.now, channel="fcm", address=token, token=known)
    await made.own.store.save(client, context=CONTEXT)


def iso(made: World) -> str:
    return made.clock.now.isoformat(timespec="milliseconds")


async def test_a_suite_learns_of_the_app_its_pushes_and_its_use() -> None:
    """Once the contact has its number; then with every change, by the fields that the app's settings name."""
    async with world(roles=ROLES) as made:
        await make_app(made)
        await identify(made)
        await made.quiet()
        update = made.suite_queue.latest()[FIRST]
        assert (update.merchant_id, update.application_code) == (REALM, APP)
        assert update.fields == {INSTALLED: True, ACCEPTED: False, ACTIVE: iso(made)}
        made.clock.advance(60)
        await set_token(made, await client_of(made), "t-1")
        await made.quiet()
        assert made.suite_queue.latest()[FIRST].fields == {INSTALLED: True, ACCEPTED: True, ACTIVE: iso(made)}


async def test_a_providers_word_on_an_address_is_no_use_of_the_app() -> None:
    """Pushes are off from then on; when the app was last used is left as it was."""
    async with world(roles=ROLES) as made:
        await make_app(made)
        await identify(made)
        await set_token(made, await client_of(made), "t-1")
        await made.quiet()
        await set_token(made, await client_of(made), None, code="unregistered")
        await made.quiet()
        assert made.suite_queue.latest()[FIRST].fields == {INSTALLED: True, ACCEPTED: False}


async def test_a_token_that_another_device_took_is_no_accepted_push() -> None:
    """Who had it before accepts none any more; when they last used the app is left as it was."""
    async with world(roles=(*ROLES, "taken-tokens")) as made:
        await make_app(made)
        for value, used in (("ann@example.org", DEVICE), ("bob@example.org", device("device-2"))):
            await identify(made, value, devices=(used,))
            await made.quiet()
            await set_token(made, await client_of(made, used), "t-1")
        await made.quiet()
        latest = made.suite_queue.latest()
        assert latest[FIRST].fields == {INSTALLED: True, ACCEPTED: False}
        assert latest[FIRST + 1].fields[ACCEPTED] is True


async def test_when_a_device_changes_hands_both_are_told_of() -> None:
    """Who had it has the app no more, unless on another device."""
    async with world(roles=ROLES) as made:
        await make_app(made)
        await identify(made)
        await made.quiet()
        await identify(made, "bob@example.org")
        await made.quiet()
        latest = made.suite_queue.latest()
        assert latest[FIRST].fields == {INSTALLED: False, ACCEPTED: False}
        assert latest[FIRST + 1].fields[INSTALLED] is True


async def test_who_goes_on_under_another_name_has_the_app_all_the_while() -> None:
    """An app that names its contacts by another field from now on: the contact data knows them by both, as one. Of two
    updates with one position nobody could tell which counts.
    """
    async with world(roles=ROLES) as made:
        await make_app(made)
        second = device("device-2")
        for value in ("ann@example.org", "customer-7"):
            made.contact_book.ids[Identified(merchant=REALM, field=FIELD, value=value)] = FIRST
        await identify(made, devices=(DEVICE, second))
        await made.quiet()
        await identify(made, "customer-7")
        await made.quiet()
        told = len(made.suite_queue.kept)
        await identify(made, "customer-7", devices=(second,))
        await made.quiet()
        updates = [update for _, update in made.suite_queue.kept[told:]]
        assert {update.contact_id for update in updates} == {FIRST}
        assert [update.fields[INSTALLED] for update in updates] == [True] * len(updates)
        assert len({update.position for update in updates}) == len(updates)


async def test_any_device_that_takes_pushes_counts() -> None:
    """A contact accepts pushes as long as one of its devices has a push token."""
    async with world(roles=ROLES) as made:
        await make_app(made)
        await identify(made, devices=(DEVICE, device("device-2")))
        await set_token(made, await client_of(made), "t-1")
        await made.quiet()
        await set_token(made, await client_of(made, device("device-2")), "t-2")
        await set_token(made, await client_of(made), None)
        await made.quiet()
        assert made.suite_queue.latest()[FIRST].fields[ACCEPTED] is True


async def test_a_contact_of_many_devices_is_told_of_by_all_of_them() -> None:
    """A name that a shop's tills share: the one device that accepts pushes counts, wherever it is among the others."""
    async with world(roles=ROLES) as made:
        *many, last = sorted((device(str(number)) for number in range(clients.CLIENTS_MAX + 1)), key=str)
        await identify(made, devices=many)
        await made.quiet()
        await make_app(made)
        await identify(made, devices=[last])
        await set_token(made, await client_of(made, last), "t-1")
        await made.quiet()
        assert made.suite_queue.latest()[FIRST].fields[ACCEPTED] is True


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"contact_field_push_accepted": None, "contact_field_app_installed": None},
        {"contact_field_last_mobile_activity": None},
    ],
)
async def test_only_fields_that_are_named_are_told(settings: dict[str, Any]) -> None:
    """A suite field without a number in the app's settings is not told to the suite."""
    async with world(roles=ROLES) as made:
        await make_app(made, **settings)
        await identify(made)
        await made.quiet()
        named = {INSTALLED, ACCEPTED, ACTIVE} - {
            {"app_installed": INSTALLED, "push_accepted": ACCEPTED, "last_mobile_activity": ACTIVE}[
                name.removeprefix("contact_field_")
            ]
            for name in settings
        }
        assert set(made.suite_queue.latest()[FIRST].fields) == named


async def test_an_app_without_such_fields_tells_nothing() -> None:
    """Neither does a device of an app that nobody registered."""
    async with world(roles=ROLES) as made:
        await identify(made)
        await made.quiet()
        await make_app(
            made,
            contact_field_app_installed=None,
            contact_field_push_accepted=None,
            contact_field_last_mobile_activity=None,
        )
        await set_token(made, await client_of(made), "t-1")
        await made.rest()
        assert made.suite_queue.kept == []
        assert made.streams.aside == {}


async def test_a_fact_is_done_with_once_the_broker_has_confirmed() -> None:
    """Without a confirm it comes again, later each time, as often as it takes."""
    async with world(roles=ROLES) as made:
        await make_app(made)
        made.suite_queue.refuses = 7
        await identify(made)
        await made.rest()
        assert made.suite_queue.latest()[FIRST].fields[INSTALLED] is True
        assert made.suite_queue.refuses == 0
        assert made.streams.aside == {}


async def test_no_fault_at_any_step_loses_an_update() -> None:
    """Killed, paused or unheard: the suite's last word is right, and repeats have the same id."""

    async def run(life: Lifeline) -> Lifeline:
        async with world(roles=[role for role in ROLES if role != "suite-updater"]) as made:
            made.start("suite-updater", life)
            if life.fault is Fault.PAUSE:
                made.start("suite-updater")
            await make_app(made)
            await identify(made)
            await made.quiet()
            await set_token(made, await client_of(made), "t-1")
            await made.rest(hours=1)
            life.awake.set()
            await made.rest()
            assert made.suite_queue.latest()[FIRST].fields[ACCEPTED] is True
            by_id = {id: update.position for id, update in made.suite_queue.kept}
            assert {(id, update.position) for id, update in made.suite_queue.kept} == set(by_id.items())
            assert made.streams.aside == {}
        return life

    steps = len((await run(Lifeline())).steps)
    assert steps >= 4
    for fault in Fault:
        for at in range(1, steps + 1):
            await run(Lifeline(fault, at))


@pytest.mark.parametrize(
    ("properties", "accepted"),
    [
        ({}, True),
        ({"pushSettings": {"areNotificationsEnabled": True}}, True),
        ({"pushSettings": {"areNotificationsEnabled": False}}, False),
        ({"pushSettings": {"authorizationStatus": "denied"}}, False),
        ({"pushSettings": {"authorizationStatus": "notDetermined"}}, True),
        ({"pushSettings": "denied"}, True),
    ],
)
def test_what_a_devices_system_says_of_its_user(properties: dict[str, Any], accepted: bool) -> None:
    """A token alone is not consent where the system says that notifications are off."""
    assert accepts_push(has_address=True, properties=properties) is accepted
    assert accepts_push(has_address=False, properties=properties) is False


def test_the_form_on_the_queue() -> None:
    """Camel case, fields by number as text, UTC: what docs/guides/resolution.md promises to who reads the queue."""
    made = World()
    at = made.clock.now + timedelta(milliseconds=5)
    settings = AppSettings(
        merchant=REALM, contact_field_app_installed=1, contact_field_last_mobile_activity=2
    )
    update = ContactUpdate(
        merchant_id="main",
        contact_id=7,
        application_code="shop-app",
        fields=suite_fields(settings, [False], at),
        position=9,
        at=at,
    )
    read = msgspec.json.decode(msgspec.json.encode(update))
    names = {"merchantId", "contactId", "applicationCode", "fields", "stream", "position", "at"}
    assert set(read) == names
    assert read["fields"] == {"1": True, "2": at.isoformat(timespec="milliseconds")}
