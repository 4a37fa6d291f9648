"""A kept message to visitors: everybody gets theirs, or the call is refused and nobody does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.doppler.messages import FILLED_A_TURN
from domain.message import Message, ToContacts
from tests.memory.site import Site
from tests.unit.doppler.shop import DOMAIN, ask, contact, domain, doppler_site


async def kept(it: Site, title: str = "[[[title]]]", body: str = "[[[body]]]") -> str:
    await domain(it)
    message = {"title": title, "body": body}
    got = await ask(it, "POST", "/message", {"domain": DOMAIN, "message": message})
    assert got.status_code == 200, got.text
    await it.settled()
    mid: str = got.json()["messageId"]
    return mid


def copies(it: Site) -> list[tuple[str, str, int]]:
    """(title, body, visitors) of each."""
    bodies = [fact.body for fact in it.world.facts("EVENTS")]
    return [
        (body.content.subject, body.content.text, len(body.audience.contacts))
        for body in bodies
        if isinstance(body, Message.Accepted)
        and body.parent
        and body.content
        and isinstance(body.audience, ToContacts)
    ]


@pytest.mark.parametrize("fields", [{}, {"title": None, "body": ""}, {"title": " ", "body": None}])
async def test_a_copy_of_which_nothing_is_left_is_refused(fields: dict[str, Any]) -> None:
    """400 that names the visitor; placeholders without a field stay as they are, and are something."""
    async with doppler_site() as it:
        mid = await kept(it)
        got = await ask(it, "POST", f"/messages/{mid}/visitors/v/send", {"fields": fields})
        if fields:
            assert got.status_code == 400, got.text
            assert got.json() == {"error": "for visitor 'v': nothing of title and body is left"}
            assert copies(it) == []
        else:
            assert got.status_code == 202, got.text


async def test_a_title_alone_is_a_message() -> None:
    """A body that was all placeholders may be empty for somebody; the notification shows the title."""
    async with doppler_site(sending=True) as it:
        mid = await kept(it)
        await contact(it, "token", visitorGuid="v")
        fields = {"title": "Ann, come back", "body": None}
        got = await ask(it, "POST", f"/messages/{mid}/visitors/v/send", {"fields": fields})
        assert got.status_code == 202, got.text
        await it.settled()
        assert copies(it) == [("Ann, come back", "", 1)]
        assert list(it.world.provider("fcm").sends().values()) == [1]


async def test_one_visitor_who_cannot_be_sent_theirs_stops_the_call_before_anybody_is() -> None:
    """The answer names them; the same call without them goes to everybody else, once."""
    async with doppler_site() as it:
        mid = await kept(it)
        listed = [{"visitorGuid": f"v-{n}", "fields": {"title": "Hi", "body": f"No {n}"}} for n in range(30)]
        bad = {"visitorGuid": "v-bad", "fields": {"title": "", "body": ""}}
        path = f"/messages/{mid}/visitors/send"
        got = await ask(it, "POST", path, {"visitorsFieldsList": [*listed, bad]})
        assert (got.status_code, "'v-bad'" in got.json()["error"]) == (400, True)
        assert copies(it) == []
        assert (await ask(it, "POST", path, {"visitorsFieldsList": listed})).status_code == 202
        assert copies(it) == [("Hi", f"No {n}", 1) for n in range(30)]


async def test_a_visitor_who_is_listed_twice_gets_each_of_theirs_once() -> None:
    """What reads the same is sent once, what reads otherwise is another message."""
    async with doppler_site() as it:
        mid = await kept(it, title="Hi")
        said = [("v", "one"), ("v", "two"), ("v", "one"), ("w", "one")]
        listed = [{"visitorGuid": guid, "fields": {"body": body}} for guid, body in said]
        got = await ask(it, "POST", f"/messages/{mid}/visitors/send", {"visitorsFieldsList": listed})
        assert got.status_code == 202, got.text
        assert copies(it) == [("Hi", "one", 2), ("Hi", "two", 1)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/messages/{mid}/visitors/send", {"visitorsFieldsList": [{"visitorGuid": "v"}, {}]}),
        (
            "/messages/{mid}/visitors/send",
            {"visitorsFieldsList": [{"visitorGuid": "v"}, {"visitorGuid": " "}]},
        ),
        ("/messages/{mid}/visitors/%20/send", {}),
        (f"/push-contacts/{DOMAIN}/%20/message", {"title": "Hi", "body": "There"}),
        ("/message/{mid}", " "),
    ],
)
async def test_a_visitor_without_a_name_is_nobody(path: str, body: Any) -> None:
    """400 that says so, and the others of a list are not sent to either."""
    async with doppler_site() as it:
        mid = await kept(it)
        got = await ask(it, "POST", path.format(mid=mid), body)
        assert (got.status_code, got.json()) == (400, {"error": "'visitorGuid' cannot be blank"})
        assert copies(it) == []


async def test_a_list_leaves_out_for_whom_a_mandatory_field_is_missing() -> None:
    """All others get theirs."""
    async with doppler_site() as it:
        mid = await kept(it, title="Hi")
        listed = [{"visitorGuid": "v", "fields": {"BODY": "x"}}, {"visitorGuid": "w", "fields": {}}]
        body = {"replacementIsMandatory": True, "visitorsFieldsList": listed}
        assert (await ask(it, "POST", f"/messages/{mid}/visitors/send", body)).status_code == 202
        assert copies(it) == [("Hi", "x", 1)]


async def test_a_long_list_lets_others_have_their_turn() -> None:
    """Filling in what each visitor reads takes a while; who calls meanwhile does not wait for the whole list."""
    async with doppler_site() as it:
        mid = await kept(it, title="Hi")
        listed = [{"visitorGuid": f"v-{n}", "fields": {"body": "the same"}} for n in range(10_000)]
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        meanwhile = asyncio.create_task(others())
        got = await ask(it, "POST", f"/messages/{mid}/visitors/send", {"visitorsFieldsList": listed})
        meanwhile.cancel()
        assert got.status_code == 202, got.text
        assert turns > 10_000 / FILLED_A_TURN


@pytest.mark.parametrize(
    ("method", "path", "item", "status"),
    [
        ("POST", "/messages/{mid}/visitors/send", {"visitorGuid": "v", "fields": {"note": "x" * 400}}, 202),
        ("DELETE", "/push-contacts/_bulk", "t" * 500, 200),
        ("POST", "/history-events/_bulk", {"deviceToken": "t" * 200, "details": "x" * 300}, 200),
    ],
)
async def test_as_many_may_be_listed_as_is_said(method: str, path: str, item: Any, status: int) -> None:
    """Ten thousand of usual length are taken, one more is 400 that says how many."""
    async with doppler_site() as it:
        path = path.format(mid=await kept(it))
        for number, expected in ((10_000, status), (10_001, 400)):
            listed: Any = [item] * number
            got = await ask(it, method, path, {"visitorsFieldsList": listed} if "mess" in path else listed)
            assert got.status_code == expected, got.text
            assert expected != 400 or "10,000" in got.text
