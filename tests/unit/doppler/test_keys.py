"""Idempotency keys: whoever did not hear an answer repeats the call, and nobody gets a message twice."""

from __future__ import annotations

from typing import Any

import pytest

from commands import web_domains
from domain.errors import Unavailable
from domain.message import Message
from tests.memory.site import Site
from tests.unit.doppler.shop import DOMAIN, MESSAGE, ask, contact, domain, doppler_site, su

KEYED = {**su(), "Idempotency-Key": "k-1"}
PATHS = {
    f"/messages/domains/{DOMAIN}": MESSAGE,
    f"/push-contacts/{DOMAIN}/message": MESSAGE,
    f"/push-contacts/{DOMAIN}/v-1/message": MESSAGE,
    "/message": {"domain": DOMAIN, "message": MESSAGE},
    "/message/{mid}": "v-1",
    "/messages/{mid}/visitors/v-1/send": {},
    "/messages/{mid}/visitors/send": {"visitorsFieldsList": [{"visitorGuid": "v-1"}]},
}


def accepted(it: Site) -> int:
    return sum(isinstance(fact.body, Message.Accepted) for fact in it.world.facts("EVENTS"))


async def kept(it: Site, title: str = "Hi") -> str:
    message = {**MESSAGE, "title": title}
    got = await ask(it, "POST", "/message", {"domain": DOMAIN, "message": message})
    await it.settled()
    mid: str = got.json()["messageId"]
    return mid


@pytest.mark.parametrize("path", PATHS)
async def test_a_call_that_is_repeated_under_its_key_is_one(path: str) -> None:
    """The second one is answered as the first was, and sends nothing; without a key it is another call."""
    async with doppler_site() as it:
        await domain(it)
        url, before = path.format(mid=await kept(it)), accepted(it)
        first, again = [await ask(it, "POST", url, PATHS[path], by=KEYED) for _ in range(2)]
        assert first.status_code in (200, 202), first.text
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert accepted(it) == before + 1
        assert (await ask(it, "POST", url, PATHS[path])).status_code == first.status_code
        assert accepted(it) == before + 2


@pytest.mark.parametrize(
    "path", [f"/messages/domains/{DOMAIN}", "/message", "/messages/{mid}/visitors/v-1/send"]
)
async def test_a_key_with_other_words_is_refused(path: str) -> None:
    """422: the caller took another message for a repetition."""
    async with doppler_site() as it:
        await domain(it)
        url, body = path.format(mid=await kept(it, "[[[a]]]")), PATHS[path]
        other = {"domain": DOMAIN, "message": {**MESSAGE, "title": "Other"}} if path == "/message" else body
        other = {**MESSAGE, "title": "Other"} if "domains" in path else other
        other = {"fields": {"a": "b"}} if "visitors" in path else other
        assert (await ask(it, "POST", url, body, by=KEYED)).status_code < 300
        before = accepted(it)
        assert (await ask(it, "POST", url, other, by=KEYED)).status_code == 422
        assert accepted(it) == before


@pytest.mark.parametrize("path", [f"/messages/domains/{DOMAIN}", "/messages/{mid}/visitors/v-1/send"])
async def test_a_call_is_the_same_though_the_domains_settings_are_not(path: str) -> None:
    """Another form of its payloads since: what the caller says is what counts."""
    async with doppler_site() as it:
        await domain(it)
        url, before = path.format(mid=await kept(it)), accepted(it)
        first = await ask(it, "POST", url, PATHS[path], by=KEYED)
        settings = {"kind": "web-domain", "is_push_feature_enabled": True, "push": {"style": "emarsys-v4"}}
        await it.admin("PUT", f"/api/v2/apps/{DOMAIN}", settings)
        again = await ask(it, "POST", url, PATHS[path], by=KEYED)
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert accepted(it) == before + 1


async def test_a_call_that_was_cut_half_way_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log went away after the first batch; the repeated call adds what is missing, and nobody gets theirs twice."""
    monkeypatch.setattr(web_domains, "TOGETHER_MAX", 4)
    async with doppler_site(sending=True) as it:
        await domain(it)
        mid, number = await kept(it, "Hi [[[n]]]"), 10
        for each in range(number):
            await contact(it, f"t-{each}", visitorGuid=f"v-{each}")
        listed: list[Any] = [{"visitorGuid": f"v-{n}", "fields": {"n": str(n)}} for n in range(number)]
        path, body = f"/messages/{mid}/visitors/send", {"visitorsFieldsList": listed}
        before = accepted(it)
        store = it.parts.bus.store
        plain, saves = store.save, 0

        async def failing(*given: Any, **more: Any) -> int:
            nonlocal saves
            saves += 1
            if saves == 2:
                raise Unavailable("the log went away")
            return await plain(*given, **more)

        monkeypatch.setattr(store, "save", failing)
        assert (await ask(it, "POST", path, body, by=KEYED)).status_code == 503
        assert accepted(it) == before + 4
        assert (await ask(it, "POST", path, body, by=KEYED)).status_code == 202
        await it.settled()
        assert accepted(it) == before + number
        assert list(it.world.provider("fcm").sends().values()) == [1] * number
