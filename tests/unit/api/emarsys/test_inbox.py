"""Inboxes as the SDKs read them: what a contact received in an app, and the tags that its devices gave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.emarsys.device_events.batches import REFUSED_MAX
from api.emarsys.identity.belonging import FOREIGN
from api.emarsys.inboxes.inbox import V3_ITEMS_MAX
from domain.devices.device_actions import TAG_ADD, TAG_REMOVE
from domain.devices.signal import KEPT, DeviceEvents
from domain.recorded import SIGNALS
from projections import inbox as read
from projections.inbox import TAGS_MAX
from tests.memory.phone import ANN, APP, OTHER, Phone, phones
from tests.memory.site import Site
from tests.unit.api.emarsys.inboxes import EMBEDDED, call, change, inbox, reachable, send

AT = "2026-01-02T03:04:05.678Z"


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        made.world.start("project-signals")
        yield made


async def test_an_inbox_has_what_was_sent_newest_first(it: Site) -> None:
    """The fields that Android cannot do without, in epoch seconds; an image and actions where there are some."""
    phone = await reachable(it)
    first = await send(phone, "one")
    action = {"id": "a", "title": "Look", "type": "OpenExternalUrl", "url": "https://example.org"}
    push = {
        "image": "https://example.org/i.png",
        "actions": [action],
        "campaign": "77",
        "data": {"k": "v", "n": 1},
    }
    second = await send(phone, "two", opts={"push": push})
    newest, oldest = await inbox(phone)
    at = int(it.world.clock.now.timestamp())
    assert oldest == {
        "id": first,
        "campaignId": first,
        "title": "Shop",
        "body": "one",
        "receivedAt": at,
        "updatedAt": at,
        "expiresAt": at + 86_400,
        "tags": [],
    }
    assert (newest["id"], newest["campaignId"], newest["imageUrl"]) == (second, "77", push["image"])
    assert newest["properties"] == {"k": "v"}
    assert newest["ems"]["actions"] == [{**action, "reporting": "a"}]


async def test_another_contacts_messages_and_another_apps_are_not_in_it(it: Site) -> None:
    """Nor are those that have expired."""
    phone, other = await reachable(it), await reachable(it, client_id="device-2")
    await send(phone, "from another app", app=OTHER)
    await send(other, "to another contact")
    mine = await send(phone, "mine")
    assert [each["id"] for each in await inbox(phone)] == [mine]
    it.world.clock.now += timedelta(days=2)
    phone = await reachable(it)
    assert await inbox(phone) == []


async def test_tags_come_back_with_the_message(it: Site) -> None:
    """Added and removed by events, whatever else is in the batch; what was deleted is not shown."""
    phone = await reachable(it)
    one, two = await send(phone, "one"), await send(phone, "two")

    async def tag(name: str, message: str, tag: str) -> None:
        attributes = {"messageId": message, "tag": tag}
        event = {"type": "internal", "name": name, "timestamp": AT, "attributes": attributes}
        await call(phone, "POST", f"/v4/apps/{APP}/client/events", {"events": [event]})
        await it.world.quiet()

    await tag("inbox:tag:add", one, "Seen")
    await tag("inbox:tag:add", one, "opened")
    await tag("inbox:tag:remove", one, "opened")
    await tag("inbox:tag:add", "not an id", "seen")
    assert {each["id"]: each["tags"] for each in await inbox(phone)} == {one: ["seen"], two: []}
    await tag("inbox:tag:add", two, "deleted")
    assert [each["id"] for each in await inbox(phone)] == [one]


async def test_a_message_is_updated_when_its_tags_are(it: Site) -> None:
    """By a tag that is given and by one that is taken away; its neighbours, and what it was received at, stay."""
    phone = await reachable(it)
    one, two = await send(phone, "one"), await send(phone, "two")
    received = int(it.world.clock().timestamp())
    expected = received
    for operation in ("add", "remove"):
        it.world.clock.advance(60)
        expected += 60
        changes = [change(one, "opened", operation)]
        assert (await call(phone, "PATCH", f"{EMBEDDED}/tags", changes)).status_code == 200
        await it.settled()
        found = {each["id"]: (each["receivedAt"], each["updatedAt"]) for each in await inbox(phone)}
        assert found == {one: (received, expected), two: (received, received)}


async def test_of_one_request_the_last_that_is_said_of_a_tag_holds(it: Site) -> None:
    """SDKs join what they have gathered: given and taken away again in one, in any order, and tags go on afterwards."""
    phone = await reachable(it)
    one = await send(phone, "one")
    said = [("Pinned", "add"), ("pinned", "remove"), ("seen", "remove"), ("seen", "add"), ("seen", "add")]
    names = {"add": TAG_ADD, "remove": TAG_REMOVE}
    events = [
        {"type": "internal", "name": names[op], "timestamp": AT, "attributes": {"messageId": one, "tag": tag}}
        for tag, op in said
    ]
    assert (await call(phone, "POST", f"/v4/apps/{APP}/client/events", {"events": events})).status_code == 204
    await it.world.quiet()
    assert [each["tags"] for each in await inbox(phone)] == [["seen"]]
    changes = [change(one, "opened"), change(one, "opened", "remove")]
    for expected in (["seen"], ["opened", "seen"]):
        assert (await call(phone, "PATCH", f"{EMBEDDED}/tags", changes)).status_code == 200
        await it.world.quiet()
        assert [each["tags"] for each in await inbox(phone)] == [expected]
        changes.reverse()


async def test_an_apps_own_tags_bring_back_nothing_that_was_deleted(it: Site) -> None:
    """However many a message has, or had: what the SDKs' own tags say of it holds."""
    phone = await reachable(it)
    gone, seen = await send(phone, "gone"), await send(phone, "seen")
    own = [f"a{number:03}" for number in range(TAGS_MAX)]
    for id, tag in ((gone, "deleted"), (seen, "opened")):
        changes = [change(id, each) for each in (*own, tag)]
        changes += [change(id, each, "remove") for each in own[1:]]
        assert (await call(phone, "PATCH", f"{EMBEDDED}/tags", changes)).status_code == 200
    await it.world.quiet()
    assert [(each["id"], each["tags"]) for each in await inbox(phone)] == [(seen, ["a000", "opened"])]
    assert (await call(phone, "GET", f"{EMBEDDED}/badge-count")).json()["count"] == 0


async def test_tags_end_with_the_signals_they_came_from(it: Site) -> None:
    """As a rebuild from the stream would show it."""
    phone = await reachable(it)
    contact, world = UUID(phone.says["contactReference"]), it.world
    id = await send(phone, "one")
    await call(phone, "PATCH", f"{EMBEDDED}/tags", [change(id, "opened")])
    await world.quiet()
    for now, expected in ((world.clock.now, ("opened",)), (world.clock.now + KEPT + timedelta(days=1), ())):
        rows = await world.models.range_many(read.TAGS, [("main", contact, UUID(id))], limit_each=TAGS_MAX)
        [found] = rows.values()
        assert read.tags_of(found, now) == expected


async def test_generation_4_reads_pages(it: Site) -> None:
    """Every field that its parser needs, in epoch milliseconds; categories by what the sender put it under."""
    phone = await reachable(it)
    id = await send(phone, "one", opts={"inbox": {"categories": [{"id": "7", "text": "News"}]}})
    other = await send(phone, "two")
    got = (await call(phone, "GET", f"{EMBEDDED}/messages")).json()
    assert (got["version"], got["top"], got["meta"]) == (
        "1.0",
        20,
        {"categories": [{"id": "7", "value": "News"}]},
    )
    assert [each["id"] for each in got["messages"]] == [other, id]
    at = int(it.world.clock.now.timestamp()) * 1000
    assert got["messages"][1] == {
        "id": id,
        "title": "Shop",
        "lead": "one",
        "listThumbnailImage": None,
        "defaultAction": None,
        "actions": [],
        "tags": [],
        "categoryIds": ["7"],
        "receivedAt": at,
        "expiresAt": at + 86_400_000,
        "properties": {},
        "trackingInfo": UUID(id).hex,
    }
    got = (await call(phone, "GET", f"{EMBEDDED}/messages?filterCategoryIds=7,8")).json()
    assert [each["id"] for each in got["messages"]] == [id]
    got = (await call(phone, "GET", f"{EMBEDDED}/messages?%24skip=1")).json()
    assert [each["id"] for each in got["messages"]] == [id]


async def test_generation_4_may_go_from_any_category_to_any_other(it: Site) -> None:
    """Its SDK offers the categories of the answer that came last (ListPageViewModel.kt, PagerFactory.kt at 4.0.1): they
    are those of the inbox, whatever page or filter was asked for; but of no message that was deleted.
    """
    phone = await reachable(it)
    news, sale, gone = ({"id": id, "text": f"All {id}"} for id in ("news", "sale", "gone"))
    for each in (news, sale):
        await send(phone, each["id"], opts={"inbox": {"categories": [each]}})
    deleted = await send(phone, "gone", opts={"inbox": {"categories": [gone]}})
    await call(phone, "PATCH", f"{EMBEDDED}/tags", [change(deleted, "deleted")])
    await it.world.quiet()
    expected = [{"id": "sale", "value": "All sale"}, {"id": "news", "value": "All news"}]
    for query, messages in (
        ("", 2),
        ("filterCategoryIds=news", 1),
        ("%24skip=1", 1),
        ("filterCategoryIds=no", 0),
    ):
        got = (await call(phone, "GET", f"{EMBEDDED}/messages?{query}")).json()
        assert (got["meta"]["categories"], len(got["messages"])) == (expected, messages)


async def test_generation_4_finds_the_end_of_any_inbox(it: Site) -> None:
    """It asks for what comes after as many messages as it has (ListPageModel.kt at 4.0.1), and is always told."""
    phone = await reachable(it)
    await send(phone, "one")
    for skip in (1, 1_001, 10**12):
        got = await call(phone, "GET", f"{EMBEDDED}/messages?%24skip={skip}")
        assert (got.status_code, got.json()["messages"]) == (200, [])


async def test_generation_4_tags_and_counts(it: Site) -> None:
    """What was opened counts no longer; changes that are none are passed over, and said not to have been made."""
    phone = await reachable(it)
    one, two = await send(phone, "one"), await send(phone, "two")
    assert (await call(phone, "GET", f"{EMBEDDED}/badge-count")).json() == {"version": "1.0", "count": 2}
    got = await call(phone, "PATCH", f"{EMBEDDED}/tags", [change(one, "opened"), change("no id", "opened")])
    assert got.json() == {
        "version": "1.0",
        "totalChanges": 1,
        "changes": [{"messageId": one, "operation": "ADD", "tag": "opened", "trackingInfo": "t"}],
    }
    await it.world.quiet()
    assert (await call(phone, "GET", f"{EMBEDDED}/badge-count")).json()["count"] == 1
    got = (await call(phone, "GET", f"{EMBEDDED}/messages?filterUnopened=true")).json()
    assert [each["id"] for each in got["messages"]] == [two]
    got = (await call(phone, "GET", f"{EMBEDDED}/meta")).json()
    assert {"pinnedMessagesTitle", "emptyStateTitle", "emptyStateDescription"} <= set(got["labels"])


async def test_in_line_messages_by_the_view_they_are_for(it: Site) -> None:
    """The newest of each view; views without one are left out."""
    phone = await reachable(it)
    await send(phone, "old", opts={"inline": {"viewId": "top", "html": "<p>old</p>"}})
    id = await send(phone, "new", opts={"inline": {"viewId": "top", "html": "<p>new</p>"}})
    body = {"viewIds": ["bottom", "top"], "clicks": []}
    got = await call(phone, "POST", f"/v3/apps/{APP}/inline-messages", body)
    assert got.json() == {"inlineMessages": [{"viewId": "top", "html": "<p>new</p>", "campaignId": id}]}
    got = await call(phone, "POST", f"/v5/apps/{APP}/inline-messages", {"viewIds": ["top"]})
    [item] = got.json()["inlineMessages"]
    assert (item["type"], item["content"], item["viewId"]) == ("inline", "<p>new</p>", "top")


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps", "/v5/apps"])
async def test_letters_case_is_nothing_in_a_views_id(it: Site, base: str) -> None:
    """To no SDK is it anything (EMSInlineInAppView.m at 3.10.2, InlineInAppView.kt at 3.11.0,
    InlineInAppMessageFetcher.kt at 4.0.1): the newest of a view is one message, however it is written.
    """
    phone = await reachable(it)
    await send(phone, "old", opts={"inline": {"viewId": "main-top", "html": "<p>old</p>"}})
    await send(phone, "new", opts={"inline": {"viewId": "Main-Top", "html": "<p>new</p>"}})
    got = await call(phone, "POST", f"{base}/{APP}/inline-messages", {"viewIds": ["MAIN-top", "main-TOP"]})
    [item] = got.json()["inlineMessages"]
    assert (item["viewId"], item.get("html") or item["content"]) == ("Main-Top", "<p>new</p>")


async def test_an_in_line_message_is_found_behind_many_others(it: Site) -> None:
    """A banner stays for weeks, in which more is pushed than a page of an inbox has."""
    phone = await reachable(it)
    id = await send(phone, "banner", opts={"inline": {"viewId": "top", "html": "<p>new</p>"}})
    for number in range(V3_ITEMS_MAX):
        await send(phone, f"push {number}")
    got = await call(phone, "POST", f"/v3/apps/{APP}/inline-messages", {"viewIds": ["top"]})
    assert [each["campaignId"] for each in got.json()["inlineMessages"]] == [id]


async def test_a_stranger_reads_no_inbox(it: Site) -> None:
    """401: a client id is a word that anybody can say."""
    phone = await reachable(it)
    stranger = Phone(it, client_id=phone.client_id)
    for path in (f"/v3/apps/{APP}/inbox", f"{EMBEDDED}/messages", f"{EMBEDDED}/badge-count"):
        assert (await call(stranger, "GET", path)).status_code == 401


async def test_a_former_owners_state_changes_no_tags(it: Site) -> None:
    """Neither by events, nor by the new SDK's call: a tag hides a message. The reason is recorded, the rest taken."""
    phone, other = await reachable(it), await reachable(it, client_id="device-2")
    for each in (phone, other):
        await each.call("POST", "/client/contact", ANN)
    one = await send(other, "one")
    former = phone.state, phone.contact_token
    await phone.call("POST", "/client/contact?anonymous=true", {})
    await it.settled()
    phone.state, phone.contact_token = former
    added = {
        "type": "internal",
        "name": TAG_ADD,
        "timestamp": AT,
        "attributes": {"messageId": one, "tag": "deleted"},
    }
    other_event = {"type": "custom", "name": "kept", "timestamp": AT}
    events = {"events": [other_event, {"type": "unreadable"}, added]}
    assert (await call(phone, "POST", f"/v3/apps/{APP}/client/events", events)).status_code == 204
    got = await call(phone, "PATCH", f"{EMBEDDED}/tags", [change(one, "deleted")])
    assert (got.status_code, got.json()["changes"]) == (200, [])
    await it.settled()
    assert [each["id"] for each in await inbox(other)] == [one]
    first, second = (fact.body for fact in it.world.facts(SIGNALS) if isinstance(fact.body, DeviceEvents))
    assert [event.name for event in first.events] == ["kept"]
    assert [(each.index, each.reason) for each in first.refused if each.reason == FOREIGN] == [(2, FOREIGN)]
    assert (second.events, [each.reason for each in second.refused]) == ((), [FOREIGN])


async def test_of_a_former_owners_tags_no_more_are_kept_than_of_other_bad_items(it: Site) -> None:
    """A device that is behind by a sign-out sends thousands at once: the stream is not to be filled with them."""
    phone = await reachable(it)
    await phone.call("POST", "/client/contact", ANN)
    former = phone.state, phone.contact_token
    await phone.call("POST", "/client/contact?anonymous=true", {})
    await it.settled()
    phone.state, phone.contact_token = former
    attributes = {"messageId": str(uuid4()), "tag": "deleted"}
    added = {"type": "internal", "name": TAG_ADD, "timestamp": AT, "attributes": attributes}
    events = {"events": [*[added] * REFUSED_MAX, {"type": "unreadable"}, added]}
    assert (await call(phone, "POST", f"/v3/apps/{APP}/client/events", events)).status_code == 204
    [told] = (fact.body for fact in it.world.facts(SIGNALS) if isinstance(fact.body, DeviceEvents))
    assert (told.events, len(told.refused)) == ((), REFUSED_MAX)


async def test_an_owners_tags_of_a_moment_after_the_sign_in_are_taken(it: Site) -> None:
    """Though the read models may not know of it yet."""
    phone = await reachable(it)
    await phone.call("POST", "/client/contact", ANN)
    added = {
        "type": "internal",
        "name": TAG_ADD,
        "timestamp": AT,
        "attributes": {"messageId": str(uuid4()), "tag": "x"},
    }
    await call(phone, "POST", f"/v3/apps/{APP}/client/events", {"events": [added]})
    [signal] = (fact.body for fact in it.world.facts(SIGNALS) if isinstance(fact.body, DeviceEvents))
    assert [event.name for event in signal.events] == [TAG_ADD]


async def test_one_bad_change_of_tags_costs_no_other(it: Site) -> None:
    """Generation 4 joins ten in a call: the good ones are taken, the others kept as refused, with what is wrong."""
    phone = await reachable(it)
    id = await send(phone, "Hello")
    good = [change(id, "opened"), {**change(id, "pinned"), "trackingInfo": None}]
    bad: list[Any] = [
        {**change(id, "x"), "operation": "toggle"},
        {"tag": "x"},
        7,
        change(id, "x" * 65),
        change("no-id", "x"),
    ]
    path = f"{EMBEDDED}/tags"
    got = await call(phone, "PATCH", path, [bad[0], good[0], *bad[1:], good[1]])
    assert got.status_code == 200
    assert [each["tag"] for each in got.json()["changes"]] == ["opened", "pinned"]
    [told] = [fact.body for fact in it.world.facts(SIGNALS) if isinstance(fact.body, DeviceEvents)]
    assert [(each.part, each.index) for each in told.refused] == [("events", n) for n in (0, 2, 3, 4, 5)]
    assert "64 characters" in told.refused[3].reason
    for nonsense in ({"a": 1}, "x"):
        assert (await call(phone, "PATCH", path, nonsense)).status_code == 400


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps"])
async def test_one_bad_click_costs_no_in_line_message(it: Site, base: str) -> None:
    """Nor another click; it is kept as refused. A view that is no name shows nothing."""
    phone = await reachable(it)
    await send(phone, "Hello", opts={"inline": {"viewId": "home", "html": "<b>Hi</b>"}})
    click = {"campaignId": "c", "buttonId": "b", "timestamp": "2026-01-02T03:04:05.678Z"}
    body = {"viewIds": [7, "home"], "clicks": [{"campaignId": 7}, click]}
    got = await call(phone, "POST", f"{base}/{APP}/inline-messages", body)
    assert [each["viewId"] for each in got.json()["inlineMessages"]] == ["home"]
    [told] = [fact.body for fact in it.world.facts(SIGNALS) if isinstance(fact.body, DeviceEvents)]
    assert [each.campaign for each in told.clicks] == ["c"]
    assert [(each.part, each.index) for each in told.refused] == [("clicks", 0)]
