"""Messages of apps at the providers: each in its app's form, under its topic and its key."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from domain.deliveries.outcome import Accepted, Outcome, Rejected, Retry
from gateways.port import AppSender, Target
from infra.sandbox.providers.webpush import decrypt
from infra.senders.vapid import pair_of
from tests.fixtures.notices import notice, target
from tests.integration.gateways.conftest import Providers
from tests.replays.sdks import payloads

SHOP, BAKERY = UUID(int=0x5_0F), UUID(int=0xBA_CE)
SECRET = bytes(range(32))


def domain(app: UUID, code: str, style: str = "doppler") -> AppSender:
    return AppSender(code=code, style=style, vapid_key_pem=pair_of(SECRET, app)[0])


async def browser(providers: Providers, app: UUID) -> Target:
    """Subscribed to the app's own key."""
    minted = await providers.sandbox.mint_subscription(pair_of(SECRET, app)[1])
    keys = {"p256dh": minted.p256dh, "auth": minted.auth}
    return target(json.dumps({"endpoint": minted.endpoint, "keys": keys}))


async def push(
    providers: Providers, provider: str, app: AppSender | None, *to: Target, **content: Any
) -> list[Outcome]:
    gateway = providers.gateway(provider)
    sent = msgspec.structs.replace(notice(**content), app=app)
    try:
        return list(await gateway.send(sent, to, deadline_s=5.0))
    finally:
        await gateway.aclose()


async def shown(providers: Providers, to: Target) -> Any:
    id = json.loads(to.address)["endpoint"].rpartition("/")[2]
    request = await providers.last_request(to)
    return json.loads(decrypt(request["payload"], providers.sandbox.webpush.subscriptions[id]))


async def test_each_domain_pushes_under_its_own_key(providers: Providers) -> None:
    """Two domains' browsers, and one of the exchange's own, at the same push service and over the same gateway."""
    gateway = providers.gateway("webpush")
    shop, bakery = await browser(providers, SHOP), await browser(providers, BAKERY)
    [own] = await providers.targets("webpush")
    try:
        for _ in range(2):
            for sender, to in ((domain(SHOP, "shop"), shop), (domain(BAKERY, "bakery"), bakery), (None, own)):
                sent = msgspec.structs.replace(notice(), app=sender)
                [outcome] = await gateway.send(sent, [to], deadline_s=5.0)
                assert isinstance(outcome, Accepted)
    finally:
        await gateway.aclose()


async def test_a_browser_of_another_key_stops_nobody(providers: Providers) -> None:
    """It is doubted; the domain's other browsers get theirs, and the channel goes on."""
    strange, good = await browser(providers, BAKERY), await browser(providers, SHOP)
    first, second = await push(providers, "webpush", domain(SHOP, "shop"), strange, good)
    assert isinstance(first, Rejected)
    assert (first.code, first.quarantine) == ("403", True)
    assert isinstance(second, Accepted)
    [alone] = await push(providers, "webpush", domain(SHOP, "shop"), strange)
    assert isinstance(alone, Rejected)


@pytest.mark.parametrize(("style", "reads"), [("emarsys-v3", payloads.web), ("emarsys-v4", payloads.v4_web)])
async def test_a_browser_decrypts_what_its_sdk_reads(providers: Providers, style: str, reads: Any) -> None:
    """Each browser a sid of its own."""
    both = [await browser(providers, SHOP), await browser(providers, SHOP)]
    outcomes = await push(providers, "webpush", domain(SHOP, "shop", style), *both, text="Hello")
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    read = [reads(await shown(providers, to)) for to in both]
    assert [each.body for each in read] == ["Hello", "Hello"]
    assert len({each.tracked for each in read}) == 2


@pytest.mark.parametrize(
    ("style", "android", "reads"),
    [
        ("emarsys-v3", "v1", payloads.android),
        ("emarsys-v3", "v2", payloads.android),
        ("emarsys-v4", "v1", payloads.v4_android),
    ],
)
async def test_android_gets_data_alone(providers: Providers, style: str, android: Any, reads: Any) -> None:
    """FCM takes it; nothing in it makes the system show it past the SDK."""
    [phone] = await providers.targets("fcm")
    app = AppSender(code="APP1", style=style, android=android)
    [outcome] = await push(
        providers, "fcm", app, phone, text="Hello", opts={"push": {"link": "https://a.example"}}
    )
    assert isinstance(outcome, Accepted)
    message = json.loads((await providers.last_request(phone))["payload"])["message"]
    assert "notification" not in message
    assert "notification" not in message["android"]
    read = reads(message["data"])
    assert (read.body, read.replaces) == ("Hello", message["android"]["collapse_key"])


async def test_firebase_shows_a_web_domains_push(providers: Providers) -> None:
    """A web domain's token of Firebase: notification and link, as the original sent them."""
    [page] = await providers.targets("fcm")
    opts = {"push": {"link": "https://shop.example/sale"}}
    [outcome] = await push(providers, "fcm", AppSender(code="shop", style="doppler"), page, opts=opts)
    assert isinstance(outcome, Accepted)
    message = json.loads((await providers.last_request(page))["payload"])["message"]
    assert message["notification"] == {"title": "Sale", "body": "20% off today only"}
    assert message["webpush"]["fcm_options"] == {"link": "https://shop.example/sale"}


async def test_each_app_has_its_topic(providers: Providers) -> None:
    """Devices of two apps and of the exchange's own, over one connection."""
    gateway, topic = providers.gateway("apns"), f"org.example.app{uuid4().hex[:8]}"
    theirs = target(await providers.sandbox.mint_device(topic))
    [own] = await providers.targets("apns")
    app = AppSender(code="APP1", style="emarsys-v3", apns_topic=topic)
    try:
        for _ in range(2):
            sent = msgspec.structs.replace(notice(text="Hello"), app=app)
            [outcome] = await gateway.send(sent, [theirs], deadline_s=5.0)
            assert isinstance(outcome, Accepted)
            [outcome] = await gateway.send(notice(), [own], deadline_s=5.0)
            assert isinstance(outcome, Accepted)
    finally:
        await gateway.aclose()
    request = await providers.last_request(theirs)
    assert request["headers"]["apns-topic"] == topic
    read = payloads.ios(json.loads(request["payload"]))
    assert read is not None
    assert read.body == "Hello"


async def test_a_topic_that_is_not_ours_is_the_apps_trouble_alone(providers: Providers) -> None:
    """The channel is not halted: it is tried again until somebody has mended the app's settings."""
    [device] = await providers.targets("apns")
    app = AppSender(code="APP1", style="emarsys-v3", apns_topic="com.somebody.else")
    assert await push(providers, "apns", app, device) == [Retry("TopicDisallowed")]


async def test_what_only_its_links_make_too_large_is_refused_for_that_one(providers: Providers) -> None:
    """One byte too many for one recipient is not sent to that one."""
    to = await browser(providers, SHOP)
    [outcome] = await push(providers, "webpush", domain(SHOP, "shop"), to, text="x" * 3_990)
    assert outcome == Rejected("PayloadTooLarge")
