"""The doctor's look at contacts' numbers, on a real log and its read models: what it finds, and that it mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from cli.upkeep.findings import Finding
from cli.upkeep.numbers import NEW, numbers
from commands.contacts import EraseContact
from commands.resolution import ResolveContact
from domain.client import Client
from domain.contact import Contact
from domain.context import Context
from domain.people.resolution import field_uid
from domain.recorded import EVENTS, Checkpoint, Recorded
from infra.log.log import JetStreamLog
from infra.readstore.opening import read_store
from infra.readstore.store import ReadStore
from projections.numbers import Numbers
from tests.integration.log.scenes import everything
from tests.integration.resolution.resolving_child import IDS, bus_on

REALM, CONTEXT = "main", Context("main", "test", "", "corr")
DEVICE = IDS.client(REALM, "shop-app", "device-1")


async def identify(log: JetStreamLog, value: str, *devices: UUID) -> UUID:
    uid, at = field_uid(IDS, REALM, 3, value), datetime.now(UTC)
    contact = Contact.create(id=IDS.contact(REALM, uid), at=at, uid=uid)
    contact.identify(at=at, field=3, value=value, app="shop-app")
    clients = [
        Client.register(id=device, at=at, app="shop-app", client_id=device.hex, contact=contact.id, uid=uid)
        for device in devices
    ]
    await log.events.save(contact, *clients, context=CONTEXT)
    return contact.id


@asynccontextmanager
async def read_models(log: JetStreamLog, folder: Path) -> AsyncIterator[ReadStore]:
    """As a projector would have them now."""
    projection = Numbers()
    async with read_store(folder) as store:
        number = await store.begin(projection.name, projection.version)
        generation = await store.generation(projection.name, number, projection.tables)
        await store.switch(projection.name, number)
        facts = [fact for fact in await everything(log) if isinstance(fact, Recorded)]
        writes = [write for fact in facts for write in projection.project(fact)]
        epoch = await log.epoch(EVENTS)
        await generation.apply(writes, [Checkpoint(EVENTS, facts[-1].position, epoch)])
        assert await projection.check(generation) == []
        yield store


async def look(
    log: JetStreamLog, folder: Path, *, mend: bool = False, now: datetime | None = None
) -> tuple[Finding, Finding]:
    """(of contacts, of clients), with read models made anew. now None: when nothing is new any more."""
    name = folder / f"{datetime.now(UTC).timestamp()}"
    name.mkdir()
    async with read_models(log, name) as store:
        contacts, clients = await numbers(
            log, store, bus_on(log), now=now or datetime.now(UTC) + 2 * NEW, mend=mend
        )
    return contacts, clients


async def test_all_is_well_with_contacts_that_have_their_number(log: JetStreamLog, tmp_path: Path) -> None:
    """A contact that was given its number, and clients that agree with it, are told as ok."""
    contact = await identify(log, "ann")
    await bus_on(log).execute(ResolveContact(contact=contact, contact_id=7, of=2), CONTEXT)
    contacts, clients = await look(log, tmp_path)
    assert (contacts.state, contacts.detail) == ("ok", "all have their number")
    assert (clients.state, clients.detail) == ("ok", "0 agree with their contacts")


async def test_a_contact_that_nobody_asks_for_is_found_and_asked_for(
    log: JetStreamLog, tmp_path: Path
) -> None:
    """Its schedule went with a restore, or it went to TRIAGE: mended, it is planned, and well."""
    await identify(log, "ann")
    contacts, _ = await look(log, tmp_path, now=datetime.now(UTC))
    assert contacts == Finding("ok", "contacts", "1 contacts wait for their number")
    contacts, _ = await look(log, tmp_path)
    assert contacts.state == "fail"
    assert contacts.advice == "msgxc doctor --mend"
    contacts, _ = await look(log, tmp_path, mend=True)
    assert contacts.state == "ok"
    contacts, _ = await look(log, tmp_path)
    assert contacts == Finding("ok", "contacts", "1 contacts wait for their number")


async def test_a_client_without_its_contacts_number_is_found_and_mended(
    log: JetStreamLog, tmp_path: Path
) -> None:
    """By the maintainer's own command: the event is there, and the second look finds nothing."""
    contact = await identify(log, "ann", DEVICE)
    await bus_on(log).execute(ResolveContact(contact=contact, contact_id=7, of=2), CONTEXT)
    _, clients = await look(log, tmp_path)
    assert (clients.state, clients.detail) == ("fail", "1 of 1 disagree with their contact")
    _, clients = await look(log, tmp_path, mend=True)
    assert (clients.state, clients.detail) == ("ok", "1 of 1 disagreed with their contact; 1 mended")
    found = await log.events.load(Client, DEVICE, fresh=True)
    assert found is not None
    assert found.contact_id == 7
    _, clients = await look(log, tmp_path)
    assert clients.detail == "1 agree with their contacts"


async def test_a_client_of_an_erased_contact_is_found_and_freed(log: JetStreamLog, tmp_path: Path) -> None:
    """The erasure has not got to it, or never heard of it."""
    await identify(log, "ann", DEVICE)
    await bus_on(log).execute(EraseContact(uid=field_uid(IDS, REALM, 3, "ann")), CONTEXT)
    contacts, clients = await look(log, tmp_path)
    assert (contacts.state, clients.state) == ("ok", "fail")
    _, clients = await look(log, tmp_path, mend=True)
    found = await log.events.load(Client, DEVICE, fresh=True)
    assert found is not None
    assert found.contact is None
    _, clients = await look(log, tmp_path)
    assert clients.state == "ok"
