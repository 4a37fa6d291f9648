"""The MSGXC contract's calls, as its clients make them."""

from __future__ import annotations

from uuid import UUID

import pytest

from domain.message import Message
from domain.recorded import EVENTS
from tests.memory.site import Site, site

OPEN = {"tid": "news", "name": "News", "opens": True}
"""A PushSubscription, with a field that browsers may come to add."""


async def published(it: Site, **more: object) -> str:
    """The message's address, sent by the thread's owner."""
    got = await it.call("POST", "/api/v2/publish", {"tid": "news", "msg": "hello", **more}, by="olga")
    assert (got.status_code, got.json()) == (200, True), got.text
    return got.headers["location"]


async def test_a_publish_answers_true_with_the_messages_address() -> None:
    """Publish answers `true` with 200, and Location leads to the message at once."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        location = await published(it, opts={"sound": "ping.aiff", "urgency": 4, "ttl": 60})
        assert location.startswith("/api/v2/messages/")
        shown = await it.ok("GET", location, by="olga")
        assert UUID(shown["mid"])
        assert (shown["tid"], shown["msg"], shown["subject"]) == ("news", "hello", "News")
        assert (shown["sender"], shown["urgency"], shown["opts"]) == ("olga", 4, {"sound": "ping.aiff"})
        [accepted] = [f.body for f in it.world.facts(EVENTS) if isinstance(f.body, Message.Accepted)]
        assert (accepted.expires_at - accepted.timestamp).total_seconds() == 60


async def test_deliveries_are_paged_with_cursors() -> None:
    """Every subscriber's delivery is on exactly one page; a cursor of another message is refused."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        for number in range(7):
            await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by=f"u{number}")
        location, other = await published(it), await published(it)
        await it.settled()
        contacts, cursor = [], ""
        while True:
            page = await it.ok("GET", f"{location}/deliveries?limit=3{cursor}", by="olga")
            assert len(page["items"]) <= 3
            contacts += [item["contact"] for item in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert sorted(contacts) == [f"u{number}" for number in range(7)]
        assert {item["state"] for item in page["items"]} <= {"accepted"}
        got = await it.call("GET", f"{other}/deliveries?limit=3{cursor}", by="olga")
        assert (got.status_code, got.json()["field"]) == (422, "cursor")


async def test_only_sender_owner_and_admins_read_a_message() -> None:
    """A subscriber, a stranger and another realm's admin get 404, as if there were no message."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", {**OPEN, "pubs": ["paul"], "admins": ["ada"]}, by="olga")
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="sue")
        got = await it.call("POST", "/api/v2/publish", {"tid": "news", "msg": "by paul"}, by="paul")
        location = got.headers["location"]
        for reader in ("paul", "olga", "ada"):
            assert (await it.call("GET", location, by=reader)).status_code == 200
        assert (await it.call("GET", location, by="boss", role="admin")).status_code == 200
        for stranger in ("sue", "eve"):
            assert (await it.call("GET", location, by=stranger)).status_code == 404
            assert (await it.call("GET", f"{location}/deliveries", by=stranger)).status_code == 404
        elsewhere = await it.call("GET", location, by="boss", role="admin", realm="other")
        assert elsewhere.status_code == 404


async def test_who_may_publish_is_as_in_the_contract() -> None:
    """Owner, admins, pubs, services and anyone on an open thread; others get 403, or 404 for what they can't see."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", {**OPEN, "pubs": ["paul"], "admins": ["ada"]}, by="olga")
        await it.ok("POST", "/api/v2/threads", {"tid": "inner"}, by="olga")
        await it.ok("POST", "/api/v2/threads", {"tid": "agora", "openp": True}, by="olga")

        async def status(tid: str, by: str, role: str | None = None) -> int:
            got = await it.call("POST", "/api/v2/publish", {"tid": tid, "msg": "hi"}, by=by, role=role)
            return got.status_code

        for writer in ("olga", "ada", "paul"):
            assert await status("news", writer) == 200
        assert await status("news", "eve", "admin") == 200
        assert await status("agora", "eve") == 200
        assert await status("news", "eve") == 403
        assert await status("inner", "eve") == 404
        assert await status("nowhere", "eve") == 404


async def test_subscribing_needs_an_open_thread() -> None:
    """Who may not subscribe gets 403 on a thread they can see and 404 on one they can't; leaving is always allowed."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.ok("POST", "/api/v2/threads", {"tid": "inner", "pubs": ["paul"]}, by="olga")
        assert await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="eve") is True
        assert await it.ok("POST", "/api/v2/unsubscribe", {"tid": "news"}, by="eve") is True
        assert await it.ok("POST", "/api/v2/unsubscribe", {"tid": "news"}, by="eve") is True
        assert (await it.call("POST", "/api/v2/subscribe", {"tid": "inner"}, by="paul")).status_code == 403
        assert (await it.call("POST", "/api/v2/subscribe", {"tid": "inner"}, by="eve")).status_code == 404
        someone = {"tid": "news", "uid": "bob"}
        assert (await it.call("POST", "/api/v2/subscribe", someone, by="eve")).status_code == 403
        await it.admin("POST", "/api/v2/subscribe", someone)
        page = await it.ok("GET", "/api/v2/threads/news/subscribers", by="olga")
        assert [item["uid"] for item in page["items"]] == ["bob"]


async def test_a_scheduled_message_is_reported_cancelled_or_sent_early() -> None:
    """Scheduled takes ISO or milliseconds; upcoming lists it; cancel and execute end the waiting."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        later_ms = int(it.world.clock().timestamp() * 1000) + 3_600_000
        first = await published(it, scheduled=later_ms)
        second = await published(it, scheduled="2027-01-01T14:00:00Z")
        upcoming = await it.admin("GET", "/api/v2/reports/messages_upcoming")
        addresses = [f"/api/v2/messages/{row['mid']}" for row in upcoming]
        assert addresses == [first, second]
        mid = first.rpartition("/")[2]
        wrong = await it.call("POST", "/api/v2/cancel", {"tid": "x", "mid": mid}, by="b", role="admin")
        assert wrong.status_code == 404
        assert await it.admin("POST", "/api/v2/cancel", {"tid": "news", "mid": mid}) is True
        assert await it.admin("POST", "/api/v2/cancel", {"tid": "news", "mid": mid}) is True
        later, last = second.rpartition("/")[2], (await published(it)).rpartition("/")[2]
        recent = await it.admin("GET", "/api/v2/reports/messages_recent")
        assert [row["mid"] for row in recent] == [last, mid]
        assert await it.admin("POST", "/api/v2/execute/message", {"tid": "news", "mid": later}) is True
        refused = await it.call("POST", "/api/v2/cancel", {"tid": "news", "mid": later}, by="b", role="admin")
        assert refused.status_code == 409
        await it.settled()
        assert (await it.admin("GET", first))["state"] == "cancelled"
        assert (await it.admin("GET", second))["state"] == "dispatched"
        assert await it.admin("GET", "/api/v2/reports/messages_upcoming") == []
        recent = await it.admin("GET", "/api/v2/reports/messages_recent")
        assert [(row["mid"], row["state"]) for row in recent] == [
            (later, "dispatched"),
            (last, "dispatched"),
            (mid, "cancelled"),
        ]
        assert await it.admin("GET", "/api/v2/reports/anything") == []


async def test_an_idempotency_key_makes_one_message_of_many_calls() -> None:
    """The twin gets the first answer, Location included; other parameters under the key get 422."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "news"}, by="olga")
        body = {"tid": "news", "msg": "hello"}
        key = {"Idempotency-Key": "k-1"}
        first = await it.call("POST", "/api/v2/publish", body, by="olga", headers=key)
        twin = await it.call("POST", "/api/v2/publish", body, by="olga", headers=key)
        assert first.headers["location"] == twin.headers["location"]
        other = await it.call("POST", "/api/v2/publish", {**body, "msg": "bye"}, by="olga", headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")
        assert len([f for f in it.world.facts(EVENTS) if isinstance(f.body, Message.Accepted)]) == 1
        bad = await it.call("POST", "/api/v2/publish", body, by="olga", headers={"Idempotency-Key": ""})
        assert bad.status_code == 422


async def test_all_kinds_of_message_are_accepted() -> None:
    """send, multicast and broadcast by an admin answer true with an address; a send to nobody known is 404."""
    async with site() as it:
        await it.admin("PUT", "/api/v2/contacts/ann", {"email": "ann@example.org"})
        for path, body in (
            ("send", {"uid": "ann", "msg": "hi"}),
            ("multicast", {"uids": ["ann", "who"], "msg": "hi"}),
            ("broadcast", {"msg": "hi"}),
        ):
            got = await it.call("POST", f"/api/v2/{path}", body, by="boss", role="msgxc_admin")
            assert (got.status_code, got.json()) == (200, True)
            assert got.headers["location"].startswith("/api/v2/messages/")
            assert (await it.call("POST", f"/api/v2/{path}", body, by="eve")).status_code == 403
        got = await it.call("POST", "/api/v2/send", {"uid": "who", "msg": "hi"}, by="boss", role="admin")
        assert got.status_code == 404


async def test_a_switched_off_thread_takes_and_drops() -> None:
    """Mtypes with `~`: publish answers true, and nothing is stored."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "news", "mtypes": ["~"]}, by="olga")
        got = await it.call("POST", "/api/v2/publish", {"tid": "news", "msg": "hello"}, by="olga")
        assert (got.status_code, got.json()) == (200, True)
        assert "location" not in got.headers
        assert not [f for f in it.world.facts(EVENTS) if isinstance(f.body, Message.Accepted)]


async def test_contacts_are_put_shown_and_erased() -> None:
    """What is put is normalized and shown; what is left out stays; an erased contact is gone and stays so."""
    async with site() as it:
        body = {"email": "Ann@Example.ORG", "cell": "+1 415 555 0100", "locale": "pt_BR"}
        got = await it.call("PUT", "/api/v2/contacts/ann", body, by="boss", role="admin")
        assert got.status_code == 201
        await it.admin("PUT", "/api/v2/contacts/ann", {"timezone": "Europe/Berlin", "mtypes": ["em"]})
        shown = await it.admin("GET", "/api/v2/contacts/ann")
        assert (shown["email"], shown["cell"], shown["locale"]) == (
            "Ann@example.org",
            "+14155550100",
            "pt-BR",
        )
        assert (shown["timezone"], shown["mtypes"]) == ("Europe/Berlin", ["email"])
        await it.admin("PUT", "/api/v2/contacts/ann", {"cell": None})
        assert (await it.admin("GET", "/api/v2/contacts/ann"))["cell"] is None
        assert await it.admin("DELETE", "/api/v2/contacts/ann") is True
        gone = await it.call("GET", "/api/v2/contacts/ann", by="boss", role="admin")
        assert gone.status_code == 404
        again = await it.call("PUT", "/api/v2/contacts/ann", {}, by="boss", role="admin")
        assert again.status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"cell": "0155"}, "cell"),
        ({"locale": "x"}, "locale"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"mtypes": ["pigeon post"]}, "mtypes"),
        ({"mail": "ann@example.org"}, "mail"),
    ],
)
async def test_a_contacts_fields_are_checked(body: dict[str, object], field: str) -> None:
    """What cannot be is refused with 422, naming the field."""
    async with site() as it:
        got = await it.call("PUT", "/api/v2/contacts/ann", body, by="boss", role="admin")
        assert (got.status_code, got.json()["field"]) == (422, field), got.text


@pytest.mark.parametrize(
    ("path", "body", "wrong", "words"),
    [
        ("publish", {"tid": "news", "msg": "hello", "urgency": 4}, "urgency", "did you mean opts.urgency?"),
        ("publish", {"tid": "news", "mgs": "hello"}, "mgs", "did you mean msg?"),
        ("publish", {"tid": "news", "msg": "hello", "TTL": 4}, "TTL", "did you mean opts.ttl?"),
        ("send", {"uid": "ann", "msg": "hello", "mtype": ["ws"]}, "mtype", "did you mean mtypes?"),
        ("subscribe", {"tid": "news", "urgency": 4}, "urgency", "there are tid, uid, mtypes"),
        ("threads", {"tid": "more", "urgency": 4, "open": True}, "open", "did you mean opens?"),
        (
            "receipts",
            {"mid": str(UUID(int=1)), "kind": "read", "urgency": 4},
            "urgency",
            "there are mid, kind, channel, client",
        ),
        ("apps", {"code": "A", "anonymous": False}, "anonymous", "did you mean anonymous_allowed?"),
        ("apps/A/messages", {"msg": "hi", "icon": "x"}, "icon", "did you mean push.icon?"),
        ("apps/A/messages", {"msg": "hi", "push": {"lnk": "x"}}, "push.lnk", "did you mean link?"),
        ("apps/A/messages", {"msg": "hi", "push": {"tap": {"uri": ""}}}, "push.tap.uri", "did you mean url?"),
    ],
)
async def test_a_field_that_there_is_not_is_named(
    path: str, body: dict[str, object], wrong: str, words: str
) -> None:
    """A slip of the pen is refused, not passed over, and the field that was meant is named, one level down, too.

    What the original's clients send beside is taken.
    """
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        got = await it.call("POST", f"/api/v2/{path}", body, by="boss", role="admin")
        assert (got.status_code, got.json()["field"]) == (422, wrong), got.text
        assert got.json()["detail"] == f"there is no such field: {words}"
        await published(it, sys=True, broadcast=False, pmid="1", subject="s", scheduled=None)


async def test_a_channel_that_there_is_not_is_named() -> None:
    """Beside the channels that there are: by their codes, and names for further ones."""
    async with site() as it:
        got = await it.call("POST", "/api/v2/threads", {**OPEN, "mtypes": ["apn", "fax"]}, by="olga")
        assert (got.status_code, got.json()["field"]) == (422, "mtypes")
        assert got.json()["detail"] == (
            "'fax' is no channel; there are ws, apn, fcm, wpn, sms, em; ~ is none at all"
        )
        await it.ok("POST", "/api/v2/threads", {**OPEN, "mtypes": ["apn", "email", "ws"]}, by="olga")


async def test_threads_are_opened_changed_listed_and_closed() -> None:
    """PUT opens or changes; a list shows what one may see; a closed thread is gone."""
    async with site() as it:
        made = await it.call("POST", "/api/v2/threads", {"name": "Any"}, by="olga")
        assert made.status_code == 201
        assert made.headers["location"] == f"/api/v2/threads/{made.json()['tid']}"
        assert (await it.call("PUT", "/api/v2/threads/a", {"opens": True}, by="olga")).status_code == 201
        assert (
            await it.call("PUT", "/api/v2/threads/a", {"name": "A", "opens": True}, by="olga")
        ).status_code == 200
        assert (await it.call("PUT", "/api/v2/threads/a", {}, by="eve")).status_code == 403
        await it.ok("PUT", "/api/v2/threads/secret", {}, by="olga")
        assert (await it.call("PUT", "/api/v2/threads/secret", {}, by="eve")).status_code == 404
        stranger = await it.ok("GET", "/api/v2/threads/a", by="eve")
        assert (stranger["name"], "owner" in stranger) == ("A", False)
        assert (await it.ok("GET", "/api/v2/threads/a", by="olga"))["owner"] == "olga"
        listed = await it.ok("GET", "/api/v2/threads", by="eve")
        assert [item["tid"] for item in listed["items"]] == ["a"]
        assert len((await it.ok("GET", "/api/v2/threads", by="olga"))["items"]) == 3
        assert (await it.call("DELETE", "/api/v2/threads/a", by="eve")).status_code == 403
        assert await it.ok("DELETE", "/api/v2/threads/a", by="olga") is True
        assert (await it.call("GET", "/api/v2/threads/a", by="olga")).status_code == 404


async def test_a_thread_is_opened_once_under_a_key() -> None:
    """A repeated call gets the name that the first was given; other settings under the key get 422."""
    async with site() as it:
        key = {"Idempotency-Key": "once"}
        one, other = [
            await it.call("POST", "/api/v2/threads", {"name": "Any"}, by="olga", headers=key)
            for _ in range(2)
        ]
        assert (one.status_code, one.json()) == (201, other.json())
        assert other.headers["location"] == f"/api/v2/threads/{one.json()['tid']}"
        got = await it.call("POST", "/api/v2/threads", {"name": "Some"}, by="olga", headers=key)
        assert (got.status_code, got.json()["code"]) == (422, "idempotency-mismatch")
        assert len((await it.ok("GET", "/api/v2/threads", by="olga"))["items"]) == 1


async def test_a_threads_messages_come_newest_first() -> None:
    """The owner reads all of them over pages; others may not."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        sent = [await published(it) for _ in range(5)]
        first = await it.ok("GET", "/api/v2/threads/news/messages?limit=3", by="olga")
        rest = await it.ok("GET", f"/api/v2/threads/news/messages?limit=3&cursor={first['next']}", by="olga")
        got = [f"/api/v2/messages/{item['mid']}" for item in first["items"] + rest["items"]]
        assert got == sent[::-1]
        assert (await it.call("GET", "/api/v2/threads/news/messages", by="eve")).status_code == 403


async def test_events_are_read_from_a_position_on() -> None:
    """An admin pages through the realm's events; sealed fields are left out, other realms are not shown."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.ok("POST", "/api/v2/threads", {"tid": "far"}, by="olga", realm="other")
        await it.admin("PUT", "/api/v2/contacts/ann", {"email": "ann@example.org"})
        first = await it.admin("GET", "/api/v2/events?limit=1")
        assert [item["topic"] for item in first["items"]] == ["thread.opened.v1"]
        rest = await it.admin("GET", f"/api/v2/events?after={first['next']}")
        assert [item["topic"] for item in rest["items"]] == ["contact.created.v1", "contact.address-set.v1"]
        assert "ann@example.org" not in str(rest)
        assert rest["items"][1]["position"] == 4
        assert (await it.admin("GET", f"/api/v2/events?after={rest['next']}"))["items"] == []
        bad = await it.call("GET", "/api/v2/events?after=x.y", by="boss", role="admin")
        assert (bad.status_code, bad.json()["field"]) == (422, "after")


async def test_ping_and_versions_need_no_token() -> None:
    """GET /ping and /api/v2/ping answer the original's text; the status calls answer a version."""
    async with site() as it:
        for path in ("/ping", "/api/v2/ping"):
            got = await it.call("GET", path, by=None)
            assert (got.status_code, got.text) == (200, "200 OK")
        for path in ("/api/v2/status/dbver", "/api/v2/status/xasver"):
            assert "version" in await it.ok("GET", path, by=None)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_of_threads_are_full(limit: int) -> None:
    """What one may not see takes no room in them, and the last one says that it is."""
    async with site() as it:
        for number in range(12):
            await it.ok("POST", "/api/v2/threads", {"tid": f"t{number}", "opens": number % 4 == 0}, by="olga")
        await it.settled()
        found, cursor, pages = [], "", 0
        while pages == 0 or cursor:
            page = await it.ok("GET", f"/api/v2/threads?limit={limit}{cursor}", by="ann")
            found += [item["tid"] for item in page["items"]]
            cursor, pages = f"&cursor={page['next']}" if page["next"] else "", pages + 1
        assert (sorted(found), pages) == (["t0", "t4", "t8"], -(-3 // limit))
