"""Resolution on a real log: processes that are killed, and contact services that hang, fail and say nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.contact import Contact
from domain.context import Context
from domain.people.resolution import field_uid
from domain.recorded import EVENTS, SCHEDULES, TRIAGE
from infra.emarsys_http.contacts import HttpContacts
from infra.emarsys_http.service import Service
from infra.log.log import JetStreamLog
from infra.lookups.own_directories import OwnContacts
from infra.lookups.resolutions import FollowedResolutions
from infra.nats.server import NatsServer
from processes.devices.resolution import ContactResolver, ExpiredWriter, Resolver
from processes.directories import ContactData
from processes.worker import work
from tests.integration.resolution.resolving_child import IDS, QUICK, bus_on

ROOT = Path(__file__).parents[3]
REALM, FIELD = "main", 3
CONTEXT = Context(REALM, "test", "", "corr")
WAIT_S_MAX = 20.0


def now() -> datetime:
    return datetime.now(UTC)


async def identify(log: JetStreamLog, value: str) -> UUID:
    uid = field_uid(IDS, REALM, FIELD, value)
    contact = Contact.create(id=IDS.contact(REALM, uid), at=now(), uid=uid)
    contact.identify(at=now(), field=FIELD, value=value, app="shop-app")
    await log.events.save(contact, context=CONTEXT)
    return contact.id


@contextlib.asynccontextmanager
async def running(*runs: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(run()) for run in runs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def resolving(log: JetStreamLog, data: ContactData) -> AsyncIterator[FollowedResolutions]:
    """The resolver and the expired writer at work; who waits for numbers."""
    resolver = Resolver(log=log, store=log.events, bus=bus_on(log), data=data, clock=now)
    first, again = ContactResolver(log=log, resolver=resolver), ExpiredWriter(log=log, resolver=resolver)
    waiting = FollowedResolutions(log, log.events)

    async def work_quickly() -> None:
        await work(log, QUICK, first.handle)

    async with running(work_quickly, again.run, waiting.run):
        yield waiting


Answer = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]


def says(status: str, body: bytes, *, length: int | None = None) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length or len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


async def hangs(_writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


GOOD = says("200 OK", b'{"contactId": 4711}')
BAD: dict[str, Answer] = {
    "error": says("500 Internal Server Error", b"{}"),
    "busy": says("503 Service Unavailable", b""),
    "no-json": says("200 OK", b"<html>"),
    "other-json": says("200 OK", b'{"id": 1}'),
    "negative": says("200 OK", b'{"contactId": -1}'),
    "too-large": says("200 OK", b'{"contactId": 9007199254740992}'),
    "text": says("200 OK", b'{"contactId": "4711"}'),
    "cut-off": says("200 OK", b'{"conta', length=20),
    "moved": says("302 Found", b""),
}

CORE = ("error", "other-json", "cut-off")
"""One of each sort; the others take a second each, too."""


class ContactService:
    """answers: what it says to the next questions, one after the other; then GOOD."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.asked, self.port = list(answers), 0, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                self.asked += 1
                answer = self.answers.pop(0) if self.answers else GOOD
                await answer(writer)
                if answer is not GOOD:
                    break
        writer.close()


@contextlib.asynccontextmanager
async def contact_service(*answers: Answer) -> AsyncIterator[tuple[ContactService, HttpContacts]]:
    made = ContactService(*answers)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    service = Service("the contact service", f"http://127.0.0.1:{made.port}")
    try:
        yield made, HttpContacts(service)
    finally:
        await service.aclose()
        server.close()


@pytest.mark.parametrize(
    "name", [name if name in CORE else pytest.param(name, marks=pytest.mark.long) for name in BAD]
)
async def test_a_contact_service_that_fails_is_asked_again(log: JetStreamLog, name: str) -> None:
    """Whatever nonsense it says: the change waits as a schedule, and the next answer is written; no TRIAGE."""
    async with contact_service(BAD[name]) as (service, data), resolving(log, data) as waiting:
        contact = await identify(log, "ann@example.org")
        assert await waiting.resolved(REALM, contact, WAIT_S_MAX) == 4711
    assert service.asked == 2
    assert await log.end(TRIAGE) == 0


async def test_a_contact_service_that_says_no_is_not_asked_again(log: JetStreamLog) -> None:
    """Its no goes to TRIAGE; whoever comes next is resolved."""
    no = says("422 Unprocessable Content", b"{}")
    async with contact_service(no) as (service, data), resolving(log, data) as waiting:
        refused = await identify(log, "nobody")
        async with asyncio.timeout(WAIT_S_MAX):
            while not await log.triaged("contact-resolver"):
                await asyncio.sleep(0.01)
        contact = await identify(log, "ann@example.org")
        assert await waiting.resolved(REALM, contact, WAIT_S_MAX) == 4711
        assert await waiting.resolved(REALM, refused, 0) is None
    assert service.asked == 2


@pytest.mark.long
async def test_a_contact_service_that_hangs_holds_nobody_up(log: JetStreamLog) -> None:
    """Its time ends, the change waits, the process goes on."""
    async with contact_service(hangs) as (service, data), resolving(log, data) as waiting:
        contact = await identify(log, "ann@example.org")
        assert await waiting.resolved(REALM, contact, WAIT_S_MAX) == 4711
    assert service.asked == 2


async def test_alone_the_exchange_gives_the_numbers(log: JetStreamLog) -> None:
    """Without a contact service: at once, a number for each, the same for the same."""
    async with resolving(log, OwnContacts(bus_on(log))) as waiting:
        ann, bob = await identify(log, "ann@example.org"), await identify(log, "bob@example.org")
        found = await asyncio.gather(
            *(waiting.resolved(REALM, contact, WAIT_S_MAX) for contact in (ann, bob))
        )
    assert None not in found
    assert len(set(found)) == 2
    kinds = [fact.topic for fact in await log.read(EVENTS, "evt.contact.>")]
    assert kinds.count("contact.resolved.v1") == 2


async def test_a_process_killed_between_the_answer_and_the_write_loses_nothing(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """SIGKILL, and no trace of it: the next process asks again and writes once."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.resolution.resolving_child"),
        *(nats_server.url, nats_server.token),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        contact = await identify(log, "ann@example.org")
        async with asyncio.timeout(WAIT_S_MAX):
            assert await child.stdout.readline() == b"answered\n"
    finally:
        child.kill()
        await child.wait()
    found = await log.events.load(Contact, contact, fresh=True)
    assert found is not None
    assert found.contact_id is None
    async with resolving(log, OwnContacts(bus_on(log))) as waiting:
        assert await waiting.resolved(REALM, contact, WAIT_S_MAX) is not None
    kinds = [fact.topic for fact in await log.read(EVENTS, "evt.contact.>")]
    assert kinds == ["contact.created.v1", "contact.identified.v1", "contact.resolved.v1"]
    assert await log.end(SCHEDULES) == 0
