"""From a registered browser to the statistics: what the domain's owner sees of a message, to the last one."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from api.doppler.door import domains_of
from api.doppler.parts import OldLinks
from commands.push_contacts import push_contact_id
from domain.client import Client
from domain.deliveries.outcome import Accepted, Gone
from domain.message import Message
from gateways.port import AppSender, Target
from infra.senders.push_links import PushLinks
from projections.catalogue import ALL
from tests.memory.site import OLD_IV, OLD_KEY, Site
from tests.memory.world import IDS
from tests.unit.doppler.shop import DOMAIN, MESSAGE, ask, contact, domain, doppler_site, su
from tests.unit.projections.histories import projected

SPAN: dict[str, Any] = {"from": "2020-01-01", "to": "2090-01-01"}
URL = "https://push.example.com"


async def stats(it: Site, mid: str) -> dict[str, int]:
    got = await ask(it, "GET", f"/domains/{DOMAIN}/messages/{mid}/stats", **SPAN)
    assert got.status_code == 200, got.text
    return {name: value for name, value in got.json().items() if value and isinstance(value, int)}


async def sent(it: Site, path: str, body: Any) -> str:
    got = await ask(it, "POST", path, body)
    assert got.status_code in (200, 202), got.text
    await it.settled()
    mid: str = got.json()["messageId"]
    return mid


async def test_a_message_is_counted_to_the_last_delivery_also_after_a_rebuild() -> None:
    """Delivered, dead and billable sends add up; a dead contact is deleted, and a rebuild changes no figure."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        for number in range(5):
            await contact(it, f"token-{number}")
        dead = push_contact_id(IDS, "token-3")
        it.world.provider("fcm").script = lambda target, times: (
            Gone("UNREGISTERED") if target.client == dead else Accepted("id")
        )
        mid = await sent(it, f"/messages/domains/{DOMAIN}", MESSAGE)
        expected = {"sent": 5, "delivered": 4, "notDelivered": 1, "billableSends": 5}
        assert await stats(it, mid) == expected
        counted = (await ask(it, "GET", f"/domains/{DOMAIN}/stats")).json()["contactsStats"]
        assert counted == {"deleted": 1, "active": 4, "total": 5}
        consumed = await ask(it, "GET", f"/domains/{DOMAIN}/push-sends-consumed-count", **SPAN)
        assert consumed.json()["consumed"] == 5
        facts = [*it.world.facts("EVENTS"), *it.world.facts("DELIVERY")]
        object.__setattr__(it.parts, "models", projected(ALL, facts))
        assert await stats(it, mid) == expected


async def test_a_kept_message_goes_to_visitors_with_their_own_words() -> None:
    """Each visitor's copy counts in the kept message; mandatory fields that are missing are named."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        for number in range(3):
            await contact(it, f"token-{number}", visitorGuid=f"v-{number}")
        message = {**MESSAGE, "title": "Hi [[[Name]]]", "body": "[[[name]]], see [[[thing]]]"}
        mid = await sent(it, "/message", {"domain": DOMAIN, "message": message})
        refused = await ask(
            it,
            "POST",
            f"/messages/{mid}/visitors/v-0/send",
            {"replacementIsMandatory": True, "fields": {"NAME": "Ann"}},
        )
        assert refused.status_code == 400
        assert refused.json()["missingFieldsInTitle"] == []
        assert refused.json()["missingFieldsInBody"] == ["thing"]
        fields = {"name": "Ann", "thing": None}
        assert await sent(it, f"/messages/{mid}/visitors/v-0/send", {"fields": fields}) == mid
        listed = [{"visitorGuid": f"v-{number}", "fields": {"name": "Bob"}} for number in (1, 2)]
        assert await sent(it, f"/messages/{mid}/visitors/send", {"visitorsFieldsList": listed}) == mid
        assert (await stats(it, mid))["delivered"] == 3
        copies = [
            fact.body
            for fact in it.world.facts("EVENTS")
            if isinstance(fact.body, Message.Accepted) and fact.body.parent == mid
        ]
        texts = {(copy.content.subject, copy.content.text) for copy in copies if copy.content}
        assert texts == {("Hi Ann", "Ann, see "), ("Hi Bob", "Bob, see [[[thing]]]")}


async def test_links_of_a_notification_count_what_browsers_report() -> None:
    """Received, clicked (twice counts twice) and a button; parts of two domains together count nothing."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        await domain(it, "other.org")
        await contact(it, "token")
        mid = await sent(it, f"/messages/domains/{DOMAIN}", MESSAGE)
        made = PushLinks(it.world.own.keys, public_url=URL, clock=it.world.clock)
        target = Target("token", None, push_contact_id(IDS, "token"))
        links = {}
        for name in (DOMAIN, "other.org"):
            facts = await it.apps.app(name)
            assert facts is not None
            of = await made.links(facts)
            assert of is not None
            links[name] = of.of(UUID(mid), "", target, "fcm", ["buy"])
        ours, other = links[DOMAIN], links["other.org"]
        mixed = ours.clicked.split("/messages/")[0] + "/messages/" + other.clicked.split("/messages/")[1]
        for url in (ours.received, ours.clicked, ours.clicked, *ours.actions, mixed):
            got = await ask(it, "POST", url.removeprefix(URL), by={})
            assert got.status_code == 202, got.text
        await it.settled()
        counts = await stats(it, mid)
        assert (counts["received"], counts["clicks"], counts["actionClick"]) == (1, 2, 1)
        forged = ours.clicked.removeprefix(URL).replace("/messages/", "A/messages/")
        assert (await ask(it, "POST", forged, by={})).text == "Invalid encrypted data."


async def test_links_of_the_original_still_open() -> None:
    """A link by the configured key and IV counts for the message it names."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        mid = await sent(it, f"/messages/domains/{DOMAIN}", MESSAGE)
        assert (await ask(it, "POST", old_link(mid), by={})).status_code == 202
        await it.settled()
        assert await stats(it, mid) == {"clicks": 1}


async def test_links_of_the_original_open_in_the_realms_that_are_named() -> None:
    """A domain may live in another realm than the default one; in realms that are not named nothing is counted."""
    async with doppler_site(sending=True) as it:
        old = OldLinks(key=OLD_KEY, iv=OLD_IV, realms=("main", "acme"))
        object.__setattr__(it.parts, "domains", replace(domains_of(it.parts), old_links=old))
        sent_in: dict[str, str] = {}
        for realm in ("acme", "elsewhere"):
            by, name = su(realm=realm), f"{realm}.org"
            await ask(it, "PUT", f"/domains/{name}", {"isPushFeatureEnabled": True}, by=by)
            it.world.senders.add(AppSender(code=name, style="doppler"))
            await it.settled()
            got = await ask(it, "POST", f"/messages/domains/{name}", MESSAGE, by=by)
            sent_in[realm] = got.json()["messageId"]
            await it.settled()
        for realm, clicks in (("acme", 1), ("elsewhere", 0)):
            mid = sent_in[realm]
            assert (await ask(it, "POST", old_link(mid), by={})).status_code == 202
            await it.settled()
            path = f"/domains/{realm}.org/messages/{mid}/stats"
            found = await ask(it, "GET", path, by=su(realm=realm), **SPAN)
            assert found.json()["clicks"] == clicks, realm


def old_link(mid: str) -> str:
    """As the original made it, of a contact that only it knew."""

    def old(text: str) -> str:
        padder = PKCS7(128).padder()
        padded = padder.update(text.encode()) + padder.finalize()
        maker = Cipher(algorithms.AES(OLD_KEY), modes.CBC(OLD_IV)).encryptor()
        return base64.urlsafe_b64encode(maker.update(padded) + maker.finalize()).rstrip(b"=").decode()

    return f"/push-contacts/{old('65a1b2c3d4e5f60718293a4b')}/messages/{old(mid)}/clicked"


async def test_a_domain_that_is_switched_off_sends_nothing() -> None:
    """IsPushFeatureEnabled false: messages are refused with the reason, and nothing goes out."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        await contact(it, "token", visitorGuid="v")
        mid = await sent(it, "/message", {"domain": DOMAIN, "message": MESSAGE})
        await domain(it, enabled=False)
        for path, body in (
            (f"/messages/domains/{DOMAIN}", MESSAGE),
            (f"/messages/{mid}/visitors/v/send", {}),
            (f"/push-contacts/{DOMAIN}/message", MESSAGE),
        ):
            got = await ask(it, "POST", path, body)
            assert (got.status_code, "not enabled" in got.json()["error"]) == (400, True), path
        assert it.world.provider("fcm").sends() == {}


async def test_visitor_guids_come_in_pages_and_a_known_token_is_left_as_it_is() -> None:
    """The cursor is the last guid; a page without any has none. The same token again changes nothing."""
    async with doppler_site() as it:
        await domain(it)
        for number in (3, 1, 2):
            await contact(it, f"token-{number}", visitorGuid=f"v-{number}", email=f"{number}@example.org")
        await contact(it, "token-1", visitorGuid="other", email="other@example.org")
        seen, cursor = [], None
        while True:
            query: dict[str, Any] = {"domain": DOMAIN, "per_page": 2}
            if cursor:
                query["nextCursor"] = cursor
            page = (await ask(it, "GET", "/push-contacts/visitor-guids", **query)).json()
            seen += page["items"]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert seen == ["v-1", "v-2", "v-3"]
        found = (await ask(it, "GET", "/push-contacts", domain=DOMAIN, email="1@example.org")).json()
        assert [each["deviceToken"] for each in found] == ["token-1"]


async def test_a_first_registration_is_one_event_of_its_client() -> None:
    """Who uses the browser is in it; one that comes back after it was deleted says so anew."""
    async with doppler_site() as it:
        await domain(it)
        await contact(it, "token-1", visitorGuid="v-1", email="1@example.org")
        client = push_contact_id(IDS, "token-1")

        def topics() -> list[str]:
            bodies = [fact.body for fact in it.world.facts("EVENTS")]
            return [
                body.TOPIC
                for body in bodies
                if isinstance(body, Client.Event) and body.originator_id == client
            ]

        assert topics() == ["client.enrolled.v1"]
        assert (await ask(it, "DELETE", "/push-contacts/_bulk", ["token-1"])).json() == 1
        await it.settled()
        await contact(it, "token-1", visitorGuid="v-2", email="2@example.org")
        assert topics()[1:] == [
            "client.address-retired.v2",
            "client.contact-linked.v2",
            "client.introduced.v1",
            "client.address-set.v2",
        ]
        found = (await ask(it, "GET", "/push-contacts", domain=DOMAIN)).json()
        assert [(each["visitorGuid"], each["email"]) for each in found] == [("v-2", "2@example.org")]


async def test_a_blank_mail_address_takes_the_known_one_away() -> None:
    """The push contact stays, without an address, and is not found by the former one."""
    async with doppler_site() as it:
        await domain(it)
        await contact(it, "token-1", visitorGuid="v-1", email="1@example.org")
        assert (await ask(it, "PUT", "/push-contacts/token-1/email", " ", by={})).status_code == 200
        await it.settled()
        found = (await ask(it, "GET", "/push-contacts", domain=DOMAIN)).json()
        assert [(each["deviceToken"], each["email"]) for each in found] == [("token-1", None)]
        gone = await ask(it, "GET", "/push-contacts", domain=DOMAIN, email="1@example.org")
        assert gone.status_code == 404


async def test_what_a_sender_reports_counts_as_the_original_counted_it() -> None:
    """sentSuccess: delivered and billable; else not delivered. No address is given up for it."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        mid = await sent(it, "/message", {"domain": DOMAIN, "message": MESSAGE})
        await contact(it, "token-1")
        told = [
            {"deviceToken": "token-1", "sentSuccess": True, "messageId": mid},
            {
                "deviceToken": "token-2",
                "sentSuccess": True,
                "messageId": mid,
                "eventDate": "2026-01-01T10:00:00Z",
            },
            {"deviceToken": "token-1", "sentSuccess": False, "details": "NotRegistered", "messageId": mid},
            {"deviceToken": "token-1", "sentSuccess": False},
        ]
        got = await ask(it, "POST", "/history-events/_bulk", told)
        assert got.status_code == 200
        await it.settled()
        assert await stats(it, mid) == {"sent": 3, "delivered": 2, "notDelivered": 1, "billableSends": 2}
        counted = (await ask(it, "GET", f"/domains/{DOMAIN}/stats")).json()["contactsStats"]
        assert counted == {"deleted": 0, "active": 1, "total": 1}
