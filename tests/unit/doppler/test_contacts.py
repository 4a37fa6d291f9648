"""Push contacts of domains and realms: whose each one is, whatever order things happen in and whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from commands.push_contacts import push_contact_id, visitor_uid
from commands.web_domains import PutWebDomain
from domain.context import Context
from projections.catalogue import ALL
from projections.push_contacts import CHUNK, MAILBOXES, PushContacts
from tests.memory.site import Site
from tests.memory.world import IDS
from tests.unit.doppler.shop import DOMAIN, MESSAGE, ask, contact, domain, doppler_site, su
from tests.unit.projections.histories import projected

OTHER = "other.org"
ACME = su(realm="acme")


async def listed(it: Site, name: str, by: dict[str, str] | None = None) -> list[Any]:
    got = await ask(it, "GET", "/push-contacts", by=by, domain=name)
    found: list[Any] = got.json() if got.status_code == 200 else []
    return found


async def deleted(it: Site, *tokens: str, by: dict[str, str] | None = None) -> int:
    number: int = (await ask(it, "DELETE", "/push-contacts/_bulk", list(tokens), by=by)).json()
    await it.settled()
    return number


async def refused_rebuild(it: Site) -> Sequence[str]:
    """What the read models of this log would not be offered for."""
    models = projected(ALL, [*it.world.facts("EVENTS"), *it.world.facts("DELIVERY")])
    return [line for each in ALL for line in await each.check(models.generation(each.name))]


async def test_a_deleted_push_contact_that_registers_at_another_domain_is_that_ones() -> None:
    """The other domain's messages reach it, the former one's never again, which only counts it as deleted."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        await domain(it, OTHER)
        await contact(it, "token", visitorGuid="v-1", email="1@example.org")
        assert await deleted(it, "token") == 1
        await contact(it, "token", domain=OTHER, visitorGuid="v-2")
        assert await listed(it, DOMAIN) == []
        assert [each["visitorGuid"] for each in await listed(it, OTHER)] == ["v-2"]
        for name, reached in ((DOMAIN, 0), (OTHER, 1)):
            await ask(it, "POST", f"/messages/domains/{name}", MESSAGE)
            await it.settled()
            assert list(it.world.provider("fcm").sends().values()) == [1] * reached, name
        counted = (await ask(it, "GET", f"/domains/{DOMAIN}/stats")).json()["contactsStats"]
        assert counted == {"deleted": 1, "active": 0, "total": 1}
        assert await refused_rebuild(it) == []


async def test_a_push_contact_stays_in_its_realm() -> None:
    """Deleted there, it registers in no other one: 400 that says so, and nothing of it is in the other realm."""
    async with doppler_site() as it:
        await domain(it)
        await ask(it, "PUT", f"/domains/{OTHER}", {"isPushFeatureEnabled": True}, by=ACME)
        await it.settled()
        await contact(it, "token", domain=OTHER)
        assert await deleted(it, "token", by=ACME) == 1
        got = await ask(it, "POST", "/push-contacts", {"domain": DOMAIN, "deviceToken": "token"}, by={})
        assert (got.status_code, "another realm" in got.text) == (400, True)
        await contact(it, "token", domain=OTHER)
        assert len(await listed(it, OTHER, by=ACME)) == 1
        assert await refused_rebuild(it) == []


async def test_whose_a_push_contact_is_the_log_says() -> None:
    """Read models that are behind let nobody change another realm's, and lose nothing that a page says."""
    async with doppler_site() as it:
        await ask(it, "PUT", f"/domains/{OTHER}", {"isPushFeatureEnabled": True}, by=ACME)
        await it.settled()
        await contact(it, "token", domain=OTHER, visitorGuid="v-1")
        object.__setattr__(it.parts, "models", projected((PushContacts(),), []))
        assert (await ask(it, "PUT", "/push-contacts/token/email", "1@x.org", by={})).status_code == 200
        subscription = {"endPoint": "https://push.example.org/1", "keys": {"p256DH": "BPub", "auth": "c2Vj"}}
        assert (
            await ask(it, "PUT", "/push-contacts/token/subscription", subscription, by={})
        ).status_code == 200
        assert (await ask(it, "PUT", "/push-contacts/token/visitor-guid", "stolen")).status_code == 200
        assert await deleted(it, "token") == 0
        object.__setattr__(it.parts, "models", it.world.models)
        found = await listed(it, OTHER, by=ACME)
        assert [(each["email"], each["visitorGuid"]) for each in found] == [("1@x.org", "v-1")]
        client = push_contact_id(IDS, "token")
        facts = [fact for fact in it.world.facts("EVENTS") if client.hex in fact.subject]
        assert {fact.realm for fact in facts} == {"acme"}


async def test_all_push_contacts_of_a_mailbox_are_found() -> None:
    """However many there are, and however many others were before them; deleted ones are left out."""
    async with doppler_site() as it:
        await domain(it)
        number = CHUNK + 20
        for each in range(number):
            body = {"domain": DOMAIN, "deviceToken": f"t-{each}", "email": "all@x.org", "visitorGuid": "same"}
            await ask(it, "POST", "/push-contacts", body, by={})
        await it.settled()
        found = await ask(it, "GET", "/push-contacts", domain=DOMAIN, email="all@x.org")
        assert len(found.json()) == number
        ordered = sorted(range(number), key=lambda each: push_contact_id(IDS, f"t-{each}"))
        assert await deleted(it, *(f"t-{each}" for each in ordered[:-1])) == number - 1
        assert (await ask(it, "GET", f"/push-contacts/{DOMAIN}/same", by={})).json() is True
        assert await deleted(it, f"t-{ordered[-1]}") == 1
        assert (await ask(it, "GET", f"/push-contacts/{DOMAIN}/same", by={})).json() is False


async def test_a_push_contact_outlives_the_visitor_who_had_it_before() -> None:
    """What the site knows of it is the new visitor's: erasing the former one takes nothing, at a rebuild either."""
    async with doppler_site() as it:
        await domain(it)
        await contact(it, "token", visitorGuid="v-1", email="1@example.org")
        assert (await ask(it, "PUT", "/push-contacts/token/visitor-guid", "v-2")).status_code == 200
        await it.settled()
        found = await listed(it, DOMAIN)
        assert [(each["email"], each["visitorGuid"]) for each in found] == [("1@example.org", "v-2")]
        await it.call(
            "DELETE", f"/api/v2/contacts/{visitor_uid(IDS, 'main', 'v-1')}", by="boss", role="admin"
        )
        await it.settled()
        assert await listed(it, DOMAIN) == found
        object.__setattr__(it.parts, "models", projected(ALL, it.world.facts("EVENTS")))
        assert await listed(it, DOMAIN) == found
        assert await deleted(it, "token") == 1


async def test_no_index_shows_a_mail_address() -> None:
    """Its rows outlive the erasure of whose it was; they hold a digest."""
    async with doppler_site() as it:
        await domain(it)
        await contact(it, "token", email="ann@example.org")
        generation = it.world.models.generation("push_contacts")
        rows = [row async for page in generation.scan(MAILBOXES) for row in page]
        assert len(rows) == 1
        assert "ann" not in str(rows)


async def test_names_in_paths_may_hold_a_slash() -> None:
    """Device tokens, visitor guids and buttons, percent-encoded as the links in notifications have them."""
    async with doppler_site() as it:
        await domain(it)
        token, guid = quote("to/ken", safe=""), quote("v/1 é", safe="")
        await contact(it, "to/ken", visitorGuid="v/1 é")
        assert (await ask(it, "GET", f"/push-contacts/{DOMAIN}/{guid}", by={})).json() is True
        assert (await ask(it, "PUT", f"/push-contacts/{token}/email", "a@x.org", by={})).status_code == 200
        assert (await ask(it, "PUT", f"/push-contacts/{token}/visitor-guid", "w")).status_code == 200
        await it.settled()
        found = await listed(it, DOMAIN)
        assert [(each["email"], each["visitorGuid"]) for each in found] == [("a@x.org", "w")]
        got = await ask(it, "POST", f"/push-contacts/x/messages/y/actionClick/{token}", by={})
        assert (got.status_code, got.text) == (400, "Invalid encrypted data.")


async def test_a_superuser_sees_at_once_what_a_page_has_said() -> None:
    """In whichever realm the domain is, though nobody has called there lately: the page does not say which it is."""
    async with doppler_site() as it:
        flags = PutWebDomain(
            name=OTHER, is_push_feature_enabled=True, uses_external_push_domain=False, external_push_domain=""
        )
        await it.parts.bus.execute(flags, Context("acme", "ops"))
        await it.settled()
        body = {"domain": OTHER, "deviceToken": "token", "visitorGuid": "v-1"}
        assert (await ask(it, "POST", "/push-contacts", body, by={})).status_code == 200
        assert [each["email"] for each in await listed(it, OTHER, by=ACME)] == [None]
        assert (await ask(it, "PUT", "/push-contacts/token/email", "1@x.org", by={})).status_code == 200
        assert [each["email"] for each in await listed(it, OTHER, by=ACME)] == ["1@x.org"]
