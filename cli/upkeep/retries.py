"""The doctor's look at further tries: those whose schedule is gone, which are planned anew when it is to mend."""

from __future__ import annotations

from datetime import datetime

from cli.upkeep.findings import Finding
from commands.bus import Bus
from domain.recorded import SCHEDULES
from infra.log.log import JetStreamLog
from infra.readstore.store import ReadStore
from processes.sending.feedback import Feedback
from processes.sending.lost_tries import lost_tries
from processes.sending.tries import due_subject


async def retries(
    log: JetStreamLog, store: ReadStore, bus: Bus, *, now: datetime, mend: bool
) -> list[Finding]:
    async def is_planned(id: str) -> bool:
        for subject in (f"schedule.{id}", due_subject(id)):
            if await log.js.leader_get(SCHEDULES, last_by_subj=subject) is not None:
                return True
        return False

    feedback, lost = Feedback(log=log, bus=bus, clock=lambda: now), 0
    async for each in lost_tries(log, store, is_planned, now=now):
        lost += 1
        if mend:
            await feedback.plan(each.dispatch, each.ended)
    if not lost:
        return [Finding("ok", "retries", "whatever is to be tried again has its schedule")]
    if mend:
        return [Finding("ok", "retries", f"{lost:,} had lost their schedule; written anew")]
    detail = f"{lost:,} slices of dispatches wait for a try that nothing will begin"
    return [Finding("fail", "retries", detail, "msgxc doctor --mend")]
