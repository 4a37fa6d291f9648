"""What is asked of statistics from afar: long after a message was kept, from the first day there is to the last one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from projections.campaigns import OF_DOMAIN
from tests.memory.site import Site
from tests.unit.doppler.shop import DOMAIN, MESSAGE, ask, contact, domain, doppler_site

EVER: dict[str, Any] = {"from": "0001-01-01T00:00:00", "to": "9999-12-31T23:59:59.9999999Z"}
"""What .NET's clients say for "from the first day to the last one"."""


async def kept(it: Site) -> str:
    got = await ask(it, "POST", "/message", {"domain": DOMAIN, "message": MESSAGE})
    mid: str = got.json()["messageId"]
    await it.settled()
    return mid


async def consumed(it: Site, start: datetime | str, end: datetime | str) -> int:
    span: dict[str, Any] = {"from": str(start), "to": str(end)}
    got = await ask(it, "GET", f"/domains/{DOMAIN}/push-sends-consumed-count", **span)
    assert got.status_code == 200, got.text
    found: int = got.json()["consumed"]
    return found


async def test_what_a_kept_message_sends_months_later_is_consumed_then() -> None:
    """A message is kept once and sent to visitors all year; each send counts in the month in which it was made."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        await contact(it, "token", visitorGuid="v")
        mid, clock = await kept(it), it.world.clock
        for sends in (1, 2):
            clock.move_to(clock.now + timedelta(days=70))
            for _ in range(sends):
                got = await ask(it, "POST", f"/messages/{mid}/visitors/v/send", {})
                assert got.status_code == 202, got.text
            await it.settled()
            day = timedelta(days=1)
            assert await consumed(it, clock.now - day, clock.now + day) == sends
        assert await consumed(it, EVER["from"], EVER["to"]) == 3


async def test_only_copies_of_the_time_are_looked_through() -> None:
    """A message that was kept long ago has copies of many months; those of others cost nothing."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        await contact(it, "token", visitorGuid="v")
        mid, clock, day = await kept(it), it.world.clock, timedelta(days=1)
        start = clock.now
        for copies in (3, 1, 2):
            for _ in range(copies):
                await ask(it, "POST", f"/messages/{mid}/visitors/v/send", {})
            await it.settled()
            clock.move_to(clock.now + timedelta(days=50))
        models, looked = it.world.models, 0
        plain = models.range_many

        async def counted(table: Any, partitions: Any, **more: Any) -> Any:
            nonlocal looked
            looked += len(partitions)
            return await plain(table, partitions, **more)

        models.range_many = counted  # type: ignore[method-assign]
        for number, copies in enumerate((3, 1, 2)):
            looked, at = 0, start + number * timedelta(days=50)
            assert (await consumed(it, at - day, at + day), looked) == (copies, copies)
        looked = 0
        assert await delivered(it, mid, start) == 3
        assert looked == 3


@pytest.mark.parametrize("of", ["itself", "a kept message"])
async def test_what_is_sent_months_after_it_was_scheduled_is_consumed_then(of: str) -> None:
    """An admin may schedule a message of a domain for a far day; its sends count on that day, as a copy, too."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        await contact(it, "token", visitorGuid="v")
        clock = it.world.clock
        day = clock.now + timedelta(days=100)
        said = {"subject": "Hi", "msg": "There", "scheduled": day.isoformat()}
        if of == "a kept message":
            said["pmid"] = await kept(it)
        await it.admin("POST", f"/api/v2/apps/{DOMAIN}/messages", said)
        await it.settled()
        clock.move_to(day)
        await it.settled()
        assert await consumed(it, day - timedelta(days=1), day + timedelta(days=1)) == 1


@pytest.mark.parametrize(
    "path",
    [
        f"/domains/{DOMAIN}/push-sends-consumed-count",
        "/push-contacts/messages/delivery-results",
        f"/domains/{DOMAIN}/messages/{{mid}}/stats",
        f"/domains/{DOMAIN}/messages/stats/grouped?messageIds={{mid}}",
    ],
)
async def test_all_time_can_be_asked_for(path: str) -> None:
    """From the first day of all to the last one: all there is, by a question for each month that there has been."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        await contact(it, "token")
        mid = (await ask(it, "POST", f"/messages/domains/{DOMAIN}", MESSAGE)).json()["messageId"]
        await it.settled()
        asked = 0
        models = it.world.models
        plain = models.range

        async def counted(table: Any, *given: Any, **more: Any) -> Any:
            nonlocal asked
            asked += table is OF_DOMAIN
            return await plain(table, *given, **more)

        models.range = counted  # type: ignore[method-assign]
        path, _, query = path.format(mid=mid).partition("?")
        more: dict[str, Any] = dict([query.split("=")]) if query else {}
        got = await ask(it, "GET", path, **EVER, **more)
        assert got.status_code == 200, got.text
        assert "1" in got.text
        assert asked <= 12 * 15


async def test_what_a_sender_reports_counts_when_it_says_it_happened() -> None:
    """A date without a zone is UTC; one that cannot be (none, the first day of all, years ahead) is the call's own."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        mid = await kept(it)
        dates = {
            "2026-05-04T10:59:59": "2026-05-04T10",
            "2026-05-04T23:30:00-03:00": "2026-05-05T02",
            "0001-01-01T00:00:00": None,
            "0001-01-01T00:00:00+05:00": None,
            "9999-12-31T23:59:59-12:00": None,
            None: None,
        }
        now = it.world.clock.now
        for said, hour in dates.items():
            told = [{"deviceToken": "t", "sentSuccess": True, "messageId": mid, "eventDate": said}]
            before = await delivered(it, mid, hour or now)
            assert (await ask(it, "POST", "/history-events/_bulk", told)).status_code == 200, said
            await it.settled()
            assert await delivered(it, mid, hour or now) == before + 1, said


async def delivered(it: Site, mid: str, hour: datetime | str) -> int:
    """In that hour."""
    start = datetime.fromisoformat(f"{hour}:00:00+00:00") if isinstance(hour, str) else hour
    span: dict[str, Any] = {"from": start.isoformat(), "to": (start + timedelta(minutes=1)).isoformat()}
    got = await ask(it, "GET", f"/domains/{DOMAIN}/messages/{mid}/stats", **span)
    assert got.status_code == 200, got.text
    found: int = got.json()["delivered"]
    return found
