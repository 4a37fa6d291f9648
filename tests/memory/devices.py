"""Devices of an app and who uses them, as the client service stores them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.client import Client
from domain.contact import Contact
from domain.context import Context
from domain.people.resolution import anonymous_uid, field_uid
from tests.memory.world import IDS, REALM, World

APP, FIELD = "shop-app", 3
CONTEXT = Context(REALM, "test", "", "corr")


def device(name: str) -> UUID:
    return IDS.client(REALM, APP, name)


DEVICE = device("device-1")


async def identify(
    made: World, value: str = "ann@example.org", *, devices: Sequence[UUID] = (DEVICE,)
) -> UUID:
    """Say who the devices belong to, in one save as the client service does."""
    uid = field_uid(IDS, REALM, FIELD, value)
    id = IDS.contact(REALM, uid)
    contact = await made.own.store.load(Contact, id)
    if contact is None:
        contact = Contact.create(id=id, at=made.clock.now, uid=uid)
    contact.identify(at=made.clock.now, field=FIELD, value=value, app=APP)
    await made.own.store.save(
        contact, *[await linked(made, each, id, uid) for each in devices], context=CONTEXT
    )
    return id


async def anonymous(made: World, device: UUID = DEVICE) -> UUID:
    uid = anonymous_uid(device)
    id = IDS.contact(REALM, uid)
    contact = await made.own.store.load(Contact, id)
    if contact is None:
        contact = Contact.create(id=id, at=made.clock.now, uid=uid)
    await made.own.store.save(contact, await linked(made, device, id, uid), context=CONTEXT)
    return id


async def linked(made: World, device: UUID, contact: UUID, uid: str) -> Client:
    found = await made.own.store.load(Client, device)
    if found is not None:
        found.link(at=made.clock.now, contact=contact, uid=uid)
        return found
    return Client.register(
        id=device,
        at=made.clock.now,
        app=APP,
        client_id=device.hex,
        contact=contact,
        uid=uid,
        properties={},
    )


async def client_of(made: World, device: UUID = DEVICE) -> Client:
    found = await made.own.store.load(Client, device, fresh=True)
    assert found is not None
    return found
