"""The doctor's look at contacts' numbers: changes that nobody asks for, clients that disagree with their contact.

A change is open without a fault while it is new, and while its schedule is there; what went to TRIAGE after a day is
asked for anew when the doctor is to mend. Clients are mended by the same command as the clients maintainer's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from cli.upkeep.findings import Finding
from commands.bus import Bus
from commands.resolution import MendClient
from domain.context import Context
from domain.recorded import SCHEDULES
from infra.log.log import JetStreamLog
from infra.readstore.store import ReadStore
from processes.devices.resolution import Asking, plan
from projections.numbers import CLIENT_NUMBERS, CONTACT_NUMBERS, contact_key
from projections.port import Row

ACTOR = "doctor"
NEW = timedelta(minutes=2)
"""What happened since then may still be on its way."""
ADVICE = "msgxc doctor --mend"


async def numbers(
    log: JetStreamLog, store: ReadStore, bus: Bus, *, now: datetime, mend: bool
) -> list[Finding]:
    return [
        await _contacts(log, store, now=now, mend=mend),
        await _clients(store, bus, now=now, mend=mend),
    ]


async def _contacts(log: JetStreamLog, store: ReadStore, *, now: datetime, mend: bool) -> Finding:
    """Contacts whose change has no answer."""
    waiting, lost = 0, 0
    async for rows in store.scan(CONTACT_NUMBERS):
        for row in rows:
            if not is_open(row):
                continue
            asking = _asking(row)
            if row["asked_at"] > now - NEW or await _is_planned(log, asking):
                waiting += 1
                continue
            lost += 1
            if mend:
                # From now on, as if it had just been said: a day of asking begins anew.
                again = Asking(realm=asking.realm, contact=asking.contact, of=asking.of, since=now)
                await plan(log, again, now + timedelta(seconds=1))
    if lost and not mend:
        return Finding("fail", "contacts", f"nobody asks for the numbers of {lost:,} contacts", ADVICE)
    if lost:
        return Finding("ok", "contacts", f"the numbers of {lost:,} contacts are asked for again")
    detail = f"{waiting:,} contacts wait for their number" if waiting else "all have their number"
    return Finding("ok", "contacts", detail)


async def _clients(store: ReadStore, bus: Bus, *, now: datetime, mend: bool) -> Finding:
    """Clients that say something else than their contact."""
    seen, wrong, mended = 0, 0, 0
    async for page in store.scan(CLIENT_NUMBERS):
        rows = [row for row in page if row["contact"] is not None and row["linked_at"] <= now - NEW]
        found = await store.get_many(
            CONTACT_NUMBERS, [contact_key(row["realm"], row["contact"]) for row in rows]
        )
        seen += len(rows)
        for client, contact in zip(rows, found, strict=True):
            if contact is None or not disagrees(client, contact):
                continue
            wrong += 1
            if mend:
                command = MendClient(client=client["client"])
                mended += await bus.execute(command, Context(client["realm"], ACTOR))
    if wrong and not mend:
        return Finding("fail", "clients", f"{wrong:,} of {seen:,} disagree with their contact", ADVICE)
    if wrong:
        return Finding(
            "ok", "clients", f"{wrong:,} of {seen:,} disagreed with their contact; {mended:,} mended"
        )
    return Finding("ok", "clients", f"{seen:,} agree with their contacts")


def is_open(row: Row) -> bool:
    """Whether a contact's newest change has no answer."""
    return row["asked"] is not None and (row["answered"] or 0) < row["asked"]


def disagrees(client: Row, contact: Row) -> bool:
    """Whether a client does not say what its contact does: an erased one's should be nobody's."""
    if contact["erased"]:
        return True
    answered: Any = contact["answered"]
    return answered is not None and (client["answered"] or 0) < answered


def _asking(row: Row) -> Asking:
    return Asking(realm=row["realm"], contact=row["contact"], of=row["asked"], since=row["asked_at"])


async def _is_planned(log: JetStreamLog, asking: Asking) -> bool:
    """Its schedule is there, or has fired and waits for its worker."""
    for subject in (f"schedule.{asking.schedule}", asking.target):
        if await log.js.leader_get(SCHEDULES, last_by_subj=subject) is not None:
            return True
    return False
