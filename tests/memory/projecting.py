"""A projector over a log in memory: what its tests have it do, and what they put in its way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from commands.contacts import PutContact
from domain.recorded import EVENTS
from infra.eventstore.wire import event_subject
from processes.models.projector import Projector
from processes.models.watermark import Watermark
from projections import contacts
from projections.catalogue import ALL
from projections.port import Projection
from tests.memory.ports.read_models import MemoryReadModels
from tests.memory.ports.streams import Entry, Streams
from tests.memory.world import IDS, REALM, World


def projector(made: World, models: MemoryReadModels, projections: Sequence[Projection] = ALL) -> Projector:
    generations = [(each, models.generation(each.name)) for each in projections]
    return Projector(made.own.log, EVENTS, generations, Watermark(models, local=True))


async def project(
    made: World,
    models: MemoryReadModels,
    projections: Sequence[Projection] = ALL,
    *,
    until: int | None = None,
) -> None:
    """Up to the end of the log, or to a position."""
    async with asyncio.timeout(5):
        await projector(made, models, projections).run(until=until or end_of(made.streams))


def end_of(streams: Streams) -> int:
    return len(streams.messages[EVENTS])


def poison(made: World, uid: str) -> None:
    """Something on a contact's subject that is no event of ours."""
    subject = event_subject("contact", IDS.contact(REALM, uid))
    lines = b"Topic: contact.never-heard-of.v9\r\nVersion: 9\r\nTime: 2027-01-01T12:00:00.000000Z\r\n"
    made.streams.append(EVENTS, [Entry(subject, lines, b"{}")])


async def name_of(models: MemoryReadModels, uid: str) -> str | None:
    row = await contacts.find(models, REALM, IDS.contact(REALM, uid))
    return row["locale"] if row else None


async def three(made: World) -> None:
    for uid in ("ann", "bob", "cem"):
        await made.do(PutContact(uid=uid, locale="de"))
