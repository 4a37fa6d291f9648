"""What the doctor says of a real log and its read models."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cli.session import Session
from cli.upkeep.checkup import checkup
from cli.wiring.stores import make_missing, open_store
from domain.recorded import TRIAGE
from infra.log.log import JetStreamLog
from infra.nats.server import NatsServer
from processes.models.holds import source_of
from projections.contacts import Contacts
from projections.port import GenerationInfo
from tests.fixtures.sessions import session_of


@pytest.fixture
def session(nats_server: NatsServer, tmp_path: Path) -> Session:
    return on(nats_server, tmp_path)


def on(nats_server: NatsServer, tmp_path: Path, **settings: str) -> Session:
    """On the server that `log` is on."""
    url = nats_server.url.replace("://", f"://{nats_server.token}@")
    return session_of(tmp_path, NATS_URL=url, **settings)


async def put_aside(log: JetStreamLog, source: str, facts: int) -> None:
    for position in range(1, facts + 1):
        await log.triage(source, "evt.contact.00.x", reason="no rule", body=b"", position=position)


async def of_contacts(session: Session, *, building: bool) -> GenerationInfo:
    """The live generation of contacts, or one that is being built beside it and is dropped again."""
    name = Contacts.name
    async with open_store(session) as store:
        await make_missing(store)
        if building:
            number = await store.begin(name, Contacts.version)
        infos = await store.generations(name)
        if building:
            await store.drop(name, number)
    return infos[-1]


async def triage_of(session: Session) -> list[str]:
    return [each.detail for each in await checkup(session, mend=False) if each.about == "triage"]


async def test_what_a_dropped_generation_put_aside_waits_for_nobody(
    session: Session, log: JetStreamLog
) -> None:
    """It stays in TRIAGE for ever, and is not told: only what a generation that is there waits behind, or a role."""
    await put_aside(log, source_of(await of_contacts(session, building=True)), 5)
    assert await triage_of(session) == []
    await put_aside(log, source_of(await of_contacts(session, building=False)), 2)
    await put_aside(log, "feedback", 1)
    assert await triage_of(session) == [f"3 facts could not be dealt with and wait in {TRIAGE}"]


async def test_what_two_generations_put_aside_counts_once(session: Session, log: JetStreamLog) -> None:
    """After a rebuild the former generation is kept for a roll-back: a fact that neither can read is one."""
    await put_aside(log, source_of(await of_contacts(session, building=False)), 2)
    async with open_store(session) as store:
        rebuilt = await store.begin(Contacts.name, Contacts.version)
        await store.generation(Contacts.name, rebuilt, Contacts.tables)
        await store.switch(Contacts.name, rebuilt)
        *_, live = await store.generations(Contacts.name)
    await put_aside(log, source_of(live), 3)
    assert await triage_of(session) == [f"3 facts could not be dealt with and wait in {TRIAGE}"]


async def test_triage_is_told_while_the_read_store_is_away(
    session: Session, log: JetStreamLog, nats_server: NatsServer, tmp_path: Path
) -> None:
    """What a role put there waits for certain; of what read models did, nobody knows whether it still does."""
    await put_aside(log, source_of(await of_contacts(session, building=False)), 2)
    await put_aside(log, "feedback", 1)
    findings = await checkup(on(nats_server, tmp_path, CASSANDRA="127.0.0.1:1"), mend=False)
    assert [each.detail for each in findings if each.about == "triage"] == [
        f"1 facts could not be dealt with and wait in {TRIAGE}",
        f"2 facts that read models put aside are in {TRIAGE}; which still wait, the read store knows",
    ]
    assert [each.state for each in findings if each.about == "read models"] == ["fail"]


async def test_as_many_subjects_as_there_are_can_be_counted(log: JetStreamLog) -> None:
    """However long the server's answer is: this one has more than a megabyte."""
    subjects = [f"triage.feedback.{number:064}" for number in range(12_000)]
    for subject in subjects:
        await log.js.connection.tell(subject, b"")
    async with asyncio.timeout(30):
        while (info := await log.js.info(TRIAGE)) is None or info.state.messages < len(subjects):
            await asyncio.sleep(0)
    counted = await log.js.counts(TRIAGE, "triage.feedback.*")
    assert counted == dict.fromkeys(subjects, 1)
